"""A stream that breaks after its first content goes on with another target, where that can be done honestly.

In this order: a target that is known to accept it continues the text; another one is asked anew, and held back while
it repeats what was delivered, so that nobody sees the change; where it says something else, the caller is told to begin
anew (``mid_stream="restart"``), or gets the error of the break ("continue"). docs/streams.md says it at length.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from ipfs_accelerate_py.errors import AccelerateError, StreamCut
from ipfs_accelerate_py.router.alignment import Alignment, Delivered
from ipfs_accelerate_py.router.continuation import Joint, continued
from ipfs_accelerate_py.stream import Stream, Unheld, unheld
from ipfs_accelerate_py.types import Call, Chunk, Operation, Reply, Usage

if TYPE_CHECKING:
    from ipfs_accelerate_py.router.route import Route
    from ipfs_accelerate_py.router.routed import Routed

__all__ = ["protect"]

#: Streams whose chunks say all that their answer holds. Events of the Responses API and of raw requests are read by
#: their callers as they are: another answer's would not fit to those that were delivered.
_RESCUED = frozenset({Operation.CHAT, Operation.COMPLETION})
#: What a reply says of who has answered.
_OF_THE_ANSWERER = (
    "backend", "id", "model", "target_model", "key_name", "upstream_request_id", "attempts", "ignored", "content_type",
)  # fmt: skip

_COUNTS = tuple(name for name in Usage.__struct_fields__ if name not in ("reported", "tier"))

_Reader: TypeAlias = "Joint | Alignment | None"


def protect(reply: Reply, route: Route) -> Reply:
    """The reply with a stream that survives its target. Bytes that are forwarded verbatim stay as they are."""
    stream = reply.stream
    if stream is None or reply.verbatim or route.call.operation not in _RESCUED:
        return reply
    survivor = _Survivor(stream, route)
    reply.stream = Stream(survivor, [])
    survivor.reply = unheld(reply)
    return reply


class _Survivor:
    """The source of the stream that the caller reads (a `ChunkSource`)."""

    #: The reply that the caller has.
    reply: Unheld

    def __init__(self, stream: Stream, route: Route) -> None:
        self._stream = stream
        self._route = route
        self._delivered = Delivered()
        #: How the present target's chunks are fitted to what was delivered; None for the first one.
        self._reader: _Reader = None
        #: The break that the present target is to make good.
        self._broken: AccelerateError | None = None
        #: What earlier parts of the answer came to, as far as their targets have told.
        self._before = Usage()
        #: What the delivered part came to.
        self._made = Usage()
        #: The present target's reply, until it has added something to the answer.
        self._next: Reply | None = None
        self._closed = False
        # Of the call that is being made for the next target: who was asked to go on, and who does not want to.
        self._asked: dict[str, Joint] = {}
        self._refused: set[str] = set()
        self._must_go_on = False

    # As long as the present target has added nothing to the answer, it is the one that broke off.

    @property
    def model(self) -> str:
        return self.reply().model if self._next is not None else self._stream.model

    @property
    def usage(self) -> Usage:
        return self._made if self._next is not None else _sum(self._before, self._stream.usage)

    @property
    def finish_reason(self) -> str | None:
        return None if self._next is not None else self._stream.finish_reason

    def abort(self) -> None:
        self._closed = True
        self._broken = None  # its traceback holds the frame that holds this source
        self._stream.abort()

    async def read(self) -> list[Any]:
        while True:
            try:
                chunks = await self._stream.next_batch()
            except AccelerateError as error:
                await self._rescue(error)
                continue
            passed = chunks if self._reader is None else await self._fitted(chunks)
            if passed or not chunks:
                if self._next is not None:
                    self._take_over(self._next)
                for chunk in passed:
                    self._delivered.add(chunk)
                return passed

    # --- another target ------------------------------------------------------------------------------------------

    async def _rescue(self, error: AccelerateError) -> None:
        """Find who goes on. Raises the error of the break where nobody does."""
        route = self._route
        # Where the one that was to make a break good fails as well, the caller hears of the first one.
        first = self._broken or error
        if self._mode() == "error" or self._delivered.complete or not route.broke(error):
            raise self._failed(first)
        self._broken = first
        if self._next is None:
            self._made = _sum(self._before, self._stream.usage)
        reply = await self._another(error, first)
        stream = reply.stream
        if self._closed:
            if stream is not None:
                stream.abort()
            raise asyncio.CancelledError
        if stream is None or reply.verbatim:
            if stream is not None:
                stream.abort()
            raise self._failed(first)
        self._stream = stream
        assert route.target is not None
        joint = self._asked.get(route.target.name)
        if joint is not None:
            self._before = self._made
            self._reader = joint
        else:
            self._before = Usage()  # the answer that is billed as one is the other target's, from its beginning
            self._reader = Alignment(self._delivered)
        self._next = reply

    def _take_over(self, reply: Reply) -> None:
        """From here on the answer is the present target's."""
        self._next = None
        self._count("restarted" if self._reader is None else "continued")
        for name in _OF_THE_ANSWERER:
            self.reply.set(name, getattr(reply, name))

    async def _another(self, error: AccelerateError, first: AccelerateError) -> Reply:
        """The reply of the next target."""
        route, broken = self._route, self._route.target
        self._asked.clear()
        self._refused.clear()
        # Without leave to restart, an answer anew helps only where it happens to be the same: who can go on is better.
        self._must_go_on = self._mode() != "restart" and self._delivered.only_text() is not None
        if self._must_go_on:
            try:
                return await route.open(self._prepare)
            except AccelerateError:
                self._must_go_on = False
            route.target = broken  # once more from the break on
            if not route.broke(error):
                raise self._failed(first)
        try:
            return await route.open(self._prepare)
        except AccelerateError as nobody:
            if first is error:
                self._count("failed")
                raise nobody  # it is `first`, as the route has surfaced it
        raise self._failed(first)

    def _failed(self, error: AccelerateError) -> AccelerateError:
        """The error of the break, when nothing makes it good."""
        self._count("failed")
        return self._route.surface(error)

    def _count(self, outcome: str) -> None:
        broken = self._route.alias.broken
        broken[outcome] = broken.get(outcome, 0) + 1

    def _prepare(self, call: Call, routed: Routed) -> Call | None:
        """The call for the next target: to go on, where it can; else anew. None passes the target by."""
        if call.passthrough is not None:
            return None  # its answer would be bytes that nobody here can compare
        name = routed.name
        if self._asked.pop(name, None) is not None:
            self._refused.add(name)  # asked once more: it has refused to go on, and may yet answer anew
        going_on = None if name in self._refused else continued(call, routed, self._delivered)
        if going_on is None:
            return None if self._must_go_on else call
        changed, unsent = going_on
        self._asked[name] = Joint(self._delivered.only_text() or "", unsent)
        return changed

    def _mode(self) -> str:
        # The call is looked at as it is now: `collect` may have been called meanwhile.
        return self._route.call.mid_stream or self._route.mid_stream

    # --- fitting together ----------------------------------------------------------------------------------------

    async def _fitted(self, chunks: list[Chunk]) -> list[Chunk]:
        """What of the present target's chunks the caller has not had yet."""
        reader = self._reader
        if isinstance(reader, Joint):
            return [self._counted(chunk) for chunk in (reader.feed(chunks) if chunks else reader.end())]
        assert isinstance(reader, Alignment)
        was_behind = not reader.caught_up
        new = reader.feed(chunks)
        if not chunks:
            reader.end()
        if not reader.diverged:
            return new
        if was_behind and self._mode() == "restart":
            self._reader = None
            self._broken = None
            self._delivered.clear()
            return [Chunk(restart=True, model=self._stream.model), *reader.held]
        # It says something else. The caller keeps what it has, and hears that the rest is missing.
        self._stream.abort()
        raise self._failed(self._broken or StreamCut("the answer broke off, and another target's is not the same"))

    def _counted(self, chunk: Chunk) -> Chunk:
        if chunk.usage is None:
            return chunk
        return msgspec.structs.replace(chunk, usage=_sum(self._before, chunk.usage))


def _sum(first: Usage, second: Usage) -> Usage:
    if not first.reported:
        return second
    made = Usage(reported=True, tier=second.tier)
    for name in _COUNTS:
        setattr(made, name, getattr(first, name) + getattr(second, name))
    return made
