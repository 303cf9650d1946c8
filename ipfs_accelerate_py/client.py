"""`AsyncClient`: one backend behind the request pipeline, for asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.backends import Backend, open_backend
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.live import LiveSettings
from ipfs_accelerate_py.settings import Timeouts
from ipfs_accelerate_py.stream import Collector, Stream
from ipfs_accelerate_py.transport import Transport
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    CompletionRequest,
    EmbedRequest,
    Message,
    ModelInfo,
    ModelsRequest,
    Operation,
    Priority,
    RawRequest,
    Reply,
    Request,
    ResponseRequest,
    Usage,
    new_request_id,
)

__all__ = ["AsyncClient", "ReplyStream", "chat_messages"]


class AsyncClient(LiveSettings):
    """One interface to a backend, with queue, retries, breaker, keys and rate limits in front of it.

    ::

        async with AsyncClient("openai") as client:
            reply = await client.chat("gpt-4o", "Hello", temperature=0.2)
            async for chunk in client.stream("gpt-4o", "Hello"):
                print(chunk.text, end="")

    Args:
        backend: name of a backend (``openai``, ``groq``, ``llvm``, ``local``, or one that was registered).
        base_url: where the service is; else from ``metadata``, the environment, ``.env``, or the service's own.
        api_key: a key, or several by name (``{"first": "...", "second": "..."}``); else looked up like the URL.
        metadata: the older API's dictionary of keys and URLs.
        headers: sent with each request.
        transport: another transport than our own.
        settings: any setting of `Settings` by name; each is also a live attribute of the client.

    Options of a call that are not named in its signature go to the service as they are, under the service's names.
    Every call takes ``priority`` ("HIGH", "NORMAL", "LOW"), ``request_id``, ``api_key_name`` (use this key and no
    other), ``timeout`` (seconds for the whole call, queue and retries included), ``timeouts`` (limits of an attempt)
    and ``headers``.

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

    # --- verbs ---------------------------------------------------------------------------------------------------

    async def chat(
        self, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> Reply:
        """One chat answer. ``messages`` is a text or a list of messages in OpenAI's shape."""
        _no_stream(options)
        return await self._backend(
            self._call(Operation.CHAT, options, lambda rest: ChatRequest(model, chat_messages(messages, system), rest))
        )

    def stream(
        self, model: str, messages: str | Sequence[Message], *, system: str | None = None, **options: Any
    ) -> ReplyStream:
        """A chat answer as it is written: ``async for chunk in client.stream(...)``."""
        _no_stream(options)
        return ReplyStream(
            self._backend,
            self._call(
                Operation.CHAT,
                options,
                lambda rest: ChatRequest(model, chat_messages(messages, system), rest),
                stream=True,
            ),
        )

    async def complete(self, model: str, prompt: str | list[Any], **options: Any) -> Reply:
        """One plain completion of ``prompt``."""
        _no_stream(options)
        return await self._backend(
            self._call(Operation.COMPLETION, options, lambda rest: CompletionRequest(model, prompt, rest))
        )

    def stream_complete(self, model: str, prompt: str | list[Any], **options: Any) -> ReplyStream:
        """A plain completion as it is written."""
        _no_stream(options)
        return ReplyStream(
            self._backend,
            self._call(Operation.COMPLETION, options, lambda rest: CompletionRequest(model, prompt, rest), stream=True),
        )

    async def respond(self, model: str, input: str | list[Any], **options: Any) -> Reply:
        """One answer of the Responses API."""
        _no_stream(options)
        return await self._backend(
            self._call(Operation.RESPONSE, options, lambda rest: ResponseRequest(model, input, rest))
        )

    def stream_respond(self, model: str, input: str | list[Any], **options: Any) -> ReplyStream:
        """An answer of the Responses API as it is written; `Chunk.event` is the event's name."""
        _no_stream(options)
        return ReplyStream(
            self._backend,
            self._call(Operation.RESPONSE, options, lambda rest: ResponseRequest(model, input, rest), stream=True),
        )

    async def embed(self, model: str, input: str | Sequence[Any], **options: Any) -> Reply:
        """Embeddings: ``reply.vectors`` holds one list of floats per input, in order. A lone text is one input."""
        if not isinstance(input, str | Iterable):
            raise ConfigurationError(f"embed takes a text or a list of texts, not {type(input).__name__}")
        inputs: list[Any] = [input] if isinstance(input, str) else list(input)
        if not inputs:
            raise ConfigurationError("embed was given no input")
        if isinstance(inputs[0], int):
            inputs = [inputs]  # token ids of one text
        return await self._backend(self._call(Operation.EMBED, options, lambda rest: EmbedRequest(model, inputs, rest)))

    async def models(self, **options: Any) -> list[ModelInfo]:
        """The models that the backend offers."""
        reply = await self._backend(self._call(Operation.MODELS, options, lambda rest: ModelsRequest(options=rest)))
        return reply.models

    async def request(self, path: str, body: Any = None, *, method: str = "POST", **options: Any) -> Reply:
        """Any JSON request of the service, through the same pipeline; the answer is in ``reply.raw``.

        ``path`` is joined to the base URL, or is a full URL on the same host.
        """
        name = body.get("model", "") if isinstance(body, dict) else ""
        model = name if isinstance(name, str) else ""
        return await self._backend(
            self._call(Operation.RAW, options, lambda rest: RawRequest(path, body, method, model, rest))
        )

    async def send(self, call: Call) -> Reply:
        """A prepared `Call` (the gateway's way in)."""
        return await self._backend(call)

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._backend.spec.name

    @property
    def base_url(self) -> str:
        return self._backend.base_url

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
            **{**self.settings.as_dict(), **settings},
        )

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
        """Close the connections. The client may be used again, and then opens new ones."""
        await self._backend.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.backend!r})"

    # --- making calls --------------------------------------------------------------------------------------------

    def _call(self, operation: Operation, options: dict[str, Any], request: Any, *, stream: bool = False) -> Call:
        timeout = options.pop("timeout", None)
        if timeout is None:
            timeout = self.settings.total_timeout
        elif isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
            raise ConfigurationError(f"timeout must be a number of seconds above 0, not {timeout!r}")
        timeouts = options.pop("timeouts", None)
        if timeouts is not None and not isinstance(timeouts, Timeouts):
            raise ConfigurationError("timeouts must be a Timeouts(connect=, first_byte=, first_content=, idle=)")
        headers = options.pop("headers", None)
        if headers is not None:
            headers = _headers(headers)
        request_id = options.pop("request_id", None)
        if request_id is not None and not isinstance(request_id, str):
            raise ConfigurationError(f"request_id must be a text, not {type(request_id).__name__}")
        priority = options.pop("priority", Priority.NORMAL)
        # Arguments are evaluated in order: the last one gets what the others have left.
        return Call(
            operation=operation,
            stream=stream,
            priority=priority if priority is Priority.NORMAL else Priority.parse(priority),
            deadline=None if timeout is None else time.monotonic() + timeout,
            timeouts=timeouts,
            request_id=request_id or new_request_id(),
            key_name=options.pop("api_key_name", None),
            headers=headers,
            request=_checked(request(options)),
        )


