"""`ReplyStream`: a call whose answer is read as it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ipfs_accelerate_py.stream import Collector, Stream
from ipfs_accelerate_py.types import Call, Chunk, Handler, Reply, Usage

__all__ = ["ReplyStream"]


class ReplyStream:
    """A streaming answer: iterate over its chunks, then ask it for ``usage`` and the rest.

    The call begins with the first chunk asked for. ``async with`` makes sure that leaving early lets go at once.
    """

    def __init__(self, handler: Handler, call: Call) -> None:
        self._handler = handler
        self._call = call
        self._stream: Stream | None = None
        self._closed = False
        self._begun = False
        self.reply: Reply | None = None

    async def start(self) -> Reply:
        """Make the call: returns when the first content is here (`Reply.stream` goes on from there)."""
        if self.reply is None:
            self.reply = await self._handler(self._call)
            self._stream = self.reply.stream
            if self._closed and self._stream is not None:
                self._stream.abort()  # somebody left while the first content was awaited
        return self.reply

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    def may_restart(self) -> None:
        """Let a router begin the answer anew, unless the call itself says that its stream shall end in the error."""
        if self._call.mid_stream != "error":
            self._call.mid_stream = "restart"

    async def __anext__(self) -> Chunk:
        self._begun = True
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
        self._begun = True
        if self._stream is None:
            if self._closed:
                return []
            await self.start()
            assert self._stream is not None
        return await self._stream.next_batch()

    async def collect(self) -> Reply:
        """Read to the end, and give what the unary call would have given.

        A router may begin the answer anew where a target fails on the way: nobody has seen its beginning.
        """
        if not self._begun:
            self.may_restart()
        collector = Collector()
        async for chunk in self:
            collector.add(chunk)
        return collector.reply(await self.start())

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
