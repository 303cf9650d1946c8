"""Limits of time for many waits on one timer: each ends its own wait, and nobody else's."""

from __future__ import annotations

import asyncio
import time

import pytest

from ipfs_accelerate_py.deadlines import Deadlines

pytestmark = pytest.mark.virtual_time


class Wait:
    """A future that ends when its limit has come."""

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self.until = time.monotonic() + seconds
        self.expired = 0
        self.took = 0.0
        self._began = time.monotonic()
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadlines.add(self)

    def expire(self) -> None:
        self.expired += 1
        self.took = time.monotonic() - self._began
        self._future.set_result(None)

    async def end(self) -> float:
        """Seconds until it expired."""
        await asyncio.wait_for(self._future, 5)
        return self.took


def deadlines_here() -> Deadlines:
    return Deadlines(asyncio.get_running_loop())


async def test_each_wait_ends_at_its_own_time_in_whatever_order_they_were_set() -> None:
    deadlines = deadlines_here()
    limits = [0.06, 0.02, 0.09, 0.04, 0.0, -1.0]
    took = await asyncio.gather(*[Wait(deadlines, limit).end() for limit in limits])
    for limit, seconds in zip(limits, took, strict=True):
        assert max(0.0, limit) - 0.005 <= seconds < max(0.0, limit) + 0.05
    assert not len(deadlines)


async def test_a_wait_that_ends_in_time_is_left_alone() -> None:
    deadlines = deadlines_here()
    wait = Wait(deadlines, 0.01)
    deadlines.discard(wait)
    deadlines.discard(wait)  # harmless
    assert await Wait(deadlines, 0.02).end() < 0.1
    assert not wait.expired
    assert deadlines._timer is None


async def test_a_limit_may_be_moved_later_without_telling() -> None:
    deadlines = deadlines_here()
    wait = Wait(deadlines, 0.01)
    wait.until += 0.04
    assert 0.045 <= await wait.end() < 0.2
    assert wait.expired == 1


async def test_what_expires_may_lift_other_limits_and_set_new_ones() -> None:
    deadlines = deadlines_here()
    later: list[Wait] = []

    class First(Wait):
        def expire(self) -> None:
            for other in others:
                deadlines.discard(other)
            later.append(Wait(deadlines, 0.01))
            super().expire()

    others: list[Wait] = []
    first = First(deadlines, 0.01)
    others += [Wait(deadlines, 0.011) for _ in range(5)]
    for other in others:
        other.until = first.until + 1e-9  # due in the same turn, perhaps looked at before
    await first.end()
    assert await later[0].end() < 0.1
    assert all(other.expired <= 1 for other in others)
    assert not len(deadlines)


async def test_one_timer_serves_all() -> None:
    deadlines = deadlines_here()
    far = [Wait(deadlines, 60.0 + number) for number in range(100)]
    timer = deadlines._timer
    assert await Wait(deadlines, 0.01).end() < 0.1
    Wait(deadlines, float("inf"))
    assert deadlines._timer is not timer
    assert await Wait(deadlines, 0.01).end() < 0.1
    assert len(deadlines) == len(far) + 1
    deadlines.close()
    assert not len(deadlines)
    assert deadlines._timer is None
