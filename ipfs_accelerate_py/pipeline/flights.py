"""Calls in flight that several callers share: one request to the upstream, and as many readers as there are callers.

A flight runs in a task of its own, so that whoever began it can leave without taking the others along. Of a stream,
everything that came is kept while others may still join, and is played back to them; each reads at its own pace.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.errors import ReadTimeout, StreamCut
from ipfs_accelerate_py.pipeline.copies import copied, copied_chunk, copied_error, copied_reply
from ipfs_accelerate_py.pipeline.kept import Kept
from ipfs_accelerate_py.stream import Stream, Unheld, unheld
from ipfs_accelerate_py.types import Call, Handler, Reply, Usage

__all__ = ["MOST_KEPT", "Flight", "Passenger"]

#: Bytes of a stream that are kept for those who join late, and for those who read slowly. From there on nobody can
#: join, and who falls further behind the fastest reader is let go.
MOST_KEPT = 8 * 1024 * 1024
#: What a reply says of who has answered.
_OF_THE_ANSWERER = ("backend", "model", "target_model", "key_name", "upstream_request_id", "attempts")


class Flight:
    """One request to the upstream on behalf of everybody in ``passengers``."""

    def __init__(self, inner: Handler, call: Call, closed: Callable[[Flight], None], most_kept: int) -> None:
        """``closed`` is called once, as soon as nobody may join any more. ``call`` is the flight's own."""
        self.call = call
        self.loop = asyncio.get_running_loop()
        self.passengers: list[Passenger] = []
        #: Whose books the call is in: the first that came, of those who are still there.
        self.payer: Passenger | None = None
        self.reply: Reply | None = None
        self.stream: Stream | None = None
        self.error: BaseException | None = None
        self.over = False
        self._closed: Callable[[Flight], None] | None = closed
        self.most_kept = most_kept
        self.kept = Kept()
        self._wanted: asyncio.Future[None] | None = None
        self.task = self.loop.create_task(self._run(inner))

    # --- the upstream's side -------------------------------------------------------------------------------------

    async def _run(self, inner: Handler) -> None:
        try:
            reply = await inner(self.call)
            self.reply = reply
            stream = self.stream = reply.stream
            if stream is None:
                self._end(None)
                return
            self._tell()
            while True:
                while not any(passenger.waits for passenger in self.passengers):
                    self._wanted = self.loop.create_future()
                    await self._wanted
                items = await stream.next_batch()
                if not items:
                    break
                self._keep(items)
                self._tell()
            self._end(None)
        except BaseException as error:
            self._end(error)
            if not isinstance(error, Exception):
                raise
        finally:
            if self.stream is not None:
                self.stream.abort()

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        self.over = True
        self.close()
        self._tell()

    def _tell(self) -> None:
        for passenger in self.passengers:
            passenger.told()

    def _keep(self, items: list[Any]) -> None:
        kept = self.kept
        kept.add(items)
        if kept.size <= self.most_kept:
            return
        self.close()
        # First what everybody has read; then, from who is farthest behind, what they have not. Never the fastest: they
        # have read all but what came just now.
        kept.drop_before(min((each.position for each in self.passengers), default=kept.end))
        while kept.size > self.most_kept:
            behind = [each for each in self.passengers if each.position == kept.first]
            if len(behind) == len(self.passengers):
                break
            for passenger in behind:
                passenger.let_go()
            kept.drop_before(min(each.position for each in self.passengers))

    # --- the passengers' side ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Nobody can join any more."""
        closed, self._closed = self._closed, None
        if closed is not None:
            closed(self)

    def want(self) -> None:
        """Somebody waits for more of the stream."""
        wanted, self._wanted = self._wanted, None
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

    def join(self, passenger: Passenger) -> None:
        self.passengers.append(passenger)
        if self.payer is None:
            self.payer = passenger
        else:
            self._extend(passenger.call)

    def _extend(self, call: Call) -> None:
        """Let the flight last as long as the most patient of its passengers."""
        until = self.call.deadline
        if until is not None and (call.deadline is None or call.deadline > until):
            self.call.deadline = call.deadline
        for passenger in self.passengers:
            passenger.limit(self.call.deadline)

    def leave(self, passenger: Passenger) -> None:
        """A passenger needs nothing any more; with the last one the upstream's answer is given up, at once."""
        if passenger not in self.passengers:
            return
        self.passengers.remove(passenger)
        if self.over:
            if not self.passengers:
                self.error = None  # its traceback holds the frame that holds this flight
            return
        if self.passengers:
            if passenger is self.payer:
                self.payer = self.passengers[0]
            return
        self.over = True
        self.close()
        if self.stream is not None:
            self.stream.abort()
        self.task.cancel()


