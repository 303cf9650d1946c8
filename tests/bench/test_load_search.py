"""The limit of a service: found in a sweep, and by a search, for services whose limit is known."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import pytest

from ipfs_accelerate_py.bench.arrivals import Closed, Open
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.mix import Synthetic
from ipfs_accelerate_py.bench.load.runner import Bounds
from ipfs_accelerate_py.bench.load.search import highest, search
from ipfs_accelerate_py.bench.load.session import LoadTest, Plan, Progress
from ipfs_accelerate_py.bench.load.slo import Objective
from ipfs_accelerate_py.bench.load.targets import LoadTarget
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Call, Reply


def meets(limit: float, tried: list[float]) -> Callable[[float], Awaitable[bool]]:
    async def met(level: float) -> bool:
        tried.append(level)
        return level <= limit

    return met


@pytest.mark.parametrize("limit", [1.0, 1.4, 17.3, 63.9])
async def test_a_search_comes_as_near_as_it_was_told(limit: float) -> None:
    tried: list[float] = []
    found = await search(meets(limit, tried), 1, 64, precision=0.05)
    assert found.met is not None
    assert found.missed is not None
    assert found.met <= limit < found.missed <= found.met * 1.05 + 1e-9
    assert len(tried) <= 20


async def test_a_search_whose_bounds_are_not_reached() -> None:
    tried: list[float] = []
    assert await search(meets(1000, tried), 1, 20) == highest([(20, True)])
    assert tried == [1, 2, 4, 8, 16, 20]
    tried.clear()
    found = await search(meets(0.5, tried), 1, 20)
    assert (found.met, found.missed) == (None, 1)
    assert tried == [1, 1]  # a level that misses is tried once more


async def test_one_bad_moment_does_not_decide() -> None:
    moments = iter([True, False, True, True, True, True])

    async def met(level: float) -> bool:
        return next(moments)

    found = await search(met, 1, 16)
    assert (found.met, found.missed) == (16, None)


async def test_callers_are_whole() -> None:
    tried: list[float] = []
    found = await search(meets(13, tried), 1, 100, whole=True, precision=0.001)
    assert (found.met, found.missed) == (13, 14)
    assert all(level == int(level) for level in tried)


async def test_a_search_that_is_stopped_says_what_it_knows() -> None:
    tried: list[float] = []
    found = await search(meets(1000, tried), 1, 64, stopped=lambda: len(tried) >= 3)
    assert (found.met, found.missed) == (2, None)  # the third step was cut short


async def test_a_search_that_makes_no_sense() -> None:
    for low, high, precision in ((0, 1, 0.1), (2, 1, 0.1), (1, 2, 0)):
        with pytest.raises(ConfigurationError):
            await search(meets(1, []), low, high, precision=precision)


def test_the_highest_level_of_a_sweep_has_none_that_misses_below_it() -> None:
    assert (highest([(1, True), (2, True), (4, False)]).met, highest([(1, True)]).missed) == (2, None)
    lucky = highest([(1, True), (2, False), (4, True)])
    assert (lucky.met, lucky.missed) == (1, 2)
    assert highest([(1, False)]).met is None
    twice = highest([(1, True), (2, True), (2, False)])
    assert (twice.met, twice.missed) == (1, 2)


# --- with calls: one counter that serves one after another, 10 ms each ----------------------------------------------


def counter(seconds: float = 0.01) -> Calls:
    """A service that can do exactly ``1 / seconds`` calls a second, in the order in which they come."""
    target = LoadTarget(AsyncClient("llvm", base_url="http://127.0.0.1:9/v1"), "m")
    free = 0.0

    async def send(call: Call) -> Reply:
        nonlocal free
        free = max(free, time.monotonic()) + seconds
        await asyncio.sleep(free - time.monotonic())
        return Reply(text="x")

    target.send = send
    return Calls(target, Synthetic(), stream=False, timeout=60)


@pytest.mark.virtual_time
async def test_the_limit_of_a_known_service_is_found() -> None:
    plan = Plan(
        Open(1, burstiness=math.inf),
        (),
        Bounds(requests=200),
        objective=Objective.parse("total=50ms"),
        find=(20, 400),
        precision=0.02,
    )
    outcome = await LoadTest([counter()], plan).run()
    (found,) = outcome.found
    assert found.met is not None
    assert found.missed is not None
    # 200 calls may be a little faster than it serves: the last waits 200 * (10 ms - 1 / rate), at most 40 ms.
    assert 99 < found.met <= 1 / (0.01 - 0.04 / 200) * 1.001
    assert found.missed <= found.met * 1.02 + 1e-9


@pytest.mark.virtual_time
async def test_callers_of_a_known_service() -> None:
    """Little's law: n callers at a service of 100 a second wait n times 10 ms."""
    plan = Plan(
        Closed(1), (), Bounds(requests=100, in_flight=64), objective=Objective.parse("total=55ms"), find=(1, 64)
    )
    (found,) = (await LoadTest([counter()], plan).run()).found
    assert (found.met, found.missed) == (5, 6)


