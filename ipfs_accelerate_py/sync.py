"""`Client`: the verbs of `AsyncClient`, for ordinary code and any number of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.sync_face import SyncFace, SyncReplyStream
from ipfs_accelerate_py.transport import Transport
from ipfs_accelerate_py.types import Operation

__all__ = ["Client", "SyncReplyStream"]


class Client(SyncFace):
    """One interface to a backend, with queue, retries, breaker, keys and rate limits in front of it.

    ::

        client = Client("openai", base_url="http://127.0.0.1:9100/v1", api_key="...")
        reply = client.chat("gpt-4o", "Hello", temperature=0.2, priority="HIGH")
        for chunk in client.stream("gpt-4o", "Hello"):
            print(chunk.text, end="")

    Arguments, verbs, attributes and errors are those of `AsyncClient`. May be used from any thread, from a notebook,
    and under a running event loop (which it blocks, as all synchronous code does); after a fork the child begins with
    fresh connections and an empty queue.
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
        self._adopt(
            AsyncClient(
                backend,
                base_url=base_url,
                api_key=api_key,
                metadata=metadata,
                headers=headers,
                transport=transport,
                **settings,
            )
        )

    _client: AsyncClient

    def _adopt(self, client: AsyncClient) -> None:
        self._client = client
        self.settings = client.settings
        self._generation = 0

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._client.backend

    @property
    def base_url(self) -> str:
        return self._client.base_url

    @property
    def options(self) -> dict[str, Any]:
        """What the backend was told beside settings; a default ``model``, for some."""
        return self._client.options

    @property
    def operations(self) -> frozenset[Operation] | None:
        """What the backend's format can say; None for backends that have no format, and say so at the call."""
        return self._client.operations

    @property
    def active_requests(self) -> int:
        """Calls that hold a slot right now."""
        return self._client.active_requests

    @property
    def circuit_state(self) -> str:
        """``CLOSED``, ``OPEN`` or ``HALF_OPEN``."""
        return self._client.circuit_state

    @property
    def api_key_names(self) -> list[str]:
        """Names of the keys in the pool."""
        return self._client.api_key_names

    def twin(
        self, *, base_url: str | None = None, api_key: str | Mapping[str, str] | None = None, **settings: Any
    ) -> Client:
        """Another client of the same backend, with a queue, breaker and counters of its own.

        URL, keys, headers and settings are this one's where no others are given.
        """
        made = Client.__new__(Client)
        made._adopt(self._client.twin(base_url=base_url, api_key=api_key, **settings))
        return made

    def bound(self, *, api_key_name: str | None = None, key_selection_strategy: str | None = None) -> Client:
        """This client once more, for calls that use this key and no other, or choose among the keys in this way.

        Queue, breaker, keys, settings and counters are those of this client.
        """
        return _Bound(self, api_key_name, key_selection_strategy)

    def add_api_key(self, name: str, key: str, max_concurrent: int | None = None) -> None:
        """Add a key to the pool, or replace the one of that name."""
        self.portal().run(self._client.add_api_key, name, key, max_concurrent)

    def remove_api_key(self, name: str) -> None:
        """Take a key out of the pool; calls that use it right now finish."""
        self.portal().run(self._client.remove_api_key, name)

    def reset_usage(self) -> None:
        """Set the usage counters to zero."""
        self.portal().run(self._client.reset_usage)

    def snapshot(self) -> dict[str, Any]:
        """Queue, breaker, keys and usage as plain data; no key's value is in it."""
        return self.portal().run(self._client.snapshot)

    def close(self) -> None:
        """Close the connections. The client may be used again, and then opens new ones."""
        self.portal().call(self._client.aclose)

    @property
    def asynchronous(self) -> AsyncClient:
        """The asynchronous client behind this one; its calls belong on the portal's loop."""
        return self._client

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.backend!r})"

    def _renew(self) -> None:
        self._client._backend.renew()


class _Bound(Client):
    """A client that is another one, but for how keys are chosen; that one knows where their state lives."""

    def __init__(self, client: Client, key_name: str | None, strategy: str | None) -> None:
        self._shared = client
        bound = client.asynchronous.bound(api_key_name=key_name, key_selection_strategy=strategy)
        self._adopt(bound)

    def portal(self) -> Portal:
        return self._shared.portal()

    def _set(self, name: str, value: Any) -> None:
        self._shared._set(name, value)
