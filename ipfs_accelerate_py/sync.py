"""`Client`: the verbs of `AsyncClient`, for ordinary code and any number of threads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from ipfs_accelerate_py import portal as portals
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.live import LiveSettings
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.pump import PumpedStream
from ipfs_accelerate_py.reply_stream import ReplyStream
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.transport import Transport
from ipfs_accelerate_py.types import Chunk, Reply, Usage
from ipfs_accelerate_py.verbs import AsyncVerbs

__all__ = ["Client", "SyncReplyStream"]


P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    verb: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Client, P], R]:
    """The verb for ordinary code: it runs on the portal's loop, and is waited for here."""

    def call(self: Client, /, *args: P.args, **options: P.kwargs) -> R:
        return self.portal().call(verb, self._client, *args, **options)

    return functools.update_wrapper(call, verb)


def _streaming(
    verb: Callable[Concatenate[AsyncClient, P], ReplyStream],
) -> Callable[Concatenate[Client, P], SyncReplyStream]:
    def call(self: Client, /, *args: P.args, **options: P.kwargs) -> SyncReplyStream:
        return SyncReplyStream(self.portal(), verb(self._client, *args, **options))

    return functools.update_wrapper(call, verb)


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

    # --- verbs, written in `AsyncVerbs` --------------------------------------------------------------------------

    chat = _blocking(AsyncVerbs.chat)
    stream = _streaming(AsyncVerbs.stream)
    complete = _blocking(AsyncVerbs.complete)
    stream_complete = _streaming(AsyncVerbs.stream_complete)
    respond = _blocking(AsyncVerbs.respond)
    stream_respond = _streaming(AsyncVerbs.stream_respond)
    count_tokens = _blocking(AsyncVerbs.count_tokens)
    embed = _blocking(AsyncVerbs.embed)
    rerank = _blocking(AsyncVerbs.rerank)
    classify = _blocking(AsyncVerbs.classify)
    moderate = _blocking(AsyncVerbs.moderate)
    transcribe = _blocking(AsyncVerbs.transcribe)
    speak = _blocking(AsyncVerbs.speak)
    generate_images = _blocking(AsyncVerbs.generate_images)
    infer = _blocking(AsyncVerbs.infer)
    store = _blocking(AsyncVerbs.store)
    models = _blocking(AsyncVerbs.models)
    request = _blocking(AsyncVerbs.request)
    stream_request = _streaming(AsyncVerbs.stream_request)

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
        return collector.reply(self._inner.reply)

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
