"""`ipfs_accelerate_py`: which models are served where, and a handler for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py import portal as portals
from ipfs_accelerate_py.endpoints.devices import device_options
from ipfs_accelerate_py.endpoints.endpoint import Endpoint, service_of
from ipfs_accelerate_py.endpoints.handlers import EndpointHandlers, Handler, listed
from ipfs_accelerate_py.endpoints.table import EndpointTable
from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.pending import HandlerResult, Pending
from ipfs_accelerate_py.sync import Client

__all__ = ["EndpointHandlers", "ipfs_accelerate_py"]


class ipfs_accelerate_py(EndpointTable):  # noqa: N801  # the older API's name
    """Models, and the endpoints that serve them.

    ::

        accelerate = ipfs_accelerate_py(metadata={"openai_api_key": "..."})
        accelerate.add_endpoint("gpt-4o", "openai")
        handler = accelerate.endpoint_handler("gpt-4o", "openai")
        handler("Hello")["text"]          # or, in a coroutine: (await handler("Hello"))["text"]
        accelerate.infer("gpt-4o", "Hello")["text"]

    An endpoint's type is the name of a service (``openai``, ``groq``, ``llvm``, ...), or hardware of this machine:
    ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``openvino``, ``llvm_local``, or ``local`` for what is best here. A model
    that is on this machine, by its name or its type (``bert``), has an endpoint of every such type without being added:
    ``accelerate.endpoint_handler("bert", "cpu")("The capital is [MASK].")["masks"]``. One pair of
    model and type may have several endpoints, and calls go to the one with the least to do.

    Args:
        resources: ``{"local_endpoints": {model: {type: function}}}`` are adopted as endpoints; the rest is not used.
        metadata: keys and URLs by the older API's names; what is not there is looked for in the environment.
        settings: what each client is made with, settings of `Settings` among them.

    An endpoint that does not exist is an error that names those that do, and nothing is ever answered in its place.
    """

    def __init__(
        self, resources: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        self.resources = dict(resources or {})
        super().__init__(dict(metadata or {}), settings)
        for model, types in (self.resources.get("local_endpoints") or {}).items():
            for endpoint_type, function in types.items():
                self.add_endpoint(model, endpoint_type, function)

    # --- which there are -----------------------------------------------------------------------------------------

    def init_endpoints(self, models: Any, resources: Any = None) -> dict[str, dict[str, list[str]]]:
        """Add endpoints for several models, all or none, and return the ids of all there are, by model and type.

        ``models`` is ``{model: types}`` or a list of ``(model, types)``, where ``types`` is the name of a service,
        several of them, or ``{name: endpoint}`` with what `add_endpoint` takes; or a list of names alone, for embedding
        models on this machine. ``resources`` is taken for the older callers' sake, and not used.
        """
        added: list[str] = []
        try:
            for model, endpoint_type, endpoint in listed(models):
                added.append(self.add_endpoint(model, endpoint_type, endpoint))
        except BaseException:
            for endpoint_id in added:
                self._drop(lambda each, wanted=endpoint_id: each.id == wanted)  # type: ignore[misc]
            raise
        with self._lock:
            return {
                model: {kind: [each.id for each in listed] for kind, listed in types.items()}
                for model, types in self._endpoints.items()
            }

    def add_endpoint(self, model: str, endpoint_type: str, endpoint: Any = None) -> str:
        """Add an endpoint, and return its id. Nothing is sent.

        ``endpoint`` is None for the service where it always is; its URL; a function, plain or a coroutine, that takes
        the data and gives a dictionary; a `Client`; or a dictionary with ``task`` (``chat``, ``embedding``,
        ``transcription``, ...), ``model`` (what the service calls it) and any option of `Client` (``base_url``,
        ``api_key``, ``max_concurrent_requests``, ...).
        """
        if not isinstance(model, str) or not model:
            raise ConfigurationError("an endpoint needs a model's name")
        if isinstance(endpoint, str):
            endpoint = {"base_url": endpoint}
        if isinstance(endpoint, Client):
            made = Endpoint(model, endpoint_type, client=endpoint)
        elif callable(endpoint):
            made = Endpoint(model, endpoint_type, function=endpoint)
        elif endpoint is None or isinstance(endpoint, Mapping):
            options = dict(endpoint or {})
            task, upstream = options.pop("task", None), options.pop("model", None)
            service, told = service_of(endpoint_type)
            client = self._client(service, told, options)
            made = Endpoint(model, endpoint_type, client=client, task=task, upstream=upstream)
        else:
            raise ConfigurationError(
                f"an endpoint is a URL, a dictionary of options, a Client or a function, not {type(endpoint).__name__}"
            )
        with self._lock:
            self._endpoints.setdefault(model, {}).setdefault(endpoint_type, []).append(made)
        return made.id

    def rm_endpoint(self, model: str, endpoint_type: str | None = None, endpoint_id: str | None = None) -> int:
        """Remove an endpoint by its id, all of a type, or all of a model; returns how many. Calls under way finish."""
        self._of(model, endpoint_type)
        return self._drop(
            lambda each: each.model == model and endpoint_type in (None, each.type) and endpoint_id in (None, each.id)
        )

    def get_endpoints(self, model: str | None = None, endpoint_type: str | None = None) -> list[dict[str, Any]]:
        """The endpoints there are: ``id``, ``model``, ``type``, ``task``, ``base_url``, ``circuit_state``, ..."""
        if model is not None:
            found = self._of(model, endpoint_type)
        else:
            found = [each for each in self._all() if endpoint_type in (None, each.type)]
        return [endpoint.info() for endpoint in found]

    def choose_endpoint(self, model: str, endpoint_type: str | None = None) -> str:
        """The id of the endpoint that a call would go to now: one that is not known to be down, with least to do."""
        return self._choose(model, endpoint_type).id

    def query_endpoints(self, model: str | None = None, endpoint_type: str | None = None) -> list[dict[str, Any]]:
        """As `get_endpoints`, having asked each service: is it ``available``, is the model ``listed``, ``error``."""
        return [found.result() for found in self._queries(model, endpoint_type)]

    async def aquery_endpoints(
        self, model: str | None = None, endpoint_type: str | None = None
    ) -> list[dict[str, Any]]:
        """The awaitable twin of `query_endpoints`."""
        return [await found for found in self._queries(model, endpoint_type)]

    # --- calls ---------------------------------------------------------------------------------------------------

    @property
    def endpoint_handler(self) -> EndpointHandlers:
        """``endpoint_handler(model, type)`` and ``endpoint_handler[model][type]`` are a handler, and
        ``endpoint_handler()`` is all of them by model and type."""
        return EndpointHandlers(self)

    def get_endpoint_handler(self, model: str | None = None, endpoint_type: str | None = None) -> Any:
        """A handler: ``handler(data, **options)`` asks the model, and its result is used as a mapping or awaited.

        Without a type, of any of the model's endpoints; without a model, all handlers by model and type.
        """
        if model is None:
            with self._lock:
                pairs = {model: list(types) for model, types in self._endpoints.items()}
            return {model: {kind: self._handler(model, kind) for kind in types} for model, types in pairs.items()}
        self._ensure(model, endpoint_type)
        self._of(model, endpoint_type)
        return self._handler(model, endpoint_type)

    def infer(
        self, model: str, data: Any, endpoint: str | None = None, endpoint_type: str | None = None, **options: Any
    ) -> HandlerResult:
        """Ask a model, at the endpoint with this id, or at the one that `choose_endpoint` takes.

        ``data`` is what the endpoint's task takes: a text or messages, texts to embed, a recording's bytes; ``task``
        among the options names another task. The result is used as a mapping, which waits for it, or awaited.
        """
        if endpoint is None:
            self._ensure(model, endpoint_type)
            return self._choose(model, endpoint_type)(data, **options)
        for each in self._of(model, endpoint_type):
            if each.id == endpoint:
                return each(data, **options)
        raise ConfigurationError(f"the model {model!r} has no endpoint {endpoint!r}; {self._known()}")

    # --- state ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """``endpoints`` (how many), ``active_requests``, ``models`` (by name and type, the endpoints), by service the
        ``usage`` of the clients that endpoints share, and ``local``: the models of this machine that are loaded."""
        listed = self.get_endpoints()
        models: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for info in listed:
            models.setdefault(info["model"], {}).setdefault(info["type"], []).append(info)
        with self._lock:
            shared = dict(self._shared)
        return {
            "endpoints": len(listed),
            "active_requests": sum(info["active_requests"] for info in listed),
            "models": models,
            "usage": {service: client.snapshot()["usage"] for service, client in shared.items()},
            "local": next((found for each in shared.values() if (found := each.snapshot().get("local"))), {}),
        }

    def test_hardware(self) -> dict[str, Any]:
        """What this machine can compute with: ``cpu``, ``cuda``, ``rocm``, ``mps``, ``xpu``, ``openvino``, each True or
        False, and ``details``, which say what was found or why there is nothing."""
        from ipfs_accelerate_py.runtimes.hardware import find_hardware

        return find_hardware()

    def get_model_type(self, model: str) -> str:
        """The type of a model on this machine (``bert``, ``llama``, ...), as its own configuration names it.

        Raises `RuntimeUnavailable` where the model is not here: a service does not tell, and a name proves nothing.
        """
        from ipfs_accelerate_py.runtimes.gguf import read_gguf
        from ipfs_accelerate_py.runtimes.models import find_model

        path = Path(model).expanduser()
        if not model.startswith(("/", ".", "~")) or path.is_file():
            path = find_model(model, folders=self._folders())
        if path.is_file():
            return read_gguf(path).architecture
        path /= "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError) as problem:
            raise ConfigurationError(f"the configuration of {model!r} cannot be read: {problem}") from None
        if not isinstance(found, str):
            raise ConfigurationError(f"the configuration of {model!r} does not name its type ({path})")
        return found

    def close(self) -> None:
        """Close the connections. The object may be used again, and then opens new ones."""
        for client in self._clients():
            client.close()

    async def aclose(self) -> None:
        """The awaitable twin of `close`."""
        for client in self._clients():
            await Pending(client.portal(), client.asynchronous.aclose)

    def __enter__(self) -> ipfs_accelerate_py:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- within --------------------------------------------------------------------------------------------------

    def _ensure(self, model: str, endpoint_type: str | None) -> None:
        """A device of this machine is an endpoint of every model that is here, without being added."""
        if endpoint_type is None or not isinstance(endpoint_type, str) or device_options(endpoint_type) is None:
            return
        with self._lock:
            if self._endpoints.get(model, {}).get(endpoint_type):
                return
        from ipfs_accelerate_py.runtimes.models import find_model

        find_model(model, folders=self._folders())
        with self._lock:
            if not self._endpoints.get(model, {}).get(endpoint_type):
                self.add_endpoint(model, endpoint_type)

    def _check_model(self, model: str) -> None:
        """Raises `ConfigurationError` where a model neither has an endpoint nor is on this machine."""
        from ipfs_accelerate_py.runtimes.models import find_model

        with self._lock:
            if model in self._endpoints:
                return
        try:
            find_model(model, folders=self._folders(), allow_path=False)
        except RuntimeUnavailable as error:
            raise ConfigurationError(f"there is no endpoint for the model {model!r}; {self._known()}") from error

    def _handler(self, model: str, endpoint_type: str | None) -> Handler:
        def handler(data: Any, **options: Any) -> HandlerResult:
            """Ask the model, at the endpoint with the least to do."""
            return self.infer(model, data, endpoint_type=endpoint_type, **options)

        return handler

    def _queries(self, model: str | None, endpoint_type: str | None) -> list[Pending[dict[str, Any]]]:
        asked = self._all() if model is None else self._of(model, endpoint_type)
        return [
            Pending(portals.portal() if each.client is None else each.client.portal(), each.query)
            for each in asked
            if endpoint_type in (None, each.type)
        ]
