"""The runner: calls are made when they are due, never too many at once, and what they take counts from then."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import pytest

from ipfs_accelerate_py.bench.arrivals import Closed, Open
from ipfs_accelerate_py.bench.load.runner import Bounds, Caller, Run, Stop, drive
from ipfs_accelerate_py.bench.load.samples import NOT_STARTED, UNFINISHED, Sample
from ipfs_accelerate_py.bench.load.summary import summarise
from ipfs_accelerate_py.errors import ConfigurationError

pytestmark = pytest.mark.virtual_time
EVEN = math.inf


def taking(seconds: float | Callable[[Sample], float]) -> Caller:
    """A service that answers everybody after so long."""

    async def call(sample: Sample) -> None:
        await asyncio.sleep(seconds(sample) if callable(seconds) else seconds)
        sample.ended = time.monotonic()

    return call


def times(run: Run) -> list[float]:
    return [round(sample.begun - run.began, 3) for sample in run.samples]


async def test_open_arrivals_do_not_wait_for_answers() -> None:
    run = await drive(taking(1.0), Open(10, burstiness=EVEN), Bounds(requests=5))
    assert times(run) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [sample.total for sample in run.samples] == pytest.approx([1.0] * 5, abs=0.001)
    assert run.most == 5
    assert not any(sample.late for sample in run.samples)


async def test_a_duration_ends_arrivals_and_answers_are_waited_for() -> None:
    run = await drive(taking(2.0), Open(4, burstiness=EVEN), Bounds(duration=1.1))
    assert times(run) == [0.25, 0.5, 0.75, 1.0]
    assert all(sample.ok for sample in run.samples)
    assert run.ended - run.began == pytest.approx(3.0, abs=0.01)


async def test_an_arrival_without_a_place_waits_and_the_wait_is_latency() -> None:
    """Coordinated omission: a service that takes 1 s for each of ten calls a second keeps the last one waiting long."""
    run = await drive(taking(1.0), Open(10, burstiness=EVEN), Bounds(requests=4, in_flight=1))
    assert run.most == 1
    assert times(run) == [0.1, 1.1, 2.1, 3.1]
    assert [round(sample.total, 3) for sample in run.samples] == [1.0, 1.9, 2.8, 3.7]
    assert [sample.late for sample in run.samples] == [False, True, True, True]
    summary = summarise(run)
    assert summary.late == 3
    assert summary.wait == pytest.approx([0.9, 1.8, 2.7], abs=0.001)
    assert max(summary.lag) < 0.001


async def test_what_has_not_ended_when_the_time_is_up_is_given_up_and_said() -> None:
    run = await drive(taking(5.0), Open(10, burstiness=EVEN), Bounds(requests=4, in_flight=2, drain=1.0))
    assert [sample.error for sample in run.samples] == [UNFINISHED, UNFINISHED, NOT_STARTED, NOT_STARTED]
    assert run.ended - run.began == pytest.approx(1.4, abs=0.01)
    summary = summarise(run)
    assert summary.errors == {UNFINISHED: 2, NOT_STARTED: 2}
    assert (summary.good, summary.failed, summary.total) == (0, 4, [])


async def test_callers_wait_for_their_answers() -> None:
    run = await drive(taking(0.5), Closed(2), Bounds(requests=6))
    assert times(run) == [0, 0, 0.5, 0.5, 1.0, 1.0]
    assert run.most == 2
    assert summarise(run).rate == pytest.approx(4.0, rel=0.01)


async def test_callers_think() -> None:
    run = await drive(taking(0.1), Closed(1, think=2.0, seed=3), Bounds(requests=4))
    pauses = Closed(1, think=2.0, seed=3).pauses(0)
    due = [0.0]
    for _ in range(3):
        due.append(due[-1] + 0.1 + next(pauses))
    assert times(run) == pytest.approx(due, abs=0.002)


async def test_callers_end_with_the_duration_and_their_last_answers_count() -> None:
    run = await drive(taking(0.4), Closed(3), Bounds(duration=1.0))
    assert len(run.samples) == 9  # three rounds of 0.4 s, of which the last begins at 0.8 s
    assert all(sample.ok for sample in run.samples)
    assert run.ended - run.began == pytest.approx(1.2, abs=0.01)


async def test_a_rising_load_counts_only_when_it_has_risen() -> None:
    run = await drive(taking(0.1), Open(10, burstiness=EVEN, ramp=2.0), Bounds(requests=5))
    assert sum(sample.warm for sample in run.samples) == 9  # the tenth comes at the top
    assert summarise(run).calls == 5
    closed = await drive(taking(0.5), Closed(2, ramp=2.0), Bounds(duration=1.0))
    assert all(sample.warm == (sample.due - closed.began < 2.0) for sample in closed.samples)


async def test_stopped_it_keeps_what_it_has() -> None:
    stop = Stop()
    asyncio.get_running_loop().call_later(1.05, stop.set)
    run = await drive(taking(0.3), Open(10, burstiness=EVEN), Bounds(duration=60), stop)
    assert run.stopped
    assert run.ended - run.began == pytest.approx(1.05, abs=0.01)
    summary = summarise(run)
    assert summary.calls == summary.good == 7  # what was under way is neither good nor bad
    stop = Stop()
    asyncio.get_running_loop().call_later(1.05, stop.set)
    closed = await drive(taking(0.3), Closed(2), Bounds(duration=60), stop)
    assert closed.ended - closed.began == pytest.approx(1.05, abs=0.01)
    assert summarise(closed).good == 6


async def test_who_is_refused_at_once_does_not_keep_the_loop() -> None:
    async def refused(sample: Sample) -> None:
        sample.error, sample.ended = "RateLimited 429", time.monotonic()

    run = await drive(refused, Closed(2), Bounds(duration=0.001))
    assert summarise(run).errors == {"RateLimited 429": len(run.samples)}
    assert run.ended - run.began < 0.1


async def test_a_mistake_of_a_caller_ends_the_run() -> None:
    async def wrong(sample: Sample) -> None:
        raise ConfigurationError("no such operation")

    with pytest.raises(ConfigurationError, match="no such operation"):
        await drive(wrong, Open(10), Bounds(duration=60))
    with pytest.raises(ConfigurationError, match="no such operation"):
        await drive(wrong, Closed(3), Bounds(duration=60))


async def test_bounds_that_make_no_sense() -> None:
    for wrong in (
        {},
        {"requests": 0},
        {"duration": 0.0},
        {"requests": 1, "in_flight": 0},
        {"requests": 1, "drain": -1},
    ):
        with pytest.raises(ConfigurationError):
            Bounds(**wrong)
    with pytest.raises(ConfigurationError, match="3 callers"):
        await drive(taking(1), Closed(3), Bounds(requests=3, in_flight=2))


async def test_progress_is_told_after_each_answer() -> None:
    told: list[int] = []
    await drive(
        taking(0.1),
        Closed(1),
        Bounds(requests=3),
        told=lambda run: told.append(sum(sample.ended == sample.ended for sample in run.samples)),
    )
    assert told == [1, 2, 3]