class ReplyStream:
    """A streaming answer: iterate over its chunks, then ask it for ``usage`` and the rest.

    The call begins with the first chunk asked for. ``async with`` makes sure that leaving early lets go at once.
    """

    def __init__(self, backend: Backend, call: Call) -> None:
        self._backend = backend
        self._call = call
        self._stream: Stream | None = None
        self._closed = False
        self.reply: Reply | None = None

    async def start(self) -> Reply:
        """Make the call: returns when the first content is here (`Reply.stream` goes on from there)."""
        if self.reply is None:
            self.reply = await self._backend(self._call)
            self._stream = self.reply.stream
            if self._closed and self._stream is not None:
                self._stream.abort()  # somebody left while the first content was awaited
        return self.reply

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        stream = self._stream
        if stream is None:
            if self._closed:
                raise StopAsyncIteration
            await self.start()
            stream = self._stream
            assert stream is not None
        chunk: Chunk = await stream.__anext__()
        return chunk

    async def next_batch(self) -> list[Chunk]:
        """All chunks that are here by now, waiting for at least one; an empty list is the end."""
        if self._stream is None:
            if self._closed:
                return []
            await self.start()
            assert self._stream is not None
        return await self._stream.next_batch()

    async def collect(self) -> Reply:
        """Read to the end, and give what the unary call would have given."""
        collector = Collector()
        async for chunk in self:
            collector.add(chunk)
        whole = collector.reply()
        begun = await self.start()
        whole.backend, whole.request_id, whole.attempts = begun.backend, begun.request_id, begun.attempts
        whole.key_name, whole.upstream_request_id = begun.key_name, begun.upstream_request_id
        return whole

    @property
    def request_id(self) -> str:
        return self._call.request_id

    @property
    def deadline(self) -> float | None:
        return self._call.deadline

    @property
    def usage(self) -> Usage:
        """Tokens so far as they are known; final at the end."""
        return self._stream.usage if self._stream is not None else Usage()

    @property
    def finish_reason(self) -> str | None:
        return self._stream.finish_reason if self._stream is not None else None

    @property
    def model(self) -> str:
        return (self._stream.model if self._stream is not None else "") or self._call.model

    def abort(self) -> None:
        """Leave now."""
        self._closed = True
        if self._stream is not None:
            self._stream.abort()

    async def aclose(self) -> None:
        self.abort()

    async def __aenter__(self) -> ReplyStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.abort()


def chat_messages(messages: str | Sequence[Message], system: str | None = None) -> list[Message]:
    """A text or a list of messages as a list of messages, the system text first."""
    if isinstance(messages, str):
        made: list[Message] = [{"role": "user", "content": messages}]
    else:
        made = list(messages) if isinstance(messages, Iterable) else [messages]
        for message in made:
            if not isinstance(message, Mapping):
                raise ConfigurationError(
                    'messages must be a text or a list of {"role": ..., "content": ...}, '
                    f"not {type(messages).__name__ if made[0] is messages else 'of ' + type(message).__name__}"
                )
    if not made:
        raise ConfigurationError("messages is empty")
    return [{"role": "system", "content": system}, *made] if system else made


def _no_stream(options: dict[str, Any]) -> None:
    if options.pop("stream", False):
        raise ConfigurationError("a streaming answer has a verb of its own: client.stream(...)")


def _headers(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(text, str) for name, text in value.items()
    ):
        raise ConfigurationError('headers must be a mapping of texts, as {"X-Name": "value"}')
    return dict(value)


def _checked(request: Request) -> Request:
    if not isinstance(request.model, str):
        raise ConfigurationError(f"model must be a text, not {type(request.model).__name__}")
    return request
