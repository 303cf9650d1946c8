"""Limits of time for many waits on one timer: each ends its own wait, and nobody else's."""

from __future__ import annotations

import asyncio
import time

import pytest

from ipfs_accelerate_py.deadlines import Deadlines


async def wait(deadlines: Deadlines, seconds: float | None, future: asyncio.Future[None] | None = None) -> float:
    began = time.monotonic()
    try:
        with deadlines.limit(None if seconds is None else began + seconds):
            await (future or asyncio.get_running_loop().create_future())
    except TimeoutError:
        pass
    return time.monotonic() - began


async def test_each_wait_ends_at_its_own_time_in_whatever_order_they_were_set() -> None:
    deadlines = Deadlines()
    limits = [0.06, 0.02, 0.09, 0.04, 0.0, -1.0]
    took = await asyncio.gather(*[wait(deadlines, limit) for limit in limits])
    for limit, seconds in zip(limits, took, strict=True):
        assert max(0.0, limit) - 0.005 <= seconds < max(0.0, limit) + 0.05
    assert not deadlines._limits


async def test_a_wait_that_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.005, future.set_result, None)
    assert await wait(deadlines, 0.05, future) < 0.05
    await asyncio.sleep(0.06)  # its time comes, and finds nobody
    assert await wait(deadlines, 0.01) < 0.1
    deadlines.close()


async def test_no_limit_is_none() -> None:
    deadlines = Deadlines()
    with deadlines.limit(None):
        await asyncio.sleep(0)
    assert deadlines._timer is None


async def test_a_cancellation_of_the_callers_stays_one() -> None:
    deadlines = Deadlines()

    async def call() -> None:
        with deadlines.limit(time.monotonic() + 5):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines._limits
    deadlines.close()


async def test_cancelled_and_out_of_time_in_the_same_turn_it_is_cancelled() -> None:
    deadlines = Deadlines()

    async def call() -> None:
        with deadlines.limit(time.monotonic() + 5):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    next(iter(deadlines._limits)).expire()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadlines.close()


async def test_out_of_time_inside_another_timeout_each_is_told_apart() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            with deadlines.limit(time.monotonic() + 0.01):
                await asyncio.get_running_loop().create_future()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            with deadlines.limit(time.monotonic() + 5):
                await asyncio.get_running_loop().create_future()
    assert task.cancelling() == 0
    assert not deadlines._limits
    deadlines.close()


async def test_an_error_of_the_wait_is_that_error_also_when_its_time_has_come() -> None:
    deadlines = Deadlines()

    async def call() -> None:
        with deadlines.limit(time.monotonic() + 5):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                raise ValueError("on the way out") from None

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    next(iter(deadlines._limits)).expire()
    with pytest.raises((ValueError, TimeoutError)):
        await task
    assert task.cancelling() == 0
    deadlines.close()


async def test_far_limits_do_not_hide_near_ones() -> None:
    deadlines = Deadlines()
    far = [asyncio.create_task(wait(deadlines, 60.0 + number)) for number in range(100)]
    await asyncio.sleep(0)
    assert await wait(deadlines, 0.01) < 0.1
    forever = asyncio.create_task(wait(deadlines, float("inf")))
    await asyncio.sleep(0)
    assert await wait(deadlines, 0.01) < 0.1
    for task in (*far, forever):
        task.cancel()
    await asyncio.gather(*far, forever, return_exceptions=True)
    assert not deadlines._limits
    deadlines.close()
