"""Hedging: when a second attempt begins, who wins, and that what loses is let go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import ConfigurationError, QueueTimeout, RateLimited, ServerError
from ipfs_accelerate_py.pipeline.hedging import BURST, ENOUGH, HORIZON, WINDOW, Hedging, HedgingPolicy, Window
from ipfs_accelerate_py.types import Attempt, Call, Chunk, Operation, Reply
from tests.upstreams import eventually

from .support import Backend, Clock, Source, make_call, settle, stream_reply, text_reply

pytestmark = pytest.mark.virtual_time

SOON = 0.01


class Waiting:
    """An attempt that waits until it is told how it ends, and knows whether it was cancelled."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.cancelled = False
        self.call: Call | None = None

    async def __call__(self, call: Call) -> Reply:
        self.call = call
        call.asked.append("target")
        try:
            reply: Reply = await self.outcome
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return reply


def policy(*plays: Any, **settings: Any) -> tuple[HedgingPolicy, Backend]:
    backend = Backend(*plays)
    return HedgingPolicy(backend, Hedging(**{"after": SOON, "most_share": 1.0, **settings})), backend


async def two(**settings: Any) -> tuple[asyncio.Task[Reply], Waiting, Waiting, HedgingPolicy]:
    """A call with both attempts under way."""
    first, second = Waiting(), Waiting()
    made, _ = policy(first, second, **settings)
    task = asyncio.create_task(made(make_call()))
    await eventually(lambda: second.call is not None)
    return task, first, second, made


# --- who wins ----------------------------------------------------------------------------------------------------


async def test_a_call_that_answers_soon_has_no_second_attempt() -> None:
    made, backend = policy()
    assert (await made(make_call())).text == "hi"
    await asyncio.sleep(2 * SOON)
    assert len(backend.calls) == 1


async def test_the_second_answers_first() -> None:
    task, first, second, made = await two()
    second.outcome.set_result(text_reply("second"))
    assert (await task).text == "second"
    assert first.cancelled
    assert task.cancelling() == 0
    assert made.state.snapshot() == {"calls": 1, "hedged": 1, "won": 1}


async def test_the_first_answers_first() -> None:
    task, first, second, made = await two()
    first.outcome.set_result(text_reply("first"))
    assert (await task).text == "first"
    await settle()
    assert second.cancelled
    assert made.state.snapshot() == {"calls": 1, "hedged": 1, "won": 0}


async def test_both_answer_at_once_and_the_loser_is_let_go() -> None:
    for order in ((0, 1), (1, 0)):
        task, first, second, _ = await two()
        sources = Source([Chunk("x")]), Source([Chunk("x")])
        attempts = (first, second)
        for index in order:
            attempts[index].outcome.set_result(stream_reply(sources[index], Chunk("a")))
        reply = await task
        await settle()
        assert reply.stream is not None
        assert sum(source.aborted for source in sources) + first.cancelled + second.cancelled == 1
        assert [chunk.text async for chunk in reply.stream] == ["a", "x"]


async def test_the_first_fails_and_the_second_is_waited_for() -> None:
    task, first, second, _ = await two()
    first.outcome.set_exception(ServerError("first"))
    await settle()
    assert not task.done()
    second.outcome.set_result(text_reply("second"))
    assert (await task).text == "second"


async def test_the_second_fails_and_the_first_is_waited_for() -> None:
    task, first, second, _ = await two()
    second.outcome.set_exception(ServerError("second"))
    await settle()
    assert not task.done()
    first.outcome.set_result(text_reply("first"))
    assert (await task).text == "first"


async def test_of_two_failures_the_first_attempts_is_told() -> None:
    task, first, second, _ = await two()
    second.outcome.set_exception(RateLimited("second"))
    first.outcome.set_exception(ServerError("first"))
    with pytest.raises(ServerError, match="first"):
        await task
    task, first, second, _ = await two()
    first.outcome.set_exception(ServerError("first"))
    await settle()
    second.outcome.set_exception(RateLimited("second"))
    with pytest.raises(ServerError, match="first"):
        await task


