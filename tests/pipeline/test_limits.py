"""Limits by tenant, gateway's key and model: who is counted with whom, who is refused, who waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ipfs_accelerate_py.errors import LimitExceeded, QueueTimeout, ServerError
from ipfs_accelerate_py.pipeline import limit_rules
from ipfs_accelerate_py.pipeline.budgets import Budgets
from ipfs_accelerate_py.pipeline.limits import LimitRule, Limits, LimitsPolicy, LimitState
from ipfs_accelerate_py.pipeline.scopes import Scope
from ipfs_accelerate_py.types import Call, Chunk, Priority, Reply, Usage

from .support import Clock, Source, make_call, settle, stream_reply, text_reply

pytestmark = pytest.mark.virtual_time


def call_of(tenant: str = "", caller: str = "", model: str = "m", alias: str = "", **options: Any) -> Call:
    call = make_call(model=model, **options)
    call.tenant, call.caller, call.alias = tenant, caller, alias
    return call


class Front:
    """A policy with rules, and a backend of which each call is ended by hand."""

    def __init__(self, clock: Clock, *rules: dict[str, Any]) -> None:
        self.limits = Limits(clock)
        for number, rule in enumerate(rules):
            scope = Scope(**{name: rule.pop(name) for name in ("tenant", "caller", "model") if name in rule})
            self.limits.put(LimitRule(name=f"rule{number}", scope=scope, **rule))
        self.state = LimitState(self.limits, Budgets())
        self.gates: list[asyncio.Future[Reply]] = []
        self.policy = LimitsPolicy(self._inner, self.state)

    async def _inner(self, call: Call) -> Reply:
        gate: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        return await gate

    async def start(self, call: Call) -> asyncio.Task[Reply]:
        async def ask() -> Reply:
            return await self.policy(call)

        task = asyncio.create_task(ask())
        await settle()
        return task

    async def end(self, number: int = 0, reply: Reply | BaseException | None = None) -> None:
        gate = self.gates.pop(number)
        if isinstance(reply, BaseException):
            gate.set_exception(reply)
        else:
            gate.set_result(reply or text_reply())
        await settle()

    async def refused(self, call: Call) -> LimitExceeded:
        before = len(self.gates)
        with pytest.raises(LimitExceeded) as caught:
            await self.policy(call)
        assert len(self.gates) == before
        return caught.value


async def through(front: Front, call: Call, reply: Reply | None = None) -> None:
    task = await front.start(call)
    await front.end(-1, reply)
    await task


@pytest.mark.parametrize(
    ("scope", "same", "other"),
    [
        ({}, call_of("a", "k", "m"), None),
        ({"tenant": "*"}, call_of("a", "other", "other"), call_of("b")),
        ({"tenant": "a"}, call_of("a", "k2", "x"), call_of("b")),
        ({"caller": "*"}, call_of("b", "k"), call_of("a", "k2")),
        ({"caller": "k"}, call_of("b", "k"), call_of("a", "k2")),
        ({"model": "*"}, call_of("b", "z", "m"), call_of("a", "k", "m2")),
        ({"model": "m"}, call_of("b", "z", "m"), call_of("a", "k", "m2")),
        ({"tenant": "*", "model": "*"}, call_of("a", "z", "m"), call_of("a", "k", "m2")),
    ],
)
async def test_who_is_counted_together(clock: Clock, scope: dict[str, str], same: Call, other: Call | None) -> None:
    front = Front(clock, {"requests_per_minute": 1, **scope})
    await through(front, call_of("a", "k", "m"))
    await front.refused(same)
    if other is not None:
        await through(front, other)


async def test_an_alias_is_the_model_that_is_asked_for(clock: Clock) -> None:
    front = Front(clock, {"requests_per_minute": 1, "model": "smart"})
    await through(front, call_of(model="gpt-4o", alias="smart"))
    await front.refused(call_of(model="claude", alias="smart"))
    await through(front, call_of(model="gpt-4o"))


async def test_requests_are_refused_with_the_time_to_come_back(clock: Clock) -> None:
    front = Front(clock, {"requests_per_minute": 2, "tenant": "acme"})
    for _ in range(2):
        await through(front, call_of("acme"))
    error = await front.refused(call_of("acme"))
    assert error.retry_after == pytest.approx(30.0)
    assert (error.http_status, error.code) == (429, "rate_limit_exceeded")
    assert "acme" in str(error)
    clock.advance(30)
    await through(front, call_of("acme"))


async def test_tokens_are_reserved_and_what_was_not_used_comes_back(clock: Clock) -> None:
    front = Front(clock, {"tokens_per_minute": 1000})
    task = await front.start(call_of(cost=800))
    assert (await front.refused(call_of(cost=800))).retry_after == pytest.approx(36.0)
    await front.end(0, text_reply(usage=Usage(10, 10, reported=True)))
    await task
    await through(front, call_of(cost=800), text_reply(usage=Usage(900, 0, reported=True)))
    assert (await front.refused(call_of(cost=100))).retry_after == pytest.approx(1.2)


async def test_a_failure_gives_its_tokens_back_and_an_unknown_count_does_not(clock: Clock) -> None:
    front = Front(clock, {"tokens_per_minute": 1000})
    task = await front.start(call_of(cost=900))
    await front.end(0, ServerError("down", status=500))
    with pytest.raises(ServerError):
        await task
    await through(front, call_of(cost=900), text_reply(usage=Usage()))
    await front.refused(call_of(cost=200))


async def test_calls_at_once(clock: Clock) -> None:
    front = Front(clock, {"max_concurrent": 2, "tenant": "*"})
    tasks = [await front.start(call_of("a")) for _ in range(2)]
    error = await front.refused(call_of("a"))
    assert (error.retry_after, "2 calls" in str(error)) == (1.0, True)
    tasks.append(await front.start(call_of("b")))
    await front.end()
    tasks.append(await front.start(call_of("a")))
    for _ in range(3):
        await front.end()
    await asyncio.gather(*tasks)


async def test_all_limits_of_a_call_hold_or_nothing_is_taken(clock: Clock) -> None:
    front = Front(clock, {"requests_per_minute": 10}, {"requests_per_minute": 1, "tenant": "*"})
    await through(front, call_of("a"))
    for _ in range(20):
        await front.refused(call_of("a"))
    for tenant in "bcdefghij":
        await through(front, call_of(tenant))
    await front.refused(call_of("z"))


async def test_a_stream_counts_until_its_end(clock: Clock) -> None:
    front = Front(clock, {"max_concurrent": 1, "tokens_per_minute": 1000})
    source = Source([Chunk(text="a")], usage=Usage(100, 100, reported=True))
    task = await front.start(call_of(cost=500, stream=True))
    await front.end(0, stream_reply(source))
    reply = await task
    await front.refused(call_of(cost=1))
    assert reply.stream is not None
    async for _ in reply.stream:
        pass
    assert front.limits.snapshot()[0]["tokens_left"] == pytest.approx(800)
    assert front.limits.snapshot()[0]["active"] == 0


async def test_a_stream_that_is_left_gives_its_place_back(clock: Clock) -> None:
    front = Front(clock, {"max_concurrent": 1, "tokens_per_minute": 1000})
    task = await front.start(call_of(cost=500, stream=True))
    await front.end(0, stream_reply(Source([Chunk(text="a")], usage=Usage(10, 1, reported=True)), Chunk(text="x")))
    reply = await task
    assert reply.stream is not None
    reply.stream.abort()
    left = front.limits.snapshot()[0]
    assert (left["active"], left["tokens_left"]) == (0, pytest.approx(500)), "nobody knows what it used"


async def test_limits_of_other_callers_are_not_even_looked_at(clock: Clock) -> None:
    rules = [{"requests_per_minute": 1, "caller": f"key-{n}"} for n in range(2000)]
    front = Front(clock, *rules, {"requests_per_minute": 1, "tenant": "t"}, {"max_concurrent": 9})
    found = list(front.limits.rules.counted(call_of("t", "key-7")))
    assert [rule.name for rule, _ in found] == ["rule2001", "rule2000", "rule7"]
    looked: list[Call] = []

    class Watched(Scope, frozen=True):
        def holder(self, call: Call) -> Any:
            looked.append(call)
            return super().holder(call)

    front.limits.put(LimitRule(name="watched", scope=Watched(caller="somebody"), requests_per_minute=1))
    await through(front, call_of("t", "key-8"))
    assert looked == []
    assert front.limits.remove("rule8")
    assert not front.limits.remove("rule8")


# --- waiting -----------------------------------------------------------------------------------------------------


async def test_a_call_may_wait_for_its_turn_the_urgent_first(clock: Clock) -> None:
    front = Front(clock, {"max_concurrent": 1, "tenant": "*", "wait": 5.0})
    tasks = [await front.start(call_of("a"))]
    low = await front.start(call_of("a", priority=Priority.LOW))
    high = await front.start(call_of("a", priority=Priority.HIGH))
    other = await front.start(call_of("b"))
    assert len(front.gates) == 2, "one tenant's queue held up another"
    await front.end(0)
    await front.end(-1)
    assert high.done()
    assert not low.done()
    await front.end(0)
    await front.end(0)
    await asyncio.gather(*tasks, low, high, other)
    assert front.limits.snapshot()[0]["active"] == 0
    assert front.state.queue.active == 0


async def test_who_would_wait_too_long_is_told_at_once(clock: Clock) -> None:
    front = Front(clock, {"requests_per_minute": 1, "wait": 5.0})
    await through(front, call_of())
    assert (await front.refused(call_of())).retry_after == pytest.approx(60.0)


async def test_a_wait_ends_in_a_refusal(clock: Clock) -> None:
    front = Front(clock, {"max_concurrent": 1, "wait": 0.02})
    task = await front.start(call_of())
    await front.refused(call_of())
    short = call_of()
    short.limits = {"queue_timeout": 0.005}
    with pytest.raises(QueueTimeout):
        await front.policy(short)
    await front.end()
    await task


async def test_a_caller_who_leaves_the_queue_takes_nothing(clock: Clock) -> None:
    front = Front(clock, {"max_concurrent": 1, "wait": 5.0})
    first = await front.start(call_of())
    leaving, staying = await front.start(call_of()), await front.start(call_of())
    leaving.cancel()
    await settle()
    front.gates[0].set_result(text_reply())
    staying.cancel()  # in the same turn in which it is let in
    await asyncio.gather(first, leaving, staying, return_exceptions=True)
    assert front.limits.snapshot()[0]["active"] == 0
    assert front.state.queue.snapshot()["active"] == front.state.queue.snapshot()["queued"] == 0


async def test_the_number_of_holders_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_rules, "MOST_HOLDERS", 50)
    front = Front(clock, {"requests_per_minute": 1, "tenant": "*"})
    held = await front.start(call_of("held"))
    for number in range(500):
        await through(front, call_of(f"tenant-{number}"))
    assert len(front.limits.snapshot()) <= 51
    await front.refused(call_of("held"))
    await front.end()
    await held
