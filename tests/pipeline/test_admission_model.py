"""Admission against a simple model: whatever happens in whatever order, nobody is lost and nobody jumps the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_accelerate_py.pipeline.admission import Admission
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Priority, Usage

from .support import Clock, OpenGate, make_call, make_pool, settle

AGEING = 10.0

arrive = st.tuples(st.just("arrive"), st.sampled_from(Priority))
leave = st.tuples(st.just("leave"), st.integers(0, 99))
cancel = st.tuples(st.just("cancel"), st.integers(0, 99))
limit = st.tuples(st.just("limit"), st.integers(1, 5))
wait = st.tuples(st.just("wait"), st.floats(0.001, 30))
#: Not settled in between: several things happen in one turn of the loop.
steps = st.lists(
    st.tuples(st.one_of(arrive, arrive, leave, leave, cancel, limit, wait), st.booleans()), min_size=1, max_size=60
)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner() as runner:
        runner.run(coroutine)


class Model:
    """Who is inside and who waits, by the rule as it is written: earliest effective instant first, then first come."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.inside: list[int] = []
        self.waiting: list[tuple[float, int]] = []

    def arrive(self, number: int, rank: float) -> None:
        self.waiting.append((rank, number))
        self.admit()

    def leave(self, number: int) -> None:
        self.inside.remove(number)
        self.admit()

    def cancel(self, number: int) -> None:
        self.waiting = [entry for entry in self.waiting if entry[1] != number]

    def admit(self) -> None:
        self.waiting.sort()
        while self.waiting and len(self.inside) < self.most:
            self.inside.append(self.waiting.pop(0)[1])


@settings(max_examples=150)
@given(steps, st.integers(1, 4))
def test_order_is_the_models(plan: list[tuple[tuple[str, Any], bool]], most: int) -> None:
    run(_follow(plan, most))


async def _follow(plan: list[tuple[tuple[str, Any], bool]], most: int) -> None:
    made = Settings(max_concurrent_requests=most, queue_size=1000, ageing_interval=AGEING)
    clock, gate = Clock(), OpenGate()
    admission = Admission(made, gate, clock=clock)
    model = Model(most)
    order: list[int] = []
    calls: dict[int, Call] = {}
    tasks: dict[int, asyncio.Task[None]] = {}
    cancelled: set[int] = set()

    async def enter(number: int, call: Call) -> None:
        await admission.acquire(call)
        order.append(number)

    for (what, value), _ in plan:
        if what == "arrive":
            number = len(calls)
            calls[number] = call = make_call(value)
            model.arrive(number, clock.now + value * AGEING)
            tasks[number] = asyncio.create_task(enter(number, call))
        elif what == "leave" and model.inside:
            number = model.inside[value % len(model.inside)]
            admission.release(calls[number])
            model.leave(number)
        elif what == "cancel" and model.waiting:
            number = model.waiting[value % len(model.waiting)][1]
            tasks[number].cancel()
            cancelled.add(number)
            model.cancel(number)
        elif what == "limit":
            model.most = value
            made.max_concurrent_requests = value
            model.admit()
        elif what == "wait":
            clock.advance(value)
        await settle()
        assert admission.active == len(model.inside)
        assert {n for n in order if tasks[n].done()} >= set(model.inside)
        assert sum(admission.queued) == len(model.waiting)
        assert min(admission.queued) >= 0
    while model.inside:
        number = model.inside[0]
        admission.release(calls[number])
        model.leave(number)
        await settle()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert set(order) == set(calls) - cancelled
    assert len(order) == len(set(order))
    assert (admission.active, sum(admission.queued), admission._heap) == (0, 0, [])


@settings(max_examples=150)
@given(steps, st.integers(1, 3))
def test_in_any_interleaving_no_slot_is_lost_or_given_twice(
    plan: list[tuple[tuple[str, Any], bool]], most: int
) -> None:
    run(_storm(plan, most))


