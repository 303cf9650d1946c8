"""The queue: who goes next, who is refused, and how a slot passes from hand to hand."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import CircuitOpen, MissingCredential, QueueFull, QueueTimeout, RateLimited
from ipfs_accelerate_py.pipeline.admission import Admission, AdmissionPolicy
from ipfs_accelerate_py.pipeline.keys import KeyPool
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Chunk, Priority, Usage

from .support import Backend, Clock, OpenGate, Source, make_call, make_pool, settle, stream_reply, text_reply

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


class House:
    """An admission with one slot unless told otherwise, and a record of who was let in, in order."""

    def __init__(self, gate: Any = None, refusal: Any = lambda: None, clock: Clock | None = None, **settings: Any):
        self.settings = Settings()
        self.settings.update({"max_concurrent_requests": 1, **settings})
        self.clock = clock or Clock()
        self.gate: Any = OpenGate() if gate is None else gate
        self.admission = Admission(self.settings, self.gate, refusal, self.clock)
        self.order: list[str] = []
        self.inside: dict[str, Call] = {}

    async def enter(self, name: str, call: Call) -> None:
        await self.admission.acquire(call)
        self.order.append(name)
        self.inside[name] = call

    def arrive(self, name: str, priority: Priority = NORMAL, **options: Any) -> asyncio.Task[None]:
        return asyncio.create_task(self.enter(name, make_call(priority, **options)), name=name)

    async def leave(self, *names: str) -> None:
        for name in names:
            call = self.inside.pop(name)
            if isinstance(self.gate, KeyPool):
                self.gate.release(call.lease, Usage(), None)
            self.admission.release(call)
        await settle()

    async def empty(self) -> None:
        """Let everybody in and out, one by one."""
        while self.inside:
            await self.leave(next(iter(self.inside)))

    def idle(self) -> bool:
        found = self.admission.snapshot()
        return found["active"] == 0 and found["queued"] == 0 and not self.admission._heap


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
