"""When a call moves on, and when it waits: breakers, rate limits, queues, deadlines, callers who leave."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from ipfs_accelerate_py import Alias
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BudgetExceeded,
    CircuitOpen,
    ConfigurationError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    MissingCredential,
    ModelNotFound,
    ProtocolError,
    QueueFull,
    QuotaExhausted,
    RateLimited,
    ReadTimeout,
    RuntimeUnavailable,
    ServerError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.router.attempt import attempt_call
from ipfs_accelerate_py.router.route import PATIENCE, Route
from ipfs_accelerate_py.router.verdicts import Move, move, told
from ipfs_accelerate_py.settings import Timeouts
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.types import Priority, RawRequest
from tests.upstreams import eventually

from .support import chat_call, held, make_routed, nothing_held, quick, target

pytestmark = pytest.mark.virtual_time

# --- verdicts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (ContextLengthExceeded("x", backend="openai"), Move.LARGER),
        (ContentFiltered("x", backend="openai"), Move.POLICY),
        (ModelNotFound("x", backend="openai"), Move.NEXT),
        (InvalidRequest("x", backend="openai", status=400), Move.STOP),
        (InvalidRequest("no option 'n'", status=400), Move.NEXT),  # of ours: nothing was sent
        (BudgetExceeded("x"), Move.STOP),
        *(
            (kind("x"), Move.NEXT)
            for kind in (
                AuthenticationError, QuotaExhausted, RateLimited, ServerError, ReadTimeout, ProtocolError, QueueFull,
                CircuitOpen, UnsupportedOperation, MissingCredential, RuntimeUnavailable,
            )
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_where_a_call_goes_after_an_error(error: Any, where: Move) -> None:
    assert move(error, first=True) is where
    if where is Move.STOP and isinstance(error, InvalidRequest):
        assert move(error, first=False) is Move.NEXT, "a fallback's refusal is not the last word"


def test_what_others_said_holds_no_words_of_theirs() -> None:
    assert told("claude/m", RateLimited("the secret", status=429)) == "claude/m: RateLimited (429)"
    assert told("local/m", QueueFull("the secret")) == "local/m: QueueFull"


# --- the call for a target ---------------------------------------------------------------------------------------


async def test_the_first_content_limit_is_for_those_who_are_not_the_last() -> None:
    each = make_routed("a")
    each.backend.settings.first_content_timeout = 6

    def limits(patience: float | None, **options: Any) -> Any:
        return attempt_call(chat_call(**options), each, "smart", patience, time.monotonic).limits

    assert limits(PATIENCE) is None
    assert limits(None) == {"first_content_timeout": None}
    assert limits(None, limits={"idle_timeout": 3.0}) == {"idle_timeout": 3.0, "first_content_timeout": None}
    assert limits(None, limits={"first_content_timeout": 2.0}) == {"first_content_timeout": 2.0}, "the caller's own"
    assert limits(None, timeouts=Timeouts(first_content=2.0)) is None
    each.backend.settings.first_content_timeout = None
    assert limits(None) is None


async def test_a_silent_stream_leaves_half_of_the_time_to_others() -> None:
    each = make_routed("a")
    clock = time.monotonic

    def first_byte(patience: float | None, seconds: float, **options: Any) -> float | None:
        call = chat_call(**{"stream": True, "deadline": clock() + seconds, **options})
        limits = attempt_call(call, each, "smart", patience, clock).limits
        return None if limits is None else limits.get("first_byte_timeout")

    assert first_byte(PATIENCE, 10) == pytest.approx(5, abs=0.1)
    assert first_byte(None, 10) is None, "the last one has all of it"
    assert first_byte(PATIENCE, 10, stream=False) is None, "an answer in one piece may take its time"
    assert first_byte(PATIENCE, 600) is None
    assert first_byte(PATIENCE, 10, limits={"first_byte_timeout": 8.0}) == 8.0
    each.backend.settings.first_byte_timeout = 9
    assert first_byte(PATIENCE, 10) is None


async def test_a_targets_own_total_and_its_model_in_a_body_of_ones_own_words() -> None:
    each = make_routed("a", total_timeout=2, model="m-7")
    each.backend.settings.total_timeout = 2
    call = chat_call(deadline=time.monotonic() + 100)
    assert attempt_call(call, each, "smart", None, time.monotonic).deadline == pytest.approx(
        time.monotonic() + 2, abs=0.1
    )
    call.request = RawRequest("/x", {"model": "smart", "n": 1}, model="smart")
    made = attempt_call(call, each, "smart", None, time.monotonic)
    assert made.request.body == {"model": "m-7", "n": 1}  # type: ignore[union-attr]
    assert call.request.body == {"model": "smart", "n": 1}


# --- breakers ----------------------------------------------------------------------------------------------------


async def test_15_an_open_breaker_one_probe_and_back(first: SimulatorThread, second: SimulatorThread) -> None:
    settings = {"circuit_failure_threshold": 3, "circuit_reset_timeout": 0.3, "max_retries": 0}
    async with quick({"smart": [target(first, "m-1"), target(second, "m-2")]}, **settings) as router:
        first.always(Fault.status(503))
        before = len(first.requests)
        models = [(await router.chat("smart", "Hello")).target_model for _ in range(8)]
        assert models == ["m-2"] * 8
        assert len(first.requests) - before == 3, "the open breaker's target is not asked"
        assert router.snapshot()["targets"]["openai/m-1"]["circuit"]["state"] == "OPEN"
        await asyncio.sleep(0.31)
        replies = await asyncio.gather(*(router.chat("smart", "Hello") for _ in range(20)))
        assert {reply.target_model for reply in replies} == {"m-2"}
        assert len(first.requests) - before == 4, "exactly one probe"
        first.clear()
        await asyncio.sleep(0.31)
        assert (await router.chat("smart", "Hello")).target_model == "m-1"
        assert (await router.chat("smart", "Hello")).target_model == "m-1"
        assert router.snapshot()["targets"]["openai/m-1"]["circuit"]["state"] == "CLOSED"
        await nothing_held(router)


async def test_with_every_breaker_open_the_first_ones_refusal_is_told(
    first: SimulatorThread, second: SimulatorThread
) -> None:
    first.always(Fault.status(503))
    second.always(Fault.status(503))
    settings = {"circuit_failure_threshold": 1, "circuit_reset_timeout": 60, "max_retries": 0}
    async with quick({"smart": [target(first, "m-1"), target(second, "m-2")]}, **settings) as router:
        with pytest.raises(ServerError) as failed:
            await router.chat("smart", "Hello")
        assert failed.value.fallbacks == ("openai/m-2: ServerError (503)",)
        with pytest.raises(CircuitOpen) as refused:
            await router.chat("smart", "Hello")
        assert refused.value.fallbacks == ("openai/m-2: CircuitOpen",)
        assert 50 < (refused.value.retry_after or 0) <= 60
        await nothing_held(router)


async def test_behind_an_open_breaker_a_verdict_on_the_words_is_told(
    first: SimulatorThread, second: SimulatorThread
) -> None:
    first.always(Fault.status(503))
    settings = {"circuit_failure_threshold": 1, "circuit_reset_timeout": 60, "max_retries": 0}
    async with quick({"smart": [target(first, "m-1"), target(second, "m-2")]}, **settings) as router:
        assert (await router.chat("smart", "Hello")).target_model == "m-2"
        for fault, kind in (
            (Fault.content_policy_violation(), ContentFiltered),
            (Fault.context_length_exceeded(), ContextLengthExceeded),
        ):
            second.always(fault)
            with pytest.raises(kind) as refused:
                await router.chat("smart", "Hello")
            assert refused.value.fallbacks == ("openai/m-1: CircuitOpen",)
        second.always(Fault.status(400))
        with pytest.raises(CircuitOpen) as down:  # of a fallback's other refusals nobody knows whose fault they are
            await router.chat("smart", "Hello")
        assert down.value.fallbacks == ("openai/m-2: InvalidRequest (400)",)


async def test_an_outage_is_not_multiplied(first: SimulatorThread) -> None:
    """Of retries there is a share of the calls and a few more; then each call asks once."""
    first.always(Fault.status(503))
    settings = {"max_retries": 3, "circuit_failure_threshold": 10_000, "initial_retry_delay": 0.0}
    async with quick({"smart": [target(first)]}, **settings) as router:
        before = len(first.requests)
        for _ in range(60):
            with pytest.raises(ServerError):
                await router.chat("smart", "Hello")
        asked = len(first.requests) - before
        assert 60 + 10 <= asked <= 60 * 1.2 + 10 + 2
        assert router.snapshot()["targets"]["openai/m-1"]["retries_refused"] > 30


# --- rate limits and queues --------------------------------------------------------------------------------------


async def test_a_limit_that_lasts_is_not_waited_for_by_those_who_come_after(
    first: SimulatorThread, second: SimulatorThread
) -> None:
    async with quick({"smart": [target(first, "m-1"), target(second, "m-2")]}) as router:
        first.script(Fault.status(429, retry_after=20))
        before = len(first.requests)
        began = time.monotonic()
        for _ in range(3):
            assert (await router.chat("smart", "Hello")).target_model == "m-2"
        assert time.monotonic() - began < 1
        assert len(first.requests) - before == 1
        await nothing_held(router)


async def test_rates_of_our_own_overflow_to_the_next(first: SimulatorThread, second: SimulatorThread) -> None:
    aliases = {"smart": [target(first, "m-1", requests_per_minute=2), target(second, "m-2")]}
    async with quick(aliases) as router:
        models = [(await router.chat("smart", "Hello")).target_model for _ in range(4)]
        assert models == ["m-1", "m-1", "m-2", "m-2"]


async def test_a_full_queue_and_a_long_wait_in_it_move_on(first: SimulatorThread, second: SimulatorThread) -> None:
    busy = {"max_concurrent_requests": 1, "queue_size": 1, "queue_timeout": 0.1}
    async with quick({"smart": [target(first, "m-1", **busy), target(second, "m-2")]}) as router:
        first.always(Fault.latency(0.6))
        replies = await asyncio.gather(*(router.chat("smart", "Hello") for _ in range(4)))
        assert [reply.target_model for reply in replies] == ["m-1", "m-2", "m-2", "m-2"]
        assert [reply.attempts for reply in replies] == [1, 1, 1, 1], "who was never sent is no attempt"
        await nothing_held(router)


async def test_a_priority_raised_later_reaches_the_queue(first: SimulatorThread) -> None:
    async with quick({"smart": [target(first, max_concurrent_requests=1)]}) as router:
        first.always(Fault.latency(0.2))
        alias = router.aliases["smart"]
        running = asyncio.create_task(router.route(chat_call()))
        call = chat_call(priority=Priority.LOW)
        waiting = asyncio.create_task(Route(alias, call).open())
        admission = router.targets["openai/m-1"].backend.pipeline.admission
        await eventually(lambda: admission.queued == [0, 0, 1])
        assert call.hurry is not None
        call.hurry(Priority.HIGH)
        assert admission.queued == [1, 0, 0]
        await asyncio.gather(running, waiting)
        assert call.hurry is None
        assert call.queued > 0.1, "what was waited for is the caller's"


async def test_what_is_to_be_avoided_is_left_out_while_there_are_others(
    first: SimulatorThread, second: SimulatorThread
) -> None:
    async with quick({"smart": [target(first, "m-1"), target(second, "m-2")], "one": [target(first, "m-3")]}) as router:
        call = chat_call(avoid=("openai/m-1",))
        assert (await router.route(call)).target_model == "m-2"
        assert call.asked == ["openai/m-2"]
        assert (await router.route(chat_call("one", avoid=("openai/m-3",)))).target_model == "m-3"
        second.always(Fault.status(400))
        with pytest.raises(InvalidRequest):
            await router.route(chat_call(avoid=("openai/m-1",)))


async def test_a_target_that_cannot_is_passed_by(first: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    from ipfs_accelerate_py import Target

    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    keyless = Target("claude", "claude-1")
    async with quick({"smart": [keyless, target(first)], "sad": [keyless]}) as router:
        assert (await router.chat("smart", "Hello")).target_model == "m-1"
        assert (await router.embed("smart", "Hello")).target_model == "m-1"
        with pytest.raises(MissingCredential, match="ANTHROPIC_API_KEY"):
            await router.chat("sad", "Hello")


# --- deadlines and leaving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_is_one_for_all(stream: bool, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.hang())
    second.always(Fault.hang())
    aliases = {"smart": [target(first, first_byte_timeout=0.3), target(second, "m-2")]}
    async with quick(aliases) as router:
        began = time.monotonic()
        with pytest.raises(ReadTimeout):
            if stream:
                await router.stream("smart", "Hello", timeout=0.6).collect()
            else:
                await router.chat("smart", "Hello", timeout=0.6)
        assert 0.55 < time.monotonic() - began < 1.1
        await nothing_held(router)


async def test_nobody_is_asked_after_the_deadline(first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.hang())
    before = len(second.requests)
    async with quick({"smart": [target(first), target(second)]}) as router:
        with pytest.raises(ReadTimeout, match="deadline"):
            await router.chat("smart", "Hello", timeout=0.2)
        assert len(second.requests) == before


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [0.0, 0.02, 0.15])
async def test_a_caller_who_leaves(stream: bool, after: float, first: SimulatorThread, second: SimulatorThread) -> None:
    """Before the first target has failed, and while the second is asked."""
    first.always(Fault.hang())
    second.always(Fault.hang())
    async with quick({"smart": [target(first, first_byte_timeout=0.08), target(second, "m-2")]}) as router:

        async def ask() -> None:
            if stream:
                await router.stream("smart", "Hello").collect()
            else:
                await router.chat("smart", "Hello")

        task = asyncio.create_task(ask())
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_held(router)
        await eventually(lambda: first.in_flight == second.in_flight == 0)
        assert router.snapshot()["usage"]["failed_requests"] == 0


async def test_a_stream_that_is_dropped_gives_everything_back(first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(503))
    second.always(Fault.silence(after=3))
    async with quick({"smart": [target(first), target(second, "m-2")]}) as router:
        stream = router.stream("smart", "Hello")
        async for _ in stream:
            break
        assert held(router)["openai/m-2"]["outstanding"] == 1
        del stream
        gc.collect()
        await nothing_held(router)


async def test_a_rescued_call_leaves_no_circle_behind(first: SimulatorThread, second: SimulatorThread) -> None:
    """An error holds its frames by its traceback: nothing here may wait for the collector."""
    first.always(Fault.status(503))
    async with quick({"smart": [target(first), target(second)]}) as router:
        await router.chat("smart", "Hello")
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await router.chat("smart", "Hello")
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            circles = [each for each in gc.garbage if isinstance(each, Route | ServerError)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert circles == []


async def test_fifty_at_once_while_the_primary_dies(first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(503))
    wide: dict[str, Any] = {"max_concurrent_requests": 100}
    async with quick(
        {"smart": [target(first, **wide), target(second, "m-2", **wide)]}, circuit_failure_threshold=5
    ) as router:
        replies = await asyncio.gather(*(router.chat("smart", "Hello") for _ in range(50)))
        assert {reply.target_model for reply in replies} == {"m-2"}
        await nothing_held(router)
        usage = router.snapshot()["usage"]
        assert (usage["total_requests"], usage["successful_requests"], usage["output_tokens"]) == (50, 50, 1000)


async def test_no_way_is_told_as_such(first: SimulatorThread) -> None:
    async with quick({"smart": Alias([target(first)])}) as router:
        route = Route(router.aliases["smart"], chat_call())
        with pytest.raises(ConfigurationError, match="in this way"):
            await route.open(lambda call, each: None)
        assert (await route.open()).text, "passed by once is not for ever"
