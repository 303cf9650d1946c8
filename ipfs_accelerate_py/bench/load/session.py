"""A whole load test: targets in turns, steps of a sweep or of a search, and what came of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ipfs_accelerate_py.bench.arrivals import Closed, Load
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.runner import Bounds, Run, Stop, drive
from ipfs_accelerate_py.bench.load.search import Found, highest, search
from ipfs_accelerate_py.bench.load.slo import Objective
from ipfs_accelerate_py.bench.load.summary import Summary, summarise
from ipfs_accelerate_py.bench.pairing import turns
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["LoadTest", "Outcome", "Plan", "Progress", "Step"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        load: the arrivals; their level is one of ``levels``.
        levels: rates or callers, one step each.
        rounds: how often each step is made with each target; two targets swap places from one to the next (A B B A).
        objective, goodput: what answers must keep to, and the share of all calls that must.
        find: search for the highest level that does, between two; then ``levels`` are not used.
        precision: of that search, as a share.
        warm_up: calls before the first step of each target.
        settle: seconds between steps, in which the service gets rid of what was given up.
    """

    load: Load
    levels: Sequence[float]
    bounds: Bounds
    rounds: int = 1
    objective: Objective | None = None
    goodput: float = 0.99
    find: tuple[float, float] | None = None
    precision: float = 0.05
    warm_up: int = 3
    settle: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.warm_up < 0 or self.settle < 0:
            raise ConfigurationError("at least 1 round, and no less than 0 calls to warm up and 0 seconds to settle")
        if not 0 < self.goodput <= 1:
            raise ConfigurationError(f"the goodput is a share above 0 and up to 1, not {self.goodput:g}")
        if self.find is not None and self.objective is None:
            raise ConfigurationError("a search needs an objective, as ttft=300ms,total=2s, to know what is too much")
        if self.find is None and not self.levels:
            raise ConfigurationError("a load needs at least one level")

    def seconds(self, level: float) -> float | None:
        """What a step takes, about; None where nobody can know (callers who wait for answers, without a duration)."""
        bounds = self.bounds
        ramp = self.load.ramp
        if bounds.duration is not None and bounds.requests is None:
            return ramp + bounds.duration + self.settle
        if isinstance(self.load, Closed):
            return None if bounds.duration is None else ramp + bounds.duration + self.settle
        assert bounds.requests is not None
        wanted = bounds.requests / level
        return ramp + min(wanted, bounds.duration or wanted) + self.settle


@dataclass(frozen=True, slots=True)
class Step:
    """One step at one target. ``round`` counts from 1; ``target`` is the place of it in `LoadTest`'s list."""

    target: int
    round: int
    run: Run
    summary: Summary

    @property
    def level(self) -> float:
        return self.summary.level


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: the step under way (from 1), of how many, and about how many seconds are left (None: unknown).

    The first of a step is told when it begins.
    """

    step: int
    steps: int | None
    target: str
    load: Load
    calls: int
    failed: int
    left: float | None


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        steps: in the order in which they were made.
        found: for each target, the highest level that kept to the objective; empty without one.
        stopped: it was ended early, and is what was measured until then.
    """

    steps: list[Step] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    stopped: bool = False


