"""`Client`: the verbs of `AsyncClient`, for ordinary code and any number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py import portal as portals
from ipfs_accelerate_py.client import AsyncClient, ReplyStream
from ipfs_accelerate_py.live import LiveSettings
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.pump import PumpedStream
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.transport import Transport
from ipfs_accelerate_py.types import Chunk, Message, ModelInfo, Reply, Usage

__all__ = ["Client", "SyncReplyStream"]


class Client(LiveSettings):
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

    def _adopt(self, client: AsyncClient) -> None:
        self._client = client
        self.settings = client.settings
        self._generation = 0

    # --- verbs ---------------------------------------------------------------------------------------------------

    def chat(
        self, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> Reply:
        """One chat answer. ``messages`` is a text or a list of messages in OpenAI's shape."""
        return self.portal().call(self._client.chat, model, messages, system=system, **options)

    def stream(
        self, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> SyncReplyStream:
        """A chat answer as it is written: ``for chunk in client.stream(...)``."""
        return SyncReplyStream(self.portal(), self._client.stream(model, messages, system=system, **options))

    def complete(self, model: str, prompt: str | list[Any], **options: Any) -> Reply:
        """One plain completion of ``prompt``."""
        return self.portal().call(self._client.complete, model, prompt, **options)

    def stream_complete(self, model: str, prompt: str | list[Any], **options: Any) -> SyncReplyStream:
        """A plain completion as it is written."""
        return SyncReplyStream(self.portal(), self._client.stream_complete(model, prompt, **options))

    def respond(self, model: str, input: str | list[Any], **options: Any) -> Reply:
        """One answer of the Responses API."""
        return self.portal().call(self._client.respond, model, input, **options)

    def stream_respond(self, model: str, input: str | list[Any], **options: Any) -> SyncReplyStream:
        """An answer of the Responses API as it is written; `Chunk.event` is the event's name."""
        return SyncReplyStream(self.portal(), self._client.stream_respond(model, input, **options))

    def embed(self, model: str, input: str | Sequence[Any], **options: Any) -> Reply:
        """Embeddings: ``reply.vectors`` holds one list of floats per input, in order. A lone text is one input."""
        return self.portal().call(self._client.embed, model, input, **options)

    def models(self, **options: Any) -> list[ModelInfo]:
        """The models that the backend offers."""
        return self.portal().call(self._client.models, **options)

    def request(self, path: str, body: Any = None, *, method: str = "POST", **options: Any) -> Reply:
        """Any JSON request of the service, through the same pipeline; the answer is in ``reply.raw``."""
        return self.portal().call(self._client.request, path, body, method=method, **options)

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._client.backend

    @property
    def base_url(self) -> str:
        return self._client.base_url

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

    # --- the portal ----------------------------------------------------------------------------------------------

    def portal(self) -> Portal:
        """The portal, with this client's state on its loop (made fresh in a forked child)."""
        found = portals.portal()
        if self._generation != portals.generation:
            with portals.lock():
                self._move(found)
        return found

    def _move(self, found: Portal) -> None:
        if self._generation == portals.generation:
            return  # another thread was faster
        if self._generation:
            self._client._backend.renew()  # a forked child: its queue is not its parent's
        found.adopt(self._client)
        self._generation = portals.generation

    def _set(self, name: str, value: Any) -> None:
        # On the loop, where the queue that a new limit wakes lives; before the first call there is nothing to wake.
        if self._generation == 0:
            setattr(self.settings, name, value)
        else:
            self.portal().run(setattr, self.settings, name, value)


class SyncReplyStream:
    """A streaming answer: iterate over its chunks, then ask it for ``usage`` and the rest.

    The call begins at once, in the background. ``with`` makes sure that leaving early lets go at once.
    """

    def __init__(self, portal: Portal, stream: ReplyStream) -> None:
        self._inner = stream
        self._chunks: PumpedStream[Chunk] = PumpedStream(
            portal, stream.next_batch, stream.abort, deadline=stream.deadline
        )

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def collect(self) -> Reply:
        """Read to the end, and give what the unary call would have given."""
        collector = Collector()
        for chunk in self._chunks:
            collector.add(chunk)
        whole = collector.reply()
        begun = self._inner.reply
        if begun is not None:
            whole.backend, whole.request_id, whole.attempts = begun.backend, begun.request_id, begun.attempts
            whole.key_name, whole.upstream_request_id = begun.key_name, begun.upstream_request_id
        return whole

    @property
    def request_id(self) -> str:
        return self._inner.request_id

    @property
    def usage(self) -> Usage:
        """Tokens so far as they are known; final at the end."""
        return self._inner.usage

    @property
    def finish_reason(self) -> str | None:
        return self._inner.finish_reason

    @property
    def model(self) -> str:
        return self._inner.model

    def close(self) -> None:
        """Leave now: the upstream connection is dropped and everything held is given back."""
        self._chunks.close()

    def __enter__(self) -> SyncReplyStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
