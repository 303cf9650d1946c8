"""How passes are timed: by clocks that are given."""

from __future__ import annotations

import pytest

from ipfs_accelerate_py.runtimes.probes.timing import Clocks, time_passes


class _Machine:
    """A clock that goes on only while something works."""

    def __init__(self, *passes: float) -> None:
        self.now, self.worked, self.count = 0.0, 0.0, 0
        self.passes = passes

    def once(self) -> None:
        took = self.passes[min(self.count, len(self.passes) - 1)]
        self.count += 1
        self.now += took
        self.worked += took / 2

    def gauge(self) -> None:
        self.now += 0.001
        self.worked += 0.001

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.now, lambda: self.worked)


def test_the_first_passes_do_not_count() -> None:
    machine = _Machine(5.0, 0.01)
    found = time_passes(machine.once, seconds=0.2, measure=machine.gauge, clocks=machine.clocks)
    assert found["latency_ms"] == pytest.approx(10)
    assert found["cpu_ms"] == pytest.approx(5)
    assert found["gauge_ms"] == pytest.approx(1)


def test_quartiles_tell_the_spread() -> None:
    machine = _Machine(0.001, 0.001, 0.010, 0.011, 0.012, 0.013, 0.030)
    found = time_passes(machine.once, seconds=0.05, clocks=machine.clocks)
    assert found["latency_ms"] == pytest.approx(12)
    assert 10 <= found["latency_low_ms"] < 12 < found["latency_high_ms"] <= 30
    assert "gauge_ms" not in found


def test_quick_passes_are_bounded_in_count_and_slow_ones_in_time() -> None:
    quick = _Machine(0.0001)
    time_passes(quick.once, seconds=10, clocks=quick.clocks)
    assert quick.count == 42
    slow = _Machine(60.0)
    assert time_passes(slow.once, seconds=0.3, clocks=slow.clocks)["latency_ms"] == pytest.approx(60_000)
    assert slow.count == 2