class Passenger:
    """One caller's part in a flight; of a stream, where its chunks come from (a `ChunkSource`)."""

    def __init__(self, flight: Flight, call: Call, clock: Callable[[], float] = time.monotonic) -> None:
        self.flight = flight
        self.call = call
        self.position = 0
        self._clock = clock
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: BaseException | None = None
        self._left = False
        self._began = flight.payer is None
        flight.join(self)

    @property
    def waits(self) -> bool:
        return self._waiter is not None

    @property
    def pays(self) -> bool:
        return self.flight.payer is self

    async def reply(self) -> Reply:
        """The flight's answer, or its failure. Whoever is cancelled here has left."""
        flight = self.flight
        try:
            while flight.reply is None and not flight.over:
                await self._told()
            if self._failed is not None:
                raise self._failed
            if flight.reply is None:
                raise self._error()
        except BaseException:
            self.abort()
            raise
        whole = flight.reply
        if flight.stream is None:
            reply = whole if self._began else copied_reply(whole)
            reply.cache = whole.cache if self.pays else "shared"
            self.abort()
            return reply
        # Nobody's stream hangs on what the flight keeps: one that is forgotten must be collected.
        reply = copy.copy(whole) if self._began else copied_reply(whole)
        reply.cache = whole.cache if self.pays else "shared"
        reply.stream = Stream(self, [])
        kept = unheld(reply)
        reply.stream.add_done_callback(lambda stream, error: self._ended(kept))
        return reply

    def _ended(self, kept: Unheld) -> None:
        """The stream is done: now it is known whose books it is in, and who answered (a router may have moved on)."""
        whole = self.flight.reply
        if whole is not None:
            for name in _OF_THE_ANSWERER:
                kept.set(name, getattr(whole, name))
            kept.set("cache", whole.cache if self.pays else "shared")

    def limit(self, flight_deadline: float | None) -> None:
        """Watch one's own deadline, where the flight's is later."""
        mine = self.call.deadline
        if mine is None or self._timer is not None or self._left:
            return
        if flight_deadline is None or flight_deadline > mine:
            self._timer = self.flight.loop.call_later(max(0.0, mine - self._clock()), self._expire)

    def _expire(self) -> None:
        self._failed = ReadTimeout("the call's deadline has come, and the answer that it shares with others has not")
        self.told()

    def let_go(self) -> None:
        """The fastest reader is so far ahead that what lies between is not kept."""
        self._failed = StreamCut(
            "this reader of a shared answer was slower than the others by more than is kept for it "
            f"({self.flight.most_kept} bytes)"
        )
        self.flight.leave(self)
        self.told()

    def told(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _told(self) -> None:
        if self._failed is not None:
            raise self._failed
        waiter = self._waiter = self.flight.loop.create_future()
        self.flight.want()
        try:
            await waiter
        finally:
            self._waiter = None

    def _error(self) -> BaseException:
        error = self.flight.error
        if error is None:
            error = StreamCut("the call that this one was part of has ended")  # nobody reads on after leaving
        return error if self._began else copied_error(error)

    # --- as the source of a stream -------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        stream = self.flight.stream
        return stream.model if stream is not None else ""

    @property
    def usage(self) -> Usage:
        stream = self.flight.stream
        if stream is None or (self._began and not self.pays):
            return Usage()  # who began it has left, and another one pays for all of it
        found: Usage = stream.usage if self._began else copied(stream.usage)
        return found

    @property
    def finish_reason(self) -> str | None:
        stream = self.flight.stream
        return stream.finish_reason if stream is not None else None

    async def read(self) -> list[Any]:
        flight = self.flight
        while True:
            if self._failed is not None:
                raise self._failed
            items = flight.kept.since(self.position)
            if items:
                self.position += len(items)
                return items if self._began else [copied_chunk(item) for item in items]
            if flight.over:
                if flight.error is not None:
                    raise self._error()
                return []
            await self._told()

    def abort(self) -> None:
        if self._left:
            return
        self._left = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flight.leave(self)