async def _storm(plan: list[tuple[tuple[str, Any], bool]], most: int) -> None:
    """As above, but several things happen before any task runs, so cancellations meet admissions half-way."""
    made = Settings(max_concurrent_requests=most, queue_size=1000, ageing_interval=AGEING)
    clock, gate = Clock(), OpenGate()
    admission = Admission(made, gate, clock=clock)
    inside: dict[int, Call] = {}
    tasks: dict[int, asyncio.Task[None]] = {}
    peak_allowed = most

    async def live(number: int, call: Call, done: asyncio.Future[None]) -> None:
        await admission.acquire(call)
        inside[number] = call
        assert admission.active <= peak_allowed
        try:
            await done
        finally:
            del inside[number]
            admission.release(call)

    ends: dict[int, asyncio.Future[None]] = {}
    for (what, value), pause in plan:
        if what == "arrive":
            number = len(tasks)
            ends[number] = asyncio.get_running_loop().create_future()
            tasks[number] = asyncio.create_task(live(number, make_call(value), ends[number]))
        elif what == "leave" and inside:
            number = list(inside)[value % len(inside)]
            if not ends[number].done():
                ends[number].set_result(None)
        elif what == "cancel" and tasks:
            tasks[value % len(tasks)].cancel()
        elif what == "limit":
            peak_allowed = max(peak_allowed, value)
            made.max_concurrent_requests = value
        elif what == "wait":
            clock.advance(value)
        if pause:
            await asyncio.sleep(0)
    await settle()
    assert len(inside) == admission.active
    assert admission.active >= made.max_concurrent_requests or sum(admission.queued) == 0, "a slot lies idle"
    for _ in range(len(tasks) + 1):
        for end in ends.values():
            if not end.done():
                end.set_result(None)
        await settle()
    done, pending = await asyncio.wait(tasks.values(), timeout=1) if tasks else (set(), set())
    assert not pending
    assert all(task.cancelled() or task.exception() is None for task in done)
    assert (admission.active, admission.queued, admission._heap) == (0, [0, 0, 0], [])
    assert gate.out == len([task for task in done if not task.cancelled()]) or gate.out >= 0


key_names = st.sampled_from([None, None, "a", "b"])
keyed = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("arrive"), st.tuples(st.sampled_from(Priority), key_names)), leave, leave, cancel, limit
        ),
        st.booleans(),
    ),
    min_size=1,
    max_size=50,
)


@settings(max_examples=150)
@given(keyed, st.integers(1, 3), st.integers(1, 2), st.integers(1, 2))
def test_with_keys_nobody_waits_who_could_go(
    plan: list[tuple[tuple[str, Any], bool]], most: int, a: int, b: int
) -> None:
    run(_with_keys(plan, most, a, b))


async def _with_keys(plan: list[tuple[tuple[str, Any], bool]], most: int, a: int, b: int) -> None:
    made = Settings(max_concurrent_requests=most, queue_size=1000)
    pool = make_pool(made, Clock(), "a", "b", a=a, b=b)
    admission = Admission(made, pool)
    limits = {"a": a, "b": b}
    inside: dict[int, Call] = {}
    wanted: dict[int, str | None] = {}
    tasks: dict[int, asyncio.Task[None]] = {}
    ends: dict[int, asyncio.Future[None]] = {}

    def out(name: str) -> int:
        return sum(call.lease.key.name == name for call in inside.values())

    async def live(number: int, call: Call) -> None:
        await admission.acquire(call)
        inside[number] = call
        assert call.key_name in (None, call.lease.key.name)
        assert all(out(name) <= limits[name] for name in limits)
        try:
            await ends[number]
        finally:
            del inside[number]
            pool.release(call.lease, Usage(), None)
            admission.release(call)

    for (what, value), pause in plan:
        if what == "arrive":
            number = len(tasks)
            ends[number] = asyncio.get_running_loop().create_future()
            wanted[number] = value[1]
            tasks[number] = asyncio.create_task(live(number, make_call(value[0], key=value[1])))
        elif what == "leave" and inside:
            number = list(inside)[value % len(inside)]
            if not ends[number].done():
                ends[number].set_result(None)
        elif what == "cancel" and tasks:
            tasks[value % len(tasks)].cancel()
        elif what == "limit":
            made.max_concurrent_requests = value
        if pause:
            await settle()
    await settle()
    if admission.active < made.max_concurrent_requests:
        for number, task in tasks.items():
            if not task.done() and number not in inside:
                name = wanted[number]
                free = [each for each in limits if out(each) < limits[each] and name in (None, each)]
                assert not free, f"call {number} for key {name} waits while {free} are free"
    for _ in range(len(tasks) + 1):
        for end in ends.values():
            if not end.done():
                end.set_result(None)
        await settle()
    _, pending = await asyncio.wait(tasks.values(), timeout=1) if tasks else (set(), set())
    assert not pending, "calls were lost in the queue"
    assert (admission.active, admission.queued, admission._heap) == (0, [0, 0, 0], [])
    assert all(state["active"] == 0 for state in pool.snapshot().values())
