"""Circuit breaker: a target that is down is not asked again until it had time to recover.

Only errors whose verdict is ``outage`` move it; a refused key or a wrong request says nothing about the target's
health. A verdict counts only for the state it was begun in: an answer to a call that was sent before the breaker
opened neither closes it nor opens it again.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import AccelerateError, CircuitOpen
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Handler, Reply

__all__ = ["Breaker", "BreakerPolicy", "BreakerState", "Pass"]

#: Changes of state that are remembered.
MOST_CHANGES = 50
_SLOTS = 6
_SLOT_SECONDS = 10.0


class BreakerState(enum.StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Pass(msgspec.Struct):
    """Leave to ask the target once; belongs to the call that took it and is handed back with the outcome."""

    generation: int
    probe: bool


class Breaker:
    """The arithmetic: three states, no I/O, an injected clock.

    CLOSED counts consecutive outages and opens at ``circuit_failure_threshold``. OPEN refuses until
    ``circuit_reset_timeout`` seconds have passed. HALF_OPEN admits ``circuit_half_open_probes`` calls at a time,
    closes after ``circuit_success_threshold`` good answers, and opens again at the first outage.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._generation = 0
        self._failures = 0
        self._successes = 0
        self._probes = 0
        self._opened_at = 0.0
        self.opened_count = 0
        #: The latest changes: when (seconds since 1970), and to which state.
        self.history: deque[tuple[float, BreakerState]] = deque(maxlen=MOST_CHANGES)
        # A ring of (slot number, successes, failures), for the failure rate of the last minute.
        self._ring = [[-1, 0, 0] for _ in range(_SLOTS)]

    @property
    def state(self) -> BreakerState:
        """The state as the next call would find it."""
        if self._state is BreakerState.OPEN and self._remaining() <= 0:
            return BreakerState.HALF_OPEN
        return self._state

    @property
    def generation(self) -> int:
        """Counts the changes of state; a verdict of an earlier one moves nothing."""
        return self._generation

    def refusal(self) -> CircuitOpen | None:
        """The error a call would be refused with right now, or None."""
        if self._state is BreakerState.CLOSED:
            return None
        if self._state is BreakerState.OPEN and (left := self._remaining()) > 0:
            return CircuitOpen(
                f"the circuit breaker is open after {self._failures} failures in a row; "
                f"the next attempt is allowed in {left:.1f} s",
                retry_after=left,
            )
        if self._state is BreakerState.HALF_OPEN and self._probes >= self._settings.circuit_half_open_probes:
            return CircuitOpen("the circuit breaker is half open and its probe is under way", retry_after=1.0)
        return None

    def enter(self) -> Pass:
        """Leave to ask the target, or `CircuitOpen`."""
        if self._state is BreakerState.CLOSED:
            return Pass(self._generation, False)
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        if self._state is BreakerState.OPEN:
            self._move(BreakerState.HALF_OPEN)
        self._probes += 1
        return Pass(self._generation, True)

    def leave(self, leave: Pass, healthy: bool | None) -> None:
        """Hand a `Pass` back: healthy, unhealthy, or None where the call says nothing (cancelled, never sent)."""
        if healthy is not None:
            slot = self._slot()
            slot[1 if healthy else 2] += 1
        if leave.generation != self._generation:
            return
        if leave.probe:
            self._probes -= 1
        if healthy is None:
            return
        if self._state is BreakerState.CLOSED:
            self._failures = 0 if healthy else self._failures + 1
            if self._failures >= self._settings.circuit_failure_threshold:
                self._open()
        elif self._state is BreakerState.HALF_OPEN:
            if not healthy:
                self._failures += 1
                self._open()
                return
            self._successes += 1
            if self._successes >= self._settings.circuit_success_threshold:
                self._failures = 0
                self._move(BreakerState.CLOSED)

    def snapshot(self) -> dict[str, Any]:
        """State, failures in a row, and the last minute's failures and failure rate in percent."""
        newest = int(self._clock() / _SLOT_SECONDS)
        live = [slot for slot in self._ring if slot[0] > newest - _SLOTS]
        failures = sum(slot[2] for slot in live)
        total = failures + sum(slot[1] for slot in live)
        return {
            "state": str(self.state),
            "consecutive_failures": self._failures,
            "recent_failures": failures,
            "recent_requests": total,
            "failure_rate": 100.0 * failures / total if total else 0.0,
            "opened_count": self.opened_count,
            "retry_after": max(0.0, self._remaining()) if self._state is BreakerState.OPEN else 0.0,
        }

    def allow_probe(self) -> None:
        """Let a probe in now, if it is open: something else than a call has shown that the target may be well again."""
        if self._state is BreakerState.OPEN:
            self._opened_at = self._clock() - self._settings.circuit_reset_timeout

    def reset(self) -> None:
        """Close it by hand."""
        self._failures = 0
        self._move(BreakerState.CLOSED)

    def _remaining(self) -> float:
        return self._opened_at + self._settings.circuit_reset_timeout - self._clock()

    def _open(self) -> None:
        self._opened_at = self._clock()
        self.opened_count += 1
        self._move(BreakerState.OPEN)

    def _move(self, state: BreakerState) -> None:
        if state is not self._state:
            self.history.append((time.time(), state))
        self._state = state
        self._generation += 1
        self._probes = 0
        self._successes = 0

    def _slot(self) -> list[int]:
        number = int(self._clock() / _SLOT_SECONDS)
        slot = self._ring[number % _SLOTS]
        if slot[0] != number:
            slot[:] = [number, 0, 0]
        return slot


class BreakerPolicy:
    """Stands inside the slot, so that a target found dead fails its whole queue fast."""

    def __init__(self, inner: Handler, breaker: Breaker) -> None:
        self._inner = inner
        self.breaker = breaker

    async def __call__(self, call: Call) -> Reply:
        breaker = self.breaker
        leave = breaker.enter()
        try:
            reply = await self._inner(call)
        except BaseException as error:
            breaker.leave(leave, _healthy(error))
            raise
        if reply.stream is None:
            breaker.leave(leave, True)
        elif leave.probe:
            # The first content is here, and that is what a probe asks for: nobody should wait for the end of a long
            # stream to be let in again. Its end counts only where it is a bad one.
            breaker.leave(leave, True)
            after = Pass(breaker.generation, False)
            reply.stream.add_done_callback(
                lambda stream, error: breaker.leave(after, None if error is None else _healthy_stream(stream, error))
            )
        else:
            reply.stream.add_done_callback(lambda stream, error: breaker.leave(leave, _healthy_stream(stream, error)))
        return reply


def _healthy(error: BaseException) -> bool | None:
    """What an error says of the target. An answer we do not like is still an answer; our own refusal is none."""
    if not isinstance(error, AccelerateError) or isinstance(error, asyncio.CancelledError):
        return None
    if error.outage:
        return False
    return True if getattr(error, "status", None) is not None else None


def _healthy_stream(stream: Stream, error: BaseException | None) -> bool | None:
    return True if error is None else _healthy(error)
