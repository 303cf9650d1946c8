"""One place where one model is served: a client and the name that the service knows the model by, or a function."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Mapping
from typing import Any

from ipfs_accelerate_py import portal as portals
from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.endpoints.devices import device_options
from ipfs_accelerate_py.endpoints.tasks import check_task, default_task, perform
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.pending import HandlerResult, Pending
from ipfs_accelerate_py.sync import Client

__all__ = ["Endpoint", "open_client", "service_of"]


def service_of(endpoint_type: str) -> tuple[str, dict[str, str]]:
    """The backend that a type of endpoint is, and what it is told: of a device of this machine, the local one.

    Raises `RuntimeUnavailable` for a device that nothing here computes with, `ConfigurationError` else.
    """
    if not isinstance(endpoint_type, str):
        raise ConfigurationError(f"an endpoint's type is a name, not {type(endpoint_type).__name__}")
    options = device_options(endpoint_type)
    if options is not None:
        return "local", options
    return find_backend(endpoint_type).name, {}


def open_client(service: str, metadata: Mapping[str, Any], options: Mapping[str, Any]) -> Client:
    """A client of the service; ``options`` are those of `Client`."""
    return Client(service, metadata=metadata, **options)


class Endpoint:
    """Calls of one model at one place."""

    def __init__(
        self,
        model: str,
        endpoint_type: str,
        *,
        client: Client | None = None,
        function: Callable[..., Any] | None = None,
        task: str | None = None,
        upstream: str | None = None,
    ) -> None:
        service = "" if client is None else client.backend
        task = task if task is not None else default_task(service)
        check_task(task, service)
        self.id = f"endpoint_{random.getrandbits(48):012x}"
        self.model = model
        self.type = endpoint_type
        self.client = client
        self._function = function
        self._task = task
        self._upstream = upstream or model
        self._running = 0
        #: When it was last chosen, by count of choices: those of one load take turns.
        self.chosen = 0

    def __call__(self, data: Any, task: str | None = None, **options: Any) -> HandlerResult:
        """Ask the model. The call begins at once; the result is used as a mapping, which waits, or awaited."""
        portal = portals.portal() if self.client is None else self.client.portal()
        return HandlerResult(Pending(portal, self._ask, data, task, options))

    async def _ask(self, data: Any, task: str | None, options: dict[str, Any]) -> dict[str, Any]:
        self._running += 1
        try:
            if self.client is not None:
                client = self.client.asynchronous
                task = self._task if task is None else task
                return await perform(client, task, self._upstream, data, options)
            assert self._function is not None
            if task is not None:
                options["task"] = task
            return await _called(self._function, data, options)
        finally:
            self._running -= 1

    @property
    def load(self) -> tuple[bool, int, int]:
        """How little it should be chosen: whether it is known to be down, its calls under way, its turn."""
        down = self.client is not None and self.client.circuit_state == "OPEN"
        return down, self._running, self.chosen

    def info(self) -> dict[str, Any]:
        client = self.client
        return {
            "id": self.id,
            "model": self.model,
            "type": self.type,
            "task": self._task,
            "upstream_model": self._upstream,
            "backend": None if client is None else client.backend,
            "base_url": None if client is None else client.base_url,
            "active_requests": self._running,
            "circuit_state": None if client is None else client.circuit_state,
        }

    async def query(self) -> dict[str, Any]:
        """Whether the service answers now, and lists the model; a function is not asked."""
        found: dict[str, Any] = {**self.info(), "available": None, "listed": None, "error": None}
        if self.client is None:
            return found
        try:
            names = [model.id for model in await self.client.asynchronous.models(timeout=30)]
        except Exception as error:
            return {**found, "available": False, "error": error}
        listed = self._upstream in names or (self.client.backend == "local" and await asyncio.to_thread(self._found))
        return {**found, "available": True, "listed": listed}

    def _found(self) -> bool:
        """Whether a model of this machine is found by a name that is not listed: its type, or a path."""
        from ipfs_accelerate_py.errors import RuntimeUnavailable
        from ipfs_accelerate_py.runtimes.models import find_model

        try:
            find_model(self._upstream)
        except RuntimeUnavailable:
            return False
        return True


async def _called(function: Callable[..., Any], data: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A function of the caller's own: a coroutine runs on the loop, anything else on a thread beside it."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        result = await function(data, **options)
    else:
        result = await asyncio.to_thread(function, data, **options)
        if inspect.isawaitable(result):
            result = await result
    return dict(result) if isinstance(result, Mapping) else {"result": result}