@pytest.mark.virtual_time
async def test_a_sweep_says_where_it_breaks_and_how_far_it_is() -> None:
    told: list[Progress] = []
    plan = Plan(
        Open(1, burstiness=math.inf),
        (50, 90, 150),
        Bounds(duration=4.0),
        rounds=2,
        objective=Objective.parse("total=20ms"),
        settle=0.0,
    )
    outcome = await LoadTest([counter()], plan, told=told.append).run()
    assert [(step.level, step.round) for step in outcome.steps] == [
        (50, 1), (50, 2), (90, 1), (90, 2), (150, 1), (150, 2),
    ]  # fmt: skip
    (found,) = outcome.found
    assert (found.met, found.missed) == (90, 150)
    assert outcome.steps[-1].summary.rate == pytest.approx(100, rel=0.02)
    assert told[0].step == 1
    assert told[0].steps == 6
    assert told[0].left == pytest.approx(24.0, abs=0.5)
    assert told[-1].left == pytest.approx(0.0, abs=0.2)


@pytest.mark.virtual_time
async def test_two_targets_take_turns_and_are_asked_the_same() -> None:
    one, other = counter(0.01), counter(0.02)
    asked: dict[str, list[str]] = {"one": [], "other": []}
    for name, calls in (("one", one), ("other", other)):
        inner = calls.target.send

        async def send(call: Call, name: str = name, inner: Callable[[Call], Awaitable[Reply]] = inner) -> Reply:
            asked[name].append(str(call.request))
            return await inner(call)

        calls.target.send = send
    plan = Plan(Open(10, seed=5), (10,), Bounds(requests=20), rounds=3, warm_up=0)
    test = LoadTest([one, other], plan)
    assert test.names == ["llvm A", "llvm B"]
    outcome = await test.run()
    assert [step.target for step in outcome.steps] == [0, 1, 1, 0, 0, 1]
    assert sorted(asked["one"]) == sorted(asked["other"])
    assert len(set(asked["one"])) == 60
    for round in (1, 2, 3):
        pair = [step.run for step in outcome.steps if step.round == round]
        due = [[sample.due - run.began for sample in run.samples] for run in pair]
        assert due[0] == pytest.approx(due[1])
    firsts = {outcome.steps[place].run.samples[0].due - outcome.steps[place].run.began for place in (0, 2, 4)}
    assert len(firsts) == 3  # and each round has arrivals of its own


def test_plans_that_make_no_sense() -> None:
    bounds = Bounds(requests=1)
    with pytest.raises(ConfigurationError, match="at least one level"):
        Plan(Open(1), (), bounds)
    with pytest.raises(ConfigurationError, match="at least 1 round"):
        Plan(Open(1), (1,), bounds, rounds=0)
    with pytest.raises(ConfigurationError, match="a share"):
        Plan(Open(1), (1,), bounds, goodput=0)
    with pytest.raises(ConfigurationError, match="needs an objective"):
        Plan(Open(1), (), bounds, find=(1, 2))


async def test_targets_that_a_plan_does_not_go_with() -> None:
    in_time = Objective.parse("ttft=1s")
    with pytest.raises(ConfigurationError, match="streamed"):
        LoadTest([counter()], Plan(Open(1), (1,), Bounds(requests=1), objective=in_time))
    whole = Objective.parse("total=1s")
    with pytest.raises(ConfigurationError, match="a search is of one"):
        LoadTest([counter(), counter()], Plan(Open(1), (), Bounds(requests=1), objective=whole, find=(1, 2)))
    with pytest.raises(ConfigurationError, match="two beside"):
        LoadTest([], Plan(Open(1), (1,), Bounds(requests=1)))