class LoadTest:
    """Puts targets under load by a plan.

    Args:
        calls: one for each target; where there are two, they are asked in turns and the same.
        told: hears of the progress, at most about ten times a second.

    Raises `ConfigurationError` for a plan that does not go with them.
    """

    def __init__(
        self,
        calls: Sequence[Calls],
        plan: Plan,
        *,
        told: Callable[[Progress], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        if not 1 <= len(calls) <= 2:
            raise ConfigurationError("a load is for one target, or for two beside one another")
        if plan.find is not None and len(calls) > 1:
            raise ConfigurationError("a search is of one target; give two of them the same levels instead")
        for each in calls:
            if plan.objective is not None and plan.objective.of_streams and not each.stream:
                names = ", ".join(plan.objective.of_streams)
                raise ConfigurationError(
                    f"{names}: only answers that are streamed have these; total is what others have"
                )
        self.calls = list(calls)
        #: What figures call each target: no two alike.
        self.names = [each.target.name for each in calls]
        if len(calls) == 2 and self.names[0] == self.names[1]:
            same = calls[0].target.model == calls[1].target.model
            marks = ("A", "B") if same else tuple(each.target.model for each in calls)
            self.names = [f"{name} {mark}" for name, mark in zip(self.names, marks, strict=True)]
        self.plan = plan
        self.stop = Stop()
        self._told = told
        self._clock = clock
        self._cpu = cpu
        self._said = -1.0
        self._number = 0
        self._offsets: dict[tuple[float, int], int] = {}
        self._next = 0

    async def run(self) -> Outcome:
        """Make every step. Raises the error of a warm-up call: a service that does not answer one needs no load."""
        outcome = Outcome()
        plan = self.plan
        for each in self.calls:
            await self._warm_up(each)
        if plan.find is not None:
            whole = isinstance(plan.load, Closed)
            low, high = plan.find

            async def meets(level: float) -> bool:
                step = await self._step(0, level, len(outcome.steps) + 1, None)
                outcome.steps.append(step)
                return self._kept(step)

            outcome.found = [
                await search(meets, low, high, precision=plan.precision, whole=whole, stopped=lambda: bool(self.stop))
            ]
        else:
            await self._sweep(outcome)
            if plan.objective is not None:
                outcome.found = [highest(self._verdicts(outcome.steps, number)) for number in range(len(self.calls))]
        outcome.stopped = bool(self.stop)
        return outcome

    async def _sweep(self, outcome: Outcome) -> None:
        order = [
            (target, level, number + 1)
            for level in self.plan.levels
            for number, target in turns(range(len(self.calls)), self.plan.rounds)
        ]
        for place, (target, level, number) in enumerate(order):
            if self.stop:
                return
            later = [self.plan.seconds(each[1]) for each in order[place + 1 :]]
            rest = None if any(each is None for each in later) else sum(each or 0.0 for each in later)
            outcome.steps.append(await self._step(target, level, number, rest, place + 1, len(order)))

    def _kept(self, *steps: Step) -> bool:
        """Whether the calls of these steps, taken together, kept to the objective."""
        calls = sum(step.summary.calls for step in steps)
        return calls > 0 and sum(step.summary.met or 0 for step in steps) >= self.plan.goodput * calls

    def _verdicts(self, steps: Sequence[Step], target: int) -> Iterator[tuple[float, bool]]:
        for level in self.plan.levels:
            of_level = [step for step in steps if step.target == target and step.level == level and step.summary.calls]
            if of_level:
                yield level, self._kept(*of_level)

    async def _step(
        self, target: int, level: float, number: int, rest: float | None, place: int = 0, of: int | None = None
    ) -> Step:
        calls = self.calls[target]
        # In each round both targets are asked the same, and in every step something new: nothing is in a cache.
        load = replace(self.plan.load, seed=self.plan.load.seed + number - 1).at(level)
        if self._number and self.plan.settle:
            await self.stop.wait(self.plan.settle)
        self._number += 1
        began = self._clock()
        takes = self.plan.seconds(level)

        def told(run: Run) -> None:
            now = self._clock()
            if self._told is None or (run.samples and now - self._said < 0.1):
                return
            self._said = now
            here = _left(run, self.plan.bounds, takes, now - began)
            left = None if here is None or rest is None else here + rest
            done = [each for each in run.samples if each.ended == each.ended]
            failed = sum(not each.ok for each in done)
            self._told(Progress(place or number, of, self.names[target], load, len(done), failed, left))

        told(Run(load, began))
        calls.offset = self._offsets.setdefault((level, number), self._next)
        run = await drive(calls, load, self.plan.bounds, self.stop, clock=self._clock, cpu=self._cpu, told=told)
        self._next = max(self._next, calls.offset + len(run.samples))
        return Step(target, number, run, summarise(run, self.plan.objective))

    async def _warm_up(self, calls: Calls) -> None:
        checking = asyncio.ensure_future(calls.check(self.plan.warm_up))

        def cancel() -> None:
            checking.cancel()

        self.stop.tell(cancel)
        await asyncio.wait([checking])
        if not checking.cancelled():
            checking.result()


def _left(run: Run, bounds: Bounds, takes: float | None, spent: float) -> float | None:
    """Seconds that this step goes on for, about."""
    if takes is not None:
        return max(0.0, takes - spent)
    done = sum(each.ended == each.ended for each in run.samples)
    if not done or bounds.requests is None:
        return None
    return max(0.0, spent / done * (bounds.requests - done))
