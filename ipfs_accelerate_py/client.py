"""`AsyncClient`: one backend behind the request pipeline, for asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from ipfs_accelerate_py.backends import Backend, open_backend
from ipfs_accelerate_py.dialects.batches import BatchFormat
from ipfs_accelerate_py.features import Features
from ipfs_accelerate_py.live import LiveSettings
from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.pipeline.stack import Stack
from ipfs_accelerate_py.pipeline.usage import UsagePolicy
from ipfs_accelerate_py.settings import check_strategy
from ipfs_accelerate_py.transport import Transport
from ipfs_accelerate_py.types import Call, Operation, Reply
from ipfs_accelerate_py.verbs import AsyncVerbs

__all__ = ["AsyncClient"]


class AsyncClient(AsyncVerbs, Features, LiveSettings):
    """One interface to a backend, with queue, retries, breaker, keys and rate limits in front of it.

    ::

        async with AsyncClient("openai") as client:
            reply = await client.chat("gpt-4o", "Hello", temperature=0.2)
            async for chunk in client.stream("gpt-4o", "Hello"):
                print(chunk.text, end="")

    Args:
        backend: name of a backend (``ipfs-accelerate check --list`` shows them), or of one that was registered.
        base_url: where the service is; else from ``metadata``, the environment, ``.env``, or the service's own.
        api_key: a key, or several by name (``{"first": "...", "second": "..."}``); else looked up like the URL.
        metadata: the older API's dictionary of keys and URLs.
        headers: sent with each request.
        transport: another transport than our own.
        settings: any setting of `Settings` by name, each of which is also a live attribute of the client; and the
            options of the backend (``anthropic_version`` for ``claude``, for instance).

    What every call takes beside its own arguments is said at `AsyncVerbs`.

    Raises the error tree of `ipfs_accelerate_py.errors`; a missing key is reported by the first call, not here.
    """

    def __init__(
        self,
        backend: str = "openai",
        *,
        base_url: str | None = None,
        api_key: str | Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        **settings: Any,
    ) -> None:
        self._backend: Backend = open_backend(
            backend,
            base_url=base_url,
            api_key=api_key,
            metadata=metadata or {},
            headers=headers,
            transport=transport,
            settings=settings,
        )
        self.settings = self._backend.settings

    def send(self, call: Call) -> Awaitable[Reply]:
        """A prepared `Call` (the gateway's way in)."""
        return self._backend(call)

    def _batch_api(self) -> BatchFormat | None:
        http = self._backend.http
        return None if http is None else getattr(http.dialect, "batches", None)

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def front(self) -> Stack:
        return self._backend.pipeline.front

    @property
    def usage_policy(self) -> UsagePolicy:
        return self._backend.pipeline.usage

    def pipelines(self) -> Mapping[str, Pipeline]:
        return {self.backend: self._backend.pipeline}

    def services(self) -> Iterable[tuple[str, str, str]]:
        return ((self.backend, "", self.base_url),)

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._backend.spec.name

    @property
    def base_url(self) -> str:
        return self._backend.base_url

    @property
    def options(self) -> dict[str, Any]:
        """What the backend was told beside settings; a default ``model``, for some."""
        return self._backend.options

    @property
    def operations(self) -> frozenset[Operation] | None:
        """What the backend's format can say; None for backends that have no format, and say so at the call."""
        if self._backend.spec.store:
            return frozenset((Operation.STORE,))
        http = self._backend.http
        return None if http is None else http.dialect.operations

    @property
    def active_requests(self) -> int:
        """Calls that hold a slot right now."""
        return self._backend.pipeline.admission.active

    @property
    def circuit_state(self) -> str:
        """``CLOSED``, ``OPEN`` or ``HALF_OPEN``."""
        return self._backend.pipeline.breaker.state

    @property
    def api_key_names(self) -> list[str]:
        """Names of the keys in the pool."""
        return self._backend.pipeline.keys.names()

    def twin(
        self, *, base_url: str | None = None, api_key: str | Mapping[str, str] | None = None, **settings: Any
    ) -> AsyncClient:
        """Another client of the same backend, with a queue, breaker and counters of its own.

        URL, keys, headers and settings are this one's where no others are given.
        """
        return AsyncClient(
            self.backend,
            base_url=base_url or self.base_url,
            api_key=api_key if api_key is not None else self._backend.key_values(),
            headers=self._backend.headers,
            **{**self.settings.as_dict(), **self.options, **settings},
        )

    def bound(self, *, api_key_name: str | None = None, key_selection_strategy: str | None = None) -> AsyncClient:
        """This client once more, for calls that use this key and no other, or choose among the keys in this way.

        Queue, breaker, keys, settings and counters are those of this client.
        """
        return _Bound(self, api_key_name, key_selection_strategy)

    def add_api_key(self, name: str, key: str, max_concurrent: int | None = None) -> None:
        """Add a key to the pool, or replace the one of that name."""
        self._backend.add_key(name, key, max_concurrent)

    def remove_api_key(self, name: str) -> None:
        """Take a key out of the pool; calls that use it right now finish."""
        self._backend.remove_key(name)

    def reset_usage(self) -> None:
        """Set the usage counters to zero."""
        self._backend.pipeline.totals.reset()

    def snapshot(self) -> dict[str, Any]:
        """Queue, breaker, keys and usage as plain data; no key's value is in it."""
        return self._backend.snapshot()

    async def aclose(self) -> None:
        """Close the connections, and write down what the ledger has heard. The client may be used again."""
        await self._backend.aclose()
        await self.close_caches()
        await self.flush_ledger()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.backend!r})"


class _Bound(AsyncClient):
    """A client that says for each call how its key is chosen, where the call does not."""

    def __init__(self, client: AsyncClient, key_name: str | None, strategy: str | None) -> None:
        self._backend = client._backend
        self._whole = getattr(client, "_whole", client)  # what watches it stays with the client itself
        self.settings = client.settings
        self._key_name = key_name
        self._strategy = None if strategy is None else check_strategy("key_selection_strategy", strategy)

    def send(self, call: Call) -> Awaitable[Reply]:
        if call.key_name is None:
            call.key_name = self._key_name
            call.key_strategy = self._strategy
        return super().send(call)
