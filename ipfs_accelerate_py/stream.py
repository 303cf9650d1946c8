"""A streaming answer on its way to the caller.

A policy that holds something for a call (a slot, a key, a probe) gives it back when the stream is *done*, whichever
way that happens: read to its end, broken, closed early, cancelled, or dropped and collected. So policies hang a
callback on the stream instead of wrapping its iteration, and a chunk costs the same however many policies there are.
All of that is synchronous: letting go never waits, so it cannot be interrupted halfway.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec

from ipfs_accelerate_py.types import Chunk, Image, Reply, ToolCall, Usage

__all__ = ["ChunkSource", "Collector", "Stream", "Unheld", "unheld"]


class ChunkSource(Protocol):
    """Where a stream's items come from: a backend's answer being read."""

    @property
    def model(self) -> str: ...
    @property
    def usage(self) -> Usage: ...
    @property
    def finish_reason(self) -> str | None: ...

    async def read(self) -> list[Any]:
        """The next items, at least one; an empty list is the complete end. Raises a typed error where it broke off."""
        ...

    def abort(self) -> None:
        """Let go of everything held, at once. Harmless when called again."""
        ...


class Unheld:
    """The reply that a stream belongs to, for whatever hangs on that stream; see `unheld`."""

    __slots__ = ("_copy", "_found")

    def __init__(self, reply: Reply) -> None:
        self.renew(reply)

    def renew(self, reply: Reply) -> None:
        """Take note of what the reply says by now."""
        self._found, self._copy = weakref.ref(reply), msgspec.structs.replace(reply, stream=None)

    def __call__(self) -> Reply:
        """The reply; where nobody has it any more, a copy of it, which has no stream."""
        return self._found() or self._copy

    def set(self, name: str, value: Any) -> None:
        """Set a field of the reply that becomes known only while its stream is read."""
        setattr(self._copy, name, value)
        if (reply := self._found()) is not None:
            setattr(reply, name, value)


def unheld(reply: Reply) -> Unheld:
    """``reply``, for a callback on its own stream, a listener or a source of it.

    Who held the reply would hold the stream that holds him, and a stream that its caller has forgotten would keep its
    slot until the collector of cycles comes by. All who ask for one stream's reply share what they are given: the
    books of a forgotten stream say what was set last.
    """
    stream = reply.stream
    assert stream is not None
    if stream._reply is None:
        stream._reply = Unheld(reply)
    else:
        stream._reply.renew(reply)
    found: Unheld = stream._reply
    return found


DoneCallback = Callable[["Stream", BaseException | None], None]


class Stream:
    """An async iterator of `Chunk` (or of verbatim bytes, for a passthrough call).

    Use it in ``async for``; leave it early with ``aclose()`` or ``async with``. ``usage``, ``finish_reason`` and
    ``model`` are those known so far, and final once the iteration has ended.
    """

    __slots__ = ("__weakref__", "_buffer", "_callbacks", "_done", "_loop", "_reply", "_source", "_taps", "error")

    def __init__(self, source: ChunkSource, first: list[Any]) -> None:
        self._source = source
        self._buffer: deque[Any] = deque(first)
        self._callbacks: list[DoneCallback] = []
        self._taps: list[Callable[[list[Any]], None]] | None = None
        self._reply: Unheld | None = None
        self._done = False
        self._loop = asyncio.get_running_loop()
        #: How it ended, where that was badly: the error that iteration raised.
        self.error: BaseException | None = None

    @property
    def usage(self) -> Usage:
        return self._source.usage

    @property
    def finish_reason(self) -> str | None:
        return self._source.finish_reason

    @property
    def model(self) -> str:
        return self._source.model

    @property
    def done(self) -> bool:
        """Whether everything held for this stream has been given back."""
        return self._done

    def add_done_callback(self, callback: DoneCallback) -> None:
        """Call ``callback(stream, error)`` once, when the stream is done; callbacks run innermost policy first.

        ``error`` is None for a complete stream, the typed error for a broken one, and a `asyncio.CancelledError`
        where the caller left early.
        """
        if self._done:
            callback(self, self.error)
        else:
            self._callbacks.append(callback)

    def tap(self, listener: Callable[[list[Any]], None]) -> None:
        """Show ``listener`` every item as it comes in, those that wait to be read already among them.

        It hears each once, before the reader does, and must neither wait, raise nor change them; whether the stream
        was complete is for `add_done_callback` to tell.
        """
        if self._buffer:
            listener(list(self._buffer))
        if self._taps is None:
            self._taps = []
        self._taps.append(listener)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        buffer = self._buffer
        if buffer:
            return buffer.popleft()
        items = await self.next_batch()
        if not items:
            raise StopAsyncIteration
        if len(items) > 1:
            buffer.extend(items)
            return buffer.popleft()
        return items[0]

    async def next_batch(self) -> list[Any]:
        """All items that are here by now, waiting for at least one; an empty list is the end."""
        if self._buffer:
            items = list(self._buffer)
            self._buffer.clear()
            return items
        if self._done:
            if self.error is not None and not isinstance(self.error, asyncio.CancelledError):
                raise self.error
            return []
        try:
            items = await self._source.read()
        except BaseException as error:
            self._finish(error)
            raise
        if not items:
            self._finish(None)
        elif self._taps is not None:
            for listener in self._taps:
                listener(items)
        return items

    def abort(self) -> None:
        """Leave the stream now: the upstream connection is dropped and everything held is given back."""
        self._buffer.clear()
        self._finish(asyncio.CancelledError())

    async def aclose(self) -> None:
        """`abort`, for ``async with`` and `contextlib.aclosing`."""
        self.abort()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.abort()

    def _finish(self, error: BaseException | None) -> None:
        if self._done:
            return
        self._done = True
        self.error = error
        self._source.abort()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self, error)

    def __del__(self) -> None:
        # A caller who breaks out of the loop and forgets the stream must not keep a slot until the process ends. The
        # collector may run in any thread, and everything to be given back belongs to the loop.
        if getattr(self, "_done", True):
            return
        finisher = _Finisher(self._source, self._callbacks, self._loop)
        # A stream around this one may be collected with it, and reach it once more by its own finisher.
        self._done = True
        self._callbacks = []
        try:
            self._loop.call_soon_threadsafe(finisher)
        except RuntimeError:
            # The loop is closed and nobody else is left on it, so the books are put right from here.
            with contextlib.suppress(RuntimeError):
                finisher()


class _Finisher:
    """Finishes a collected stream on its loop, through a stand-in for the object that is gone."""

    def __init__(self, source: ChunkSource, callbacks: list[DoneCallback], loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._callbacks = callbacks
        self._loop = loop

    def __call__(self) -> None:
        stream = Stream.__new__(Stream)
        stream._source = self._source
        stream._buffer = deque()
        stream._callbacks = self._callbacks
        stream._done = False
        stream._loop = self._loop
        stream.error = None
        stream.abort()


#: What is known of a call before its stream, and is no part of the answer.
_OF_THE_CALL = (
    "backend", "request_id", "attempts", "key_name", "upstream_request_id", "ignored", "cost", "cache", "similarity",
    "target_model", "latency",
)  # fmt: skip


class Collector:
    """Adds the chunks of a stream up to the `Reply` the unary call would have given."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._tools: dict[int, ToolCall] = {}
        self._arguments: dict[int, list[str]] = {}
        self._finish_reason: str | None = None
        self._model = ""
        self._usage = Usage()
        self._thinking: list[dict[str, Any]] = []
        self._images: list[Image] = []

    def add(self, chunk: Chunk) -> None:
        if chunk.restart:
            self.__init__()  # type: ignore[misc]  # another target begins anew: what came before is no part of it
        if chunk.index == 0:
            if chunk.text:
                self._text.append(chunk.text)
            if chunk.reasoning:
                self._reasoning.append(chunk.reasoning)
            if chunk.refusal:
                self._refusal.append(chunk.refusal)
            for piece in chunk.tool_calls:
                self._add_tool(piece)
            self._finish_reason = chunk.finish_reason or self._finish_reason
            self._thinking.extend(chunk.thinking_blocks)
            self._images.extend(chunk.images)
        if chunk.usage is not None:
            self._usage = chunk.usage
        self._model = chunk.model or self._model

    def _add_tool(self, piece: ToolCall) -> None:
        call = self._tools.get(piece.index)
        if call is None:
            call = self._tools[piece.index] = ToolCall(index=piece.index)
        call.id = piece.id or call.id
        call.name = piece.name or call.name
        call.type = piece.type or call.type
        call.signature = piece.signature or call.signature
        self._arguments.setdefault(piece.index, []).append(piece.arguments)

    def reply(self, begun: Reply | None = None) -> Reply:
        """What the chunks so far add up to; ``begun`` is the reply that the stream came with."""
        for index, call in self._tools.items():
            call.arguments = "".join(self._arguments[index])
        whole = Reply(
            model=self._model,
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            refusal="".join(self._refusal),
            tool_calls=[self._tools[index] for index in sorted(self._tools)],
            finish_reason=self._finish_reason,
            usage=self._usage,
            thinking_blocks=self._thinking,
            images=self._images,
        )
        if begun is not None:
            for name in _OF_THE_CALL:
                setattr(whole, name, getattr(begun, name))
        return whole