@pytest.mark.parametrize("failed", [True, False])
async def test_the_caller_leaves_and_both_are_cancelled(failed: bool) -> None:
    task, first, second, _ = await two()
    if failed:
        first.outcome.set_exception(ServerError("first"))
        await settle()
    task.cancel()
    await settle()
    assert second.cancelled
    assert first.cancelled is not failed
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_caller_leaves_just_when_the_second_answers() -> None:
    task, first, second, _ = await two()
    source = Source()
    second.outcome.set_result(stream_reply(source, Chunk("a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert (first.cancelled, source.aborted + second.cancelled) == (True, 1)


async def test_it_works_inside_a_limit_of_time_of_the_callers() -> None:
    first, second = Waiting(), Waiting()
    made, _ = policy(first, second)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5 * SOON):
            await made(make_call())
    await settle()
    assert first.cancelled
    assert second.cancelled


# --- what the second attempt is ----------------------------------------------------------------------------------


async def test_the_second_never_waits_and_goes_to_somebody_else() -> None:
    task, first, second, _ = await two()
    assert first.call is not None
    assert second.call is not None
    assert first.call.limits is None
    assert second.call.limits == {"queue_timeout": 0.0}
    assert (second.call.avoid, second.call.patience) == (("target",), 0.0)
    second.call.attempts.append(Attempt(1, "key", 0.1))
    assert not first.call.attempts
    second.outcome.set_result(text_reply())
    await task
    assert len(first.call.attempts) == 1


async def test_a_second_attempt_that_found_no_room_is_not_counted() -> None:
    task, first, second, made = await two(most_share=0.1)
    second.outcome.set_exception(QueueTimeout("no room"))
    await settle()
    assert made.state.snapshot()["hedged"] == 0
    assert made.state.credit == pytest.approx(1.1)
    first.outcome.set_result(text_reply())
    await task


async def test_at_most_a_share_of_the_calls_is_hedged() -> None:
    async def slow(call: Call) -> Reply:
        await asyncio.sleep(5 * SOON)
        return text_reply()

    made, _ = policy(*([slow] * 200), most_share=0.1)
    await asyncio.gather(*(made(make_call()) for _ in range(100)))
    assert made.state.hedged == 11 or made.state.hedged == 10 == BURST


async def test_which_operations_are_hedged() -> None:
    state = Hedging(SOON)
    for operation, hedged in ((Operation.CHAT, True), (Operation.RAW, False), (Operation.STORE, False)):
        call = make_call()
        call.operation = operation
        assert (state.after_of(call) is not None) is hedged
    assert Hedging(SOON, operations=["embed"]).after_of(make_call()) is None


async def test_a_calls_own_time_goes_before_the_general_one() -> None:
    own: dict[str, float | str] = {"m": 0.5}
    only_own = Hedging(None, after_of=lambda call: own.get(call.request.model))
    assert only_own.after_of(make_call()) == 0.5
    assert only_own.after_of(make_call(model="other")) is None
    assert Hedging(2.0, after_of=lambda call: own.get(call.request.model)).after_of(make_call(model="other")) == 2.0


@pytest.mark.parametrize("after", [0, -1, True, "p0", "p100", "95", "slow", float("inf"), float("nan")])
def test_values_that_make_no_sense(after: Any) -> None:
    with pytest.raises(ConfigurationError, match="after must be"):
        Hedging(after)
    with pytest.raises(ConfigurationError, match="most_share"):
        Hedging(1.0, most_share=0)


# --- measuring ---------------------------------------------------------------------------------------------------


async def test_nothing_is_hedged_before_enough_was_measured(clock: Clock) -> None:
    made, _ = policy(after="p95", clock=clock)
    call = make_call()
    for number in range(ENOUGH):
        assert made.state.delay(call, "p95") is None, number
        made.state.ended(call, 0.1 * number)
    assert made.state.delay(call, "p95") == pytest.approx(1.8)
    assert made.state.delay(make_call(stream=True), "p95") is None
    assert made.state.delay(make_call(model="other"), "p95") is None
    clock.advance(HORIZON + 1)
    assert made.state.delay(call, "p95") is None


@given(st.lists(st.floats(0, 100), min_size=ENOUGH, max_size=2 * WINDOW), st.integers(1, 99))
def test_a_quantile_is_that_of_the_last_ones(seconds: list[float], percent: int) -> None:
    window = Window(Clock())
    for each in seconds:
        window.add(each)
    last = sorted(seconds[-WINDOW:])
    found = window.quantile(percent / 100)
    assert found is not None
    assert len(window) == len(last)
    assert sum(each <= found for each in last) >= percent / 100 * len(last)
    assert sum(each < found for each in last) <= percent / 100 * len(last)
