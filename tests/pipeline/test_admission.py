"""The queue: who goes next, who is refused, and how a slot passes from hand to hand."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest

from ipfs_accelerate_py.errors import CircuitOpen, QueueFull, QueueTimeout
from ipfs_accelerate_py.pipeline.admission import AdmissionPolicy
from ipfs_accelerate_py.types import Chunk, Priority

from .support import Backend, House, Source, make_call, settle, stream_reply, text_reply

pytestmark = pytest.mark.virtual_time

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


async def test_up_to_the_limit_nobody_waits() -> None:
    house = House(max_concurrent_requests=3)
    for name in "abc":
        await house.enter(name, make_call())
    assert house.admission.active == 3
    late = house.arrive("d")
    await settle()
    assert house.admission.snapshot()["queued_by_priority"] == {"HIGH": 0, "NORMAL": 1, "LOW": 0}
    await house.leave("b")
    assert house.order == ["a", "b", "c", "d"]
    await late
    await house.empty()
    assert house.idle()


async def test_priorities_are_strict_and_first_come_first_served_within_one() -> None:
    house = House()
    await house.enter("holder", make_call())
    tasks = [
        house.arrive(f"{priority.name[0]}{number}", priority) for number in range(3) for priority in (LOW, NORMAL, HIGH)
    ]
    await settle()
    await house.empty()
    assert house.order == ["holder", "H0", "H1", "H2", "N0", "N1", "N2", "L0", "L1", "L2"]
    await asyncio.gather(*tasks)
    assert house.idle()


async def test_a_low_call_that_has_waited_long_enough_goes_before_new_high_ones() -> None:
    house = House(ageing_interval=10.0)
    await house.enter("holder", make_call())
    tasks = [house.arrive("old low", LOW)]
    await settle()
    house.clock.advance(9)
    tasks.append(house.arrive("normal", NORMAL))
    await settle()
    house.clock.advance(10.5)
    tasks.append(house.arrive("high", HIGH))
    await settle()
    await house.leave("holder")
    # low counts as high from second 20, normal from 19, high came at 19.5
    assert house.order[1:] == ["normal"]
    await house.leave("normal")
    assert house.order[2:] == ["high"]
    await house.leave("high")
    assert house.order[3:] == ["old low"]
    tasks.append(house.arrive("later low", LOW))
    await settle()
    house.clock.advance(20.1)
    tasks.append(house.arrive("new high", HIGH))
    await settle()
    await house.empty()
    assert house.order[4:] == ["later low", "new high"]
    await asyncio.gather(*tasks)


async def test_low_is_not_starved_by_a_stream_of_high_calls() -> None:
    house = House(ageing_interval=10.0)
    await house.enter("0", make_call(HIGH))
    tasks = [house.arrive("low", LOW)]
    for number in range(1, 40):
        tasks.append(house.arrive(str(number), HIGH))
        await settle()
        house.clock.advance(1)
        await house.leave(*house.inside)
    assert 19 <= house.order.index("low") <= 22
    await house.empty()
    await asyncio.gather(*tasks)


async def test_without_ageing_priorities_are_absolute() -> None:
    house = House(ageing_interval=math.inf)
    await house.enter("holder", make_call())
    tasks = [house.arrive("low", LOW), house.arrive("normal", NORMAL), house.arrive("high", HIGH)]
    await settle()
    house.clock.advance(1e6)
    tasks += [house.arrive("high 2", HIGH)]
    await settle()
    await house.empty()
    assert house.order == ["holder", "high", "high 2", "normal", "low"]
    await asyncio.gather(*tasks)


async def test_a_newcomer_does_not_slip_in_before_those_who_wait() -> None:
    house = House()
    await house.enter("a", make_call())
    waiting = house.arrive("b")
    await settle()
    call = house.inside.pop("a")
    house.admission.release(call)  # b has the slot from this moment, though its task has not run yet
    newcomer = house.arrive("c", HIGH)
    await settle()
    assert house.order == ["a", "b"]
    await house.empty()
    assert house.order == ["a", "b", "c"]
    await asyncio.gather(waiting, newcomer)


# --- limits, live ------------------------------------------------------------------------------------------------


async def test_raising_the_limit_wakes_the_queue_at_once() -> None:
    house = House()
    await house.enter("a", make_call())
    tasks = [house.arrive(name) for name in "bcd"]
    await settle()
    house.settings.max_concurrent_requests = 3
    await settle()
    assert house.order == ["a", "b", "c"]
    await house.empty()
    await asyncio.gather(*tasks)
    assert house.idle()


async def test_lowering_the_limit_holds_until_enough_have_left() -> None:
    house = House(max_concurrent_requests=3)
    for name in "abc":
        await house.enter(name, make_call())
    late = house.arrive("d")
    await settle()
    house.settings.max_concurrent_requests = 1
    await house.leave("a", "b")
    assert house.order == ["a", "b", "c"]
    await house.leave("c")
    assert house.order == ["a", "b", "c", "d"]
    await house.empty()
    await late


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    house = House(queue_size=2)
    await house.enter("a", make_call())
    tasks = [house.arrive("b"), house.arrive("c", LOW)]
    await settle()
    with pytest.raises(QueueFull, match="queue_size is 2") as caught:
        await house.admission.acquire(make_call(HIGH))
    assert caught.value.retry_after
    house.settings.queue_size = 3
    tasks.append(house.arrive("d"))
    await settle()
    await house.empty()
    assert house.order == ["a", "b", "d", "c"]
    await asyncio.gather(*tasks)
    assert house.idle()


@pytest.mark.parametrize("off", [{"queue_size": 0}, {"queue_enabled": False}])
async def test_without_a_queue_a_call_goes_now_or_not_at_all(off: dict[str, Any]) -> None:
    house = House(**off)
    await house.enter("a", make_call())
    with pytest.raises(QueueFull):
        await house.admission.acquire(make_call())
    await house.leave("a")
    await house.enter("b", make_call())
    await house.empty()
    assert house.idle()


async def test_a_waiting_call_leaves_at_the_queue_timeout() -> None:
    house = House(queue_timeout=0.01)
    await house.enter("a", make_call())
    call = make_call()
    with pytest.raises(QueueTimeout, match=r"waited 0\.0 s"):
        await house.admission.acquire(call)
    assert house.admission.snapshot()["queued"] == 0
    await house.leave("a")
    assert house.idle()


async def test_a_waiting_call_leaves_at_its_deadline() -> None:
    house = House(queue_timeout=60.0)
    await house.enter("a", make_call())
    with pytest.raises(QueueTimeout):
        await house.admission.acquire(make_call(deadline=house.clock.now + 0.01))
    with pytest.raises(QueueTimeout):
        await house.admission.acquire(make_call(deadline=house.clock.now - 5))
    await house.leave("a")
    assert house.idle()


async def test_the_time_in_the_queue_is_noted() -> None:
    house = House()
    await house.enter("a", make_call())
    call = make_call()
    waiting = asyncio.create_task(house.enter("b", call))
    await settle()
    house.clock.advance(4)
    await house.leave("a")
    await waiting
    assert call.queued == pytest.approx(4)
    await house.empty()


# --- leaving the queue -------------------------------------------------------------------------------------------


async def test_a_cancelled_call_leaves_the_queue() -> None:
    house = House()
    await house.enter("a", make_call())
    tasks = [house.arrive(name) for name in "bcd"]
    await settle()
    tasks[1].cancel()
    await settle()
    assert house.admission.snapshot()["queued"] == 2
    await house.empty()
    assert house.order == ["a", "b", "d"]
    await asyncio.gather(*tasks, return_exceptions=True)
    assert house.idle()


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_call_cancelled_in_the_moment_it_is_let_in_hands_the_slot_on(turns: int) -> None:
    house = House()
    await house.enter("a", make_call())
    first, second = house.arrive("b"), house.arrive("c")
    await settle()
    house.admission.release(house.inside.pop("a"))  # b is let in
    for _ in range(turns):
        if not house.inside:
            await asyncio.sleep(0)
    first.cancel()
    await settle()
    if "b" in house.inside:  # it had already entered when the cancellation came
        await house.leave("b")
    assert house.order[-1] == "c"
    await house.leave("c")
    await asyncio.gather(first, second, return_exceptions=True)
    assert house.idle()
    assert house.gate.out <= 2  # the two that entered and were released by us


async def test_a_timeout_in_the_moment_it_is_let_in_hands_the_slot_on() -> None:
    house = House()
    await house.enter("a", make_call())

    async def impatient() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.005):
                await house.enter("b", make_call())

    first = asyncio.create_task(impatient())
    await settle()
    second = house.arrive("c")
    await settle()
    asyncio.get_running_loop().call_later(0.005, lambda: house.admission.release(house.inside.pop("a")))
    await first
    await settle()
    if "b" in house.inside:
        await house.leave("b")
    await second
    await house.leave("c")
    assert house.idle()


async def test_whoever_is_cancelled_while_others_are_let_in_costs_nobody_a_place() -> None:
    house = House(max_concurrent_requests=2)
    await house.enter("a", make_call())
    await house.enter("b", make_call())
    tasks = {name: house.arrive(name) for name in "cdefgh"}
    await settle()
    for name in "ceg":
        tasks[name].cancel()
    house.admission.release(house.inside.pop("a"))  # before the cancelled ones have left by themselves
    house.admission.release(house.inside.pop("b"))
    await settle()
    assert house.order == ["a", "b", "d", "f"]
    await house.empty()
    assert house.order[-1] == "h"
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert house.idle()


# --- the breaker -------------------------------------------------------------------------------------------------


async def test_an_open_breaker_refuses_without_queueing() -> None:
    house = House(refusal=lambda: CircuitOpen("open", retry_after=3.0))
    with pytest.raises(CircuitOpen):
        await house.admission.acquire(make_call())
    assert house.idle()


# --- the policy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["complete", "left", "broken", "dropped"])
async def test_a_stream_holds_its_slot_until_it_is_done(end: str) -> None:
    house = House()
    error = ValueError("broken") if end == "broken" else None
    source = Source([Chunk(text="a")], [Chunk(text="b")], error=error)
    policy = AdmissionPolicy(Backend(stream_reply(source), text_reply()), house.admission)
    reply = await policy(make_call(stream=True))
    stream = reply.stream
    assert stream is not None
    assert house.admission.active == 1
    await anext(stream)
    if end == "complete":
        assert [chunk.text async for chunk in stream] == ["b"]
    elif end == "left":
        stream.abort()
    elif end == "broken":
        with pytest.raises(ValueError, match="broken"):
            [chunk async for chunk in stream]
    else:
        del reply, stream
        await settle()
    assert house.idle()
    assert source.aborted
    await policy(make_call())


async def test_an_error_gives_the_slot_back() -> None:
    house = House()
    policy = AdmissionPolicy(Backend(KeyError("ours"), text_reply()), house.admission)
    with pytest.raises(KeyError):
        await policy(make_call())
    assert house.idle()
    await policy(make_call())
    assert house.gate.out == 0
