"""The queue where keys are scarce: who waits for which, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import MissingCredential, RateLimited
from ipfs_accelerate_py.pipeline.keys import KeyPool
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Priority

from .support import Clock, House, make_call, make_pool, settle

pytestmark = pytest.mark.virtual_time

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


# --- keys --------------------------------------------------------------------------------------------------------


def house_of_keys(*names: str, slots: int = 10, pool: KeyPool | None = None, **limits: int) -> House:
    clock = Clock()
    settings = Settings(max_concurrent_requests=slots)
    gate = pool or make_pool(settings, clock, *names, **limits)
    return House(gate, clock=clock, max_concurrent_requests=slots)


async def test_a_call_for_a_busy_key_holds_up_only_those_for_the_same_key() -> None:
    house = house_of_keys("a", "b", a=1, b=1)
    await house.enter("1", make_call(key="a"))
    pinned = [house.arrive("2", HIGH, key="a"), house.arrive("3", HIGH, key="a")]
    await settle()
    await asyncio.wait_for(house.enter("4", make_call(LOW, key="b")), 1)
    other = house.arrive("5", LOW)
    await settle()
    await house.leave("4")
    assert house.order == ["1", "4", "5"]
    await house.leave("1")
    assert house.order == ["1", "4", "5", "2"]
    await house.empty()
    assert house.order == ["1", "4", "5", "2", "3"]
    await asyncio.gather(*pinned, other)
    assert house.idle()


async def test_a_freed_key_goes_to_the_call_that_was_there_first_pinned_or_not() -> None:
    """A call that will take any key must not take the one that an earlier and more urgent call waits for."""
    house = house_of_keys("a", "b", a=1, b=1)
    await house.enter("1", make_call(key="a"))
    await house.enter("2", make_call(key="b"))
    tasks = [house.arrive("any", LOW), house.arrive("pinned", HIGH, key="a")]
    await settle()
    await house.leave("1")
    assert house.order[-1] == "pinned"
    await house.leave("2")
    assert house.order[-1] == "any"
    await house.empty()
    await asyncio.gather(*tasks)
    assert house.idle()


async def test_a_pinned_call_behind_one_for_any_key_is_not_forgotten() -> None:
    """The head of the queue waits for a bucket to fill; the one behind it wants little and could go."""
    clock = Clock()
    settings = Settings(tokens_per_minute=1000.0, max_concurrent_requests=10)
    house = House(make_pool(settings, clock, "a", "b"), clock=clock, max_concurrent_requests=10)
    for name in "ab":
        await house.enter(name, make_call(key=name, cost=950))
    big = house.arrive("big", cost=900)
    await settle()
    small = house.arrive("small", LOW, key="a", cost=10)
    await settle()
    assert "small" in house.order
    await house.leave("a", "b", "small")
    big.cancel()
    await asyncio.gather(big, small, return_exceptions=True)
    assert house.admission.snapshot()["queued"] == 0


async def test_a_key_that_rests_is_waited_for_with_one_timer() -> None:
    settings = Settings(max_concurrent_requests=5)
    house = House(KeyPool(settings), max_concurrent_requests=5)
    house.gate.add("a", Secret("sk-value"))
    lease = house.gate.acquire(make_call())
    house.gate.release(lease, None, RateLimited("Rate limit", status=429, retry_after=0.02))
    tasks = [house.arrive(str(number)) for number in range(3)]
    await settle()
    assert house.order == []
    assert house.admission.active == 0
    await asyncio.wait_for(asyncio.gather(*tasks), 2)
    assert house.order == ["0", "1", "2"]
    await house.empty()
    assert house.idle()
    assert house.admission._timer is None


async def test_waiting_calls_hear_that_the_last_key_is_gone() -> None:
    settings = Settings(max_concurrent_requests=5)
    pool = KeyPool(settings, missing="Authentication error: set KEY")
    house = House(pool, max_concurrent_requests=5)
    pool.add("a", Secret("sk-value"), 1)
    await house.enter("1", make_call())
    waiting = house.arrive("2")
    await settle()
    pool.remove("a")
    await house.leave("1")
    with pytest.raises(MissingCredential):
        await asyncio.wait_for(waiting, 1)
    assert house.idle()
