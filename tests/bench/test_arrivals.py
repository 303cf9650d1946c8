"""When calls are made: arithmetic, and nobody waits for it."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from ipfs_accelerate_py.bench.arrivals import Closed, Open, levels
from ipfs_accelerate_py.errors import ConfigurationError


def gaps(load: Open, count: int) -> list[float]:
    instants = [0.0, *itertools.islice(load.instants(), count)]
    return [after - before for before, after in itertools.pairwise(instants)]


def test_a_constant_rate_has_equal_gaps() -> None:
    assert gaps(Open(8, burstiness=math.inf), 5) == pytest.approx([0.125] * 5)


def test_poisson_gaps_are_exponential() -> None:
    """Mean and deviation of an exponential distribution are both one over the rate."""
    found = gaps(Open(50), 8_000)
    assert statistics.mean(found) == pytest.approx(0.02, rel=0.03)
    assert statistics.pstdev(found) == pytest.approx(0.02, rel=0.05)
    # A third of e's inverse: the share of gaps longer than the mean.
    assert sum(gap > 0.02 for gap in found) / len(found) == pytest.approx(math.exp(-1), abs=0.015)


@pytest.mark.parametrize("shape", [0.25, 4.0])
def test_burstiness_is_the_shape_of_the_gaps(shape: float) -> None:
    found = gaps(Open(10, burstiness=shape), 8_000)
    assert statistics.mean(found) == pytest.approx(0.1, rel=0.06)
    assert statistics.pstdev(found) == pytest.approx(0.1 / math.sqrt(shape), rel=0.08)


def test_one_seed_is_one_schedule_at_every_rate() -> None:
    slow, fast = (list(itertools.islice(Open(rate, seed=7).instants(), 50)) for rate in (1, 4))
    assert slow == pytest.approx([4 * at for at in fast])
    assert slow != list(itertools.islice(Open(1, seed=8).instants(), 50))


def test_a_ramp_rises_evenly_and_then_stands() -> None:
    load = Open(10, burstiness=math.inf, ramp=4, ramp_from=2)
    instants = list(itertools.islice(load.instants(), 60))
    # Half-way it is 6 a second, and in the whole ramp the mean of both ends.
    assert load.expected(4) == pytest.approx(24)
    assert sum(at < 4 for at in instants) in (23, 24)
    assert sum(at <= 2 + 1e-9 for at in instants) == 8  # 2 * 2 + (6 - 2) * 2 / 2
    after = [at for at in instants if at >= 4]
    assert [b - a for a, b in itertools.pairwise(after)] == pytest.approx([0.1] * (len(after) - 1))
    assert [load.expected(at) for at in instants] == pytest.approx(range(1, 61))


def test_callers_begin_evenly_and_think_by_themselves() -> None:
    load = Closed(4, think=0.5, ramp=2, seed=1)
    assert [load.start(caller) for caller in range(4)] == [0, 0.5, 1.0, 1.5]
    one, again, other = (list(itertools.islice(load.pauses(caller), 2000)) for caller in (0, 0, 1))
    assert one == again != other
    assert statistics.mean(one) == pytest.approx(0.5, rel=0.1)
    assert list(itertools.islice(Closed(1).pauses(0), 3)) == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8", [8]),
        ("4,1,2,2", [1, 2, 4]),
        ("1:10", [1, 2, 4, 8, 10]),
        ("1:8:x2", [1, 2, 4, 8]),
        ("10:35:+10", [10, 20, 30, 35]),
        ("0.5:2:x2,7", [0.5, 1, 2, 7]),
    ],
)
def test_levels_of_a_sweep(text: str, found: list[float]) -> None:
    assert levels(text) == found


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "two", "4:1", "1:8:x1", "1:8:-2", "1:2:3:4", "1:1000:+1", "inf", "nan"]
)
def test_levels_that_lead_nowhere(text: str) -> None:
    with pytest.raises(ConfigurationError):
        levels(text)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Open(0),
        lambda: Open(1, burstiness=0),
        lambda: Open(1, ramp=-1),
        lambda: Closed(0),
        lambda: Closed(1, think=-1),
        lambda: Closed(1).at(2.5),
    ],
)
def test_loads_that_make_no_sense(wrong: object) -> None:
    with pytest.raises(ConfigurationError):
        wrong()  # type: ignore[operator]
