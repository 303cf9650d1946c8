"""Single flight: identical calls that are under way at the same time share one call to the upstream, streams too.

The books have the call once: in the record of who began it (or, where that one has left, of the first that is still
there). The others' replies say ``cache="shared"``, as does what a cache has answered.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Iterable
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, QueueTimeout, ReadTimeout
from ipfs_accelerate_py.pipeline.fingerprint import deterministic, fingerprint
from ipfs_accelerate_py.pipeline.flights import MOST_KEPT, Flight, Passenger
from ipfs_accelerate_py.types import Call, Handler, Operation, Reply

__all__ = ["SingleFlight", "SingleFlightPolicy", "parse_operations"]

#: A flight that ends this close to its first caller's deadline (seconds) has ended because of it.
_NEAR = 0.05


def parse_operations(operations: Iterable[Operation | str] | None) -> frozenset[Operation] | None:
    """Operations by name (``"chat"``, ``"embed"``, ...); None stays None. Anything else is a `ConfigurationError`."""
    if operations is None:
        return None
    if isinstance(operations, str):
        operations = (operations,)
    try:
        return frozenset(Operation(name) for name in operations)
    except (ValueError, TypeError):
        known = ", ".join(Operation)
        raise ConfigurationError(f"operations must be some of: {known}; not {operations!r}") from None


class SingleFlight:
    """What is shared, and the calls in flight; it stays when the policy around it is made anew."""

    def __init__(
        self,
        operations: Iterable[Operation | str] | None = None,
        *,
        nondeterministic: bool = False,
        most_kept: int = MOST_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``operations``: only these; None is all but raw requests. ``nondeterministic``: share also the calls of
        which two would bring two different answers (see `deterministic`). ``most_kept``: bytes of a stream that are
        kept for late and slow readers."""
        self.operations = parse_operations(operations)
        self.nondeterministic = nondeterministic
        self.most_kept = most_kept
        self.clock = clock
        self.flights: dict[Any, Flight] = {}
        #: Calls to the upstream, and callers that had no need of one.
        self.flown = 0
        self.shared = 0

    def snapshot(self) -> dict[str, int]:
        """Flights that can be joined right now; flights so far; callers that joined one."""
        return {"in_flight": len(self.flights), "flown": self.flown, "shared": self.shared}

    def key(self, call: Call) -> Any:
        """What a call's flight is known by, or None where it is not to be shared."""
        cache = call.cache
        if cache and cache != "on":
            return None  # "off", and "refresh": neither wants what another call has asked for
        if self.operations is None:
            if call.operation is Operation.RAW:
                return None
        elif call.operation not in self.operations:
            return None
        if not (self.nondeterministic or cache == "on" or deterministic(call)):
            return None
        name = fingerprint(call)
        if name is None:
            return None
        # Limits of time and the conduct after a break belong to the attempt, and that is everybody's.
        limits = None if call.limits is None else tuple(sorted(call.limits.items()))
        return name, limits, call.timeouts, call.mid_stream if call.stream else ""


class SingleFlightPolicy:
    """Lets a call join one that asks the same, or begin one that others can join."""

    def __init__(self, inner: Handler, state: SingleFlight) -> None:
        self._inner = inner
        self.state = state

    async def __call__(self, call: Call) -> Reply:
        state = self.state
        key = state.key(call)
        if key is None:
            return await self._inner(call)
        while True:
            flight = state.flights.get(key)
            # One of another loop is what a fork, or a loop that is closed now, has left behind.
            if flight is None or flight.loop is not asyncio.get_running_loop():
                return await self._begin(call, key)
            state.shared += 1
            if call.priority < flight.call.priority:
                _hurry(flight, call)
            until = flight.passengers[0].call.deadline
            try:
                return await Passenger(flight, call, state.clock).reply()
            except (ReadTimeout, QueueTimeout):
                # The time of who began it was up; whoever has more of it asks again.
                now = state.clock()
                if until is None or now < until - _NEAR or (call.deadline is not None and call.deadline <= now + _NEAR):
                    raise
                state.shared -= 1

    async def _begin(self, call: Call, key: Any) -> Reply:
        state = self.state
        own = copy.copy(call)  # with the same list of attempts: they are this caller's record

        def closed(flight: Flight) -> None:
            if state.flights.get(key) is flight:
                del state.flights[key]

        flight = state.flights[key] = Flight(self._inner, own, closed, state.most_kept)
        state.flown += 1
        try:
            return await Passenger(flight, call, state.clock).reply()
        finally:
            call.queued = own.queued
            call.lease = own.lease


def _hurry(flight: Flight, call: Call) -> None:
    """Give a flight that waits in the queue of a client the place of the most urgent of its passengers."""
    if flight.call.hurry is not None:
        flight.call.hurry(call.priority)
    else:
        flight.call.priority = call.priority
