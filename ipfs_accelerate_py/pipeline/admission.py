"""Admission: the only queue. A call gets a slot and a key together, or waits its turn, or is refused at once.

Strict priorities with ageing, in one heap: a call's place is the instant from which it counts as HIGH, which is its
arrival plus one ``ageing_interval`` for each priority below. A HIGH call therefore goes before every NORMAL one that
has not yet waited the interval, first come first served within one priority, and LOW is never starved. (The same
order as moving waiting calls up a priority for each interval waited, without anybody having to move them.)

Everything but the wait itself is synchronous. A slot passes from the call that leaves to the call that waits without
being free in between, so nobody can slip in, and a caller cancelled just then hands it on.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from ipfs_accelerate_py.errors import CircuitOpen, QueueFull, QueueTimeout
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Handler, Priority, Reply

__all__ = ["Admission", "AdmissionPolicy", "Gate"]


class Gate(Protocol):
    """What must be free beside a slot: the key pool."""

    def acquire(self, call: Call) -> Any:
        """A lease, or the seconds until one may be free (infinite: when another call lets go)."""
        ...

    def cancel(self, lease: Any) -> None:
        """Undo a lease that was not used."""
        ...


class _Waiter:
    __slots__ = ("call", "future", "priority", "rank", "sequence", "since")

    def __init__(self, call: Call, rank: float, sequence: int, since: float) -> None:
        self.call = call
        self.priority = call.priority
        self.rank = rank
        self.sequence = sequence
        self.since = since
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __lt__(self, other: _Waiter) -> bool:
        return (self.rank, self.priority, self.sequence) < (other.rank, other.priority, other.sequence)


class Admission:
    """Slots and queue of one target. All limits are read live from the settings."""

    def __init__(
        self,
        settings: Settings,
        gate: Gate,
        refusal: Callable[[], CircuitOpen | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        lane: Callable[[Call], Any] = lambda call: call.key_name,
    ) -> None:
        """``refusal`` tells whether the breaker would refuse right now: then nobody needs to queue to hear it.

        ``lane`` names what a call waits for. Only calls of one lane hold up each other; None is everything there is.
        """
        self._settings = settings
        self._lane = lane
        self._gate = gate
        self._refusal = refusal
        self._clock = clock
        self._heap: list[_Waiter] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self.active = 0
        self.queued = [0, 0, 0]
        settings.on_change(self.wake)

    async def acquire(self, call: Call) -> None:
        """Take a slot and a key for ``call`` (``call.lease``), waiting in the queue where that is needed.

        Raises `CircuitOpen`, `QueueFull` or `QueueTimeout`, and what the key pool raises.
        """
        refusal = self._refusal()
        if refusal is not None:
            raise refusal
        if self.active < self._settings.max_concurrent_requests and not self.waiting(call):
            lease = self._gate.acquire(call)
            if not isinstance(lease, float):
                call.lease = lease
                self.active += 1
                return
        await self._wait(call)

    def release(self, call: Call) -> None:
        """Give the slot back, and the key where its attempt was never made; the next waiting call takes them."""
        self._gate.cancel(call.lease)
        self.active -= 1
        if self._heap:
            self._pump()

    def leave(self) -> None:
        """Give a slot back whose lease is settled by whoever holds it."""
        self.active -= 1

    def waiting(self, call: Call) -> bool:
        """Whether somebody waits who would go before ``call``."""
        if not self._heap:
            return False
        if sum(self.queued) == 0:
            return False
        rank, lane = self._rank(call, self._clock()), self._lane(call)
        return any(not w.future.done() and w.rank <= rank and self._lane(w.call) == lane for w in self._heap)

    def wake(self) -> None:
        """Something has changed that waiting calls may have waited for: a limit, a key."""
        if self._heap:
            self._pump()

    def snapshot(self) -> dict[str, Any]:
        """Calls with a slot, calls waiting (in all and by priority), and the limits."""
        return {
            "active": self.active,
            "capacity": self._settings.max_concurrent_requests,
            "queued": sum(self.queued),
            "queued_by_priority": {priority.name: self.queued[priority] for priority in Priority},
            "queue_size": self._settings.queue_size,
        }

    # --- waiting -------------------------------------------------------------------------------------------------

    def _rank(self, call: Call, now: float) -> float:
        # The interval may be infinite (strict priorities, no ageing), and nothing times infinity is not a number.
        came = now if call.since is None else call.since
        return came + call.priority * self._settings.ageing_interval if call.priority else came

    async def _wait(self, call: Call) -> None:
        settings = self._settings
        if not settings.queue_enabled:
            raise QueueFull(
                f"all {settings.max_concurrent_requests} slots are taken and the queue is switched off (queue_enabled)"
            )
        # Who waits for a key although there is a slot takes no place from those who wait for a slot; and who has been
        # let in before, and comes back through no fault of its own, is not turned away.
        free = max(0, settings.max_concurrent_requests - self.active)
        if sum(self.queued) >= settings.queue_size + free and call.since is None:
            raise QueueFull(f"the queue is full: {sum(self.queued)} calls wait and queue_size is {settings.queue_size}")
        now = self._clock()
        limit = settings.queue_timeout
        if call.limits is not None:
            limit = call.limits.get("queue_timeout", limit)
        if call.deadline is not None:
            left = call.deadline - now
            limit = left if limit is None else min(limit, left)
        self._sequence += 1
        waiter = _Waiter(call, self._rank(call, now), self._sequence, now)
        heapq.heappush(self._heap, waiter)
        self.queued[waiter.priority] += 1
        call.hurry = functools.partial(self._hurry, waiter)
        self._pump()  # the wait may be for a key's bucket, and somebody has to set the timer for it
        try:
            async with asyncio.timeout(limit):
                await waiter.future
        except BaseException as error:
            self._leave(waiter)
            if isinstance(error, TimeoutError):
                raise QueueTimeout(
                    f"waited {limit:.1f} s in the queue; {self.active} calls hold the "
                    f"{settings.max_concurrent_requests} slots and {sum(self.queued)} wait",
                    retry_after=1.0,
                ) from None
            raise
        finally:
            call.hurry = None
            call.queued += self._clock() - now

    def _hurry(self, waiter: _Waiter, priority: Priority) -> None:
        """Give a waiting call another priority; how long it has waited still counts."""
        if waiter.future.done() or waiter not in self._heap:
            return
        self.queued[waiter.priority] -= 1
        waiter.call.priority = waiter.priority = priority
        self.queued[priority] += 1
        waiter.rank = self._rank(waiter.call, waiter.since)
        heapq.heapify(self._heap)
        self._pump()

    def _leave(self, waiter: _Waiter) -> None:
        """A waiter that will not go on: give up its place, or hand on the slot it was given at the last moment."""
        if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
            self.release(waiter.call)
            return
        if not waiter.future.done():
            waiter.future.cancel()
        if waiter in self._heap:
            self._heap.remove(waiter)
            heapq.heapify(self._heap)
            self.queued[waiter.priority] -= 1
            self._pump()

    def _pump(self) -> None:
        """Let in whoever may go, in order. A call that waits for a certain key holds up only those for the same key."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._heap and (refusal := self._refusal()) is not None:
            # The target has been found dead: whoever waits for it hears so now, also those who wait for a key.
            waiter = heapq.heappop(self._heap)
            self.queued[waiter.priority] -= 1
            if not waiter.future.done():
                waiter.future.set_exception(refusal)
        held: list[_Waiter] = []
        blocked: set[Any] = set()
        soonest = math.inf
        while self._heap and self.active < self._settings.max_concurrent_requests:
            waiter = heapq.heappop(self._heap)
            if waiter.future.done():  # cancelled, and about to leave by itself
                self.queued[waiter.priority] -= 1
                continue
            lane = self._lane(waiter.call)
            if lane in blocked:
                held.append(waiter)
                continue
            try:
                lease = self._gate.acquire(waiter.call)
            except Exception as error:
                self.queued[waiter.priority] -= 1
                waiter.future.set_exception(error)
                continue
            if isinstance(lease, float):
                held.append(waiter)
                soonest = min(soonest, lease)
                if waiter.call.barred is not None:
                    continue  # one key is closed to this call, and maybe to no other
                blocked.add(lane)
                if lane is None:
                    break  # no key at all is free, so none is for a later call either
                continue
            self.queued[waiter.priority] -= 1
            waiter.call.lease = lease
            self.active += 1
            waiter.future.set_result(None)
        for waiter in held:
            heapq.heappush(self._heap, waiter)
        if math.isfinite(soonest):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(soonest + 0.001, self._pump)


class AdmissionPolicy:
    """Holds a slot for the attempt, and for a stream until it is done."""

    def __init__(self, inner: Handler, admission: Admission) -> None:
        self._inner = inner
        self.admission = admission

    async def __call__(self, call: Call) -> Reply:
        admission = self.admission
        await admission.acquire(call)
        try:
            reply = await self._inner(call)
        except BaseException:
            admission.release(call)
            raise
        if reply.stream is None:
            admission.release(call)
        else:
            reply.stream.add_done_callback(lambda stream, error: admission.release(call))
        return reply
