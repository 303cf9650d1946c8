"""Makes the calls of one step of a load when they are due, and never more of them at once than it may."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ipfs_accelerate_py.bench.arrivals import Closed, Load, Open
from ipfs_accelerate_py.bench.load.samples import NOT_STARTED, UNFINISHED, Sample
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Bounds", "Caller", "Run", "Stop", "drive"]

Caller = Callable[[Sample], Awaitable[None]]
"""Makes the call that is due and writes into the sample what it came to, errors too: what it raises is a mistake."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of it. At least one of the first two.

    Attributes:
        requests: calls, those while the load rises not counted.
        duration: seconds in which calls may become due, after the rise.
        in_flight: calls that may be under way at once.
        drain: seconds that calls have to end after the last was due; what is left then is given up.
    """

    requests: int | None = None
    duration: float | None = None
    in_flight: int = 256
    drain: float = 30.0

    def __post_init__(self) -> None:
        if self.requests is None and self.duration is None:
            raise ConfigurationError("a load has an end: a number of requests, a duration, or both")
        if (self.requests is not None and self.requests < 1) or (self.duration is not None and not self.duration > 0):
            raise ConfigurationError("a load is of at least 1 request, and of more than 0 seconds")
        if self.in_flight < 1 or not 0 <= self.drain < math.inf:
            raise ConfigurationError("at least 1 call is under way at once, and what is left has 0 seconds or more")


class Stop:
    """Ends a load early: nothing more is begun, and what is under way is given up. What was measured is kept."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()
        for each in self._listeners:
            each()

    def tell(self, listener: Callable[[], None]) -> None:
        """Call this when it is set."""
        self._listeners.append(listener)

    async def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is set; tells whether it is."""
        if seconds <= 0:
            await asyncio.sleep(0)  # who is behind must not keep the answers from being read
        else:
            await _within(self._event, seconds)
        return bool(self)


@dataclass(slots=True)
class Run:
    """What came of a step. ``cpu`` is the share of one processor that this process used meanwhile."""

    load: Load
    began: float
    ended: float = 0.0
    cpu: float = 0.0
    most: int = 0
    stopped: bool = False
    samples: list[Sample] = field(default_factory=list)


async def drive(
    caller: Caller,
    load: Load,
    bounds: Bounds,
    stop: Stop | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
    cpu: Callable[[], float] = time.process_time,
    told: Callable[[Run], None] | None = None,
) -> Run:
    """Run one step to its end, and wait for what is under way as long as ``bounds`` say.

    ``told`` hears after each answer. Raises `ConfigurationError` for more callers than may be under way.
    """
    run = Run(load, clock())
    spent = cpu()
    flight = _Flight(caller, run, bounds, Stop() if stop is None else stop, clock, told)
    try:
        if isinstance(load, Closed):
            await flight.closed(load)
        else:
            await flight.open(load)
        await flight.drain()
    finally:
        await flight.give_up()
    run.ended = clock()
    run.cpu = (cpu() - spent) / max(1e-9, run.ended - run.began)
    run.stopped = bool(flight.stop)
    run.samples.sort(key=lambda sample: sample.number)
    return run


class _Flight:
    """The calls of one step that are under way, and those that wait for a place."""

    def __init__(
        self,
        caller: Caller,
        run: Run,
        bounds: Bounds,
        stop: Stop,
        clock: Callable[[], float],
        told: Callable[[Run], None] | None,
    ) -> None:
        self._caller = caller
        self._run = run
        self._bounds = bounds
        self.stop = stop
        self._clock = clock
        self._told = told
        self._tasks: dict[asyncio.Task[None], Sample] = {}
        self._waiting: deque[Sample] = deque()
        self._counted = 0
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        stop.tell(self._wake.set)

    # --- when ----------------------------------------------------------------------------------------------------

    async def open(self, load: Open) -> None:
        end = self._end(load)
        for at in load.instants():
            if at >= end or self._enough():
                await self._until(min(at, end) if math.isfinite(end) else 0.0)
                return
            if await self._until(at):
                return
            self._arrive(self._sample(at, warm=at < load.ramp))

    async def closed(self, load: Closed) -> None:
        if load.callers > self._bounds.in_flight:
            raise ConfigurationError(
                f"{load.callers} callers are more than the {self._bounds.in_flight} calls that may be under way"
            )
        end = self._end(load)
        callers = [asyncio.ensure_future(self._one_caller(load, number, end)) for number in range(load.callers)]
        try:
            await self._until_true(lambda: self._enough() or self._over(end), self._run.began + end)
        finally:
            for each in callers:
                each.cancel()  # what they have asked goes on
            await asyncio.gather(*callers, return_exceptions=True)

    async def _one_caller(self, load: Closed, number: int, end: float) -> None:
        pauses = load.pauses(number)
        await self._until(load.start(number))
        while not (self._enough() or self._over(end)):
            now = self._clock() - self._run.began
            sample = self._sample(now, warm=now < load.ramp)
            await asyncio.wait([self._start(sample)])
            pause = next(pauses)
            if pause or not sample.ok:
                await asyncio.sleep(pause)  # also 0: a refusal may come without any wait

    def _end(self, load: Load) -> float:
        """Seconds after the beginning when nothing more becomes due."""
        return math.inf if self._bounds.duration is None else load.ramp + self._bounds.duration

    def _enough(self) -> bool:
        return self._bounds.requests is not None and self._counted >= self._bounds.requests

    def _over(self, end: float) -> bool:
        return bool(self.stop) or self._clock() - self._run.began >= end

    async def _until(self, at: float) -> bool:
        """Wait until so many seconds after the beginning, and never less; tells whether to stop."""
        due = self._run.began + at
        while not await self.stop.wait(due - self._clock()):
            if self._clock() >= due:  # some loops' timers are a little early
                return False
        return True

    async def _until_true(self, true: Callable[[], bool], until: float) -> None:
        """Wait for that, for the end of the load, or until an instant."""
        while not (true() or self.stop) and (left := until - self._clock()) > 0:
            self._wake.clear()
            await _within(self._wake, left)

    # --- calls ---------------------------------------------------------------------------------------------------

    def _sample(self, at: float, *, warm: bool) -> Sample:
        sample = Sample(len(self._run.samples), self._run.began + at, warm=warm)
        self._run.samples.append(sample)
        self._counted += not warm
        if self._enough():
            self._wake.set()
        return sample

    def _arrive(self, sample: Sample) -> None:
        if len(self._tasks) < self._bounds.in_flight:
            self._start(sample)
        else:
            sample.late = True
            self._waiting.append(sample)

    def _start(self, sample: Sample) -> asyncio.Task[None]:
        sample.begun = self._clock()
        task: asyncio.Task[None] = asyncio.ensure_future(self._caller(sample))
        self._tasks[task] = sample
        self._run.most = max(self._run.most, len(self._tasks))
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if self._waiting and not self.stop:
            self._start(self._waiting.popleft())
        if not self._tasks:
            self._wake.set()
        if self._told is not None:
            self._told(self._run)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self.stop.set()

    # --- the end -------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait for what is under way or waits."""
        await self._until_true(lambda: not (self._tasks or self._waiting), self._clock() + self._bounds.drain)

    async def give_up(self) -> None:
        """Leave what is still under way, and say so of it. Raises what a caller raised, which is a mistake of ours."""
        now = self._clock()
        for sample in self._waiting:
            sample.error, sample.ended = NOT_STARTED, now
        self._waiting.clear()
        left = dict(self._tasks)
        for task, sample in left.items():
            sample.error, sample.ended = UNFINISHED, now
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for sample in left.values():
            sample.error = UNFINISHED  # whatever the call wrote on its way out
        if self._failure is not None:
            raise self._failure


async def _within(event: asyncio.Event, seconds: float) -> None:
    """Wait for it, but no longer than so many seconds."""
    if math.isinf(seconds):
        await event.wait()
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
