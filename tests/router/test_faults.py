"""The sixteen faults with a fallback at hand: for asynchronous and ordinary callers, streaming and not.

Whatever the fault: the whole answer comes, from whom it should, inside the deadline; the first target is not asked more
often than it should be; the next call is answered; and everything held is given back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncRouter, Router, Usage
from ipfs_accelerate_py.errors import AccelerateError, ContentFiltered, ContextLengthExceeded, InvalidRequest
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

from .support import QUICK, nothing_held, nothing_held_sync, target

MODES = ["async unary", "async stream", "sync unary", "sync stream"]
every_mode = pytest.mark.parametrize("mode", MODES)
SETTINGS: dict[str, Any] = {
    **QUICK,
    "max_retries": 2,
    "initial_retry_delay": 0.01,
    "max_retry_delay": 5.0,
    "idle_timeout": 10.0,
    "first_byte_timeout": 10.0,
    "first_content_timeout": 10.0,
}
#: Seconds a call may take. A limit that is to strike is set by the test that waits for it; no other may.
DEADLINE = 40.0


@dataclass
class Seen:
    """What the caller saw, and whom it cost what."""

    text: str = ""
    backend_model: str = ""
    attempts: int = 0
    usage: Usage | None = None
    error: AccelerateError | None = None
    seconds: float = 0.0
    first: int = 0
    second: int = 0


async def ask(router: AsyncRouter, stream: bool, seen: Seen) -> None:
    began = time.monotonic()
    try:
        if stream:
            running = router.stream("smart", "Hello", timeout=DEADLINE)
            async for chunk in running:
                assert not chunk.restart
                seen.text += chunk.text
            seen.usage = running.usage
            assert running.reply is not None
            reply = running.reply
        else:
            reply = await router.chat("smart", "Hello", timeout=DEADLINE)
            seen.text, seen.usage = reply.text, reply.usage
        seen.backend_model, seen.attempts = reply.target_model, reply.attempts
    except AccelerateError as error:
        seen.error = error
    seen.seconds = time.monotonic() - began


def ask_sync(router: Router, stream: bool, seen: Seen) -> None:
    if not stream:
        router.portal().call(ask, router.asynchronous, False, seen)
        return
    began = time.monotonic()
    try:
        running = router.stream("smart", "Hello", timeout=DEADLINE)
        for chunk in running:
            assert not chunk.restart
            seen.text += chunk.text
        seen.usage = running.usage
        assert running._inner.reply is not None
        seen.backend_model, seen.attempts = running._inner.reply.target_model, running._inner.reply.attempts
    except AccelerateError as error:
        seen.error = error
    seen.seconds = time.monotonic() - began


def play(mode: str, first: SimulatorThread, second: SimulatorThread, **options: Any) -> Seen:
    """One call of the alias, then a healthy one, and nothing held after either."""
    stream = mode.endswith("stream")
    seen, after = Seen(), Seen()
    before = len(first.requests), len(second.requests)
    settings = {**SETTINGS, **options}
    aliases = settings.pop("aliases", None) or {"smart": [target(first, "m-1"), target(second, "m-1")]}

    def count() -> None:
        seen.first = len(first.requests) - before[0]
        seen.second = len(second.requests) - before[1]
        first.clear()
        second.clear()

    async def asynchronous() -> None:
        async with AsyncRouter(aliases, **settings) as router:
            await ask(router, stream, seen)
            await nothing_held(router)
            count()
            await ask(router, stream, after)
            await nothing_held(router)

    if mode.startswith("async"):
        asyncio.run(asynchronous())
    else:
        with Router(aliases, **settings) as router:
            ask_sync(router, stream, seen)
            nothing_held_sync(router)
            count()
            ask_sync(router, stream, after)
            nothing_held_sync(router)
    assert after.error is None, after.error
    assert seen.seconds < DEADLINE + 15, "the call did not end inside its deadline"
    if seen.error is None:
        assert seen.text == after.text, "not the whole answer"
        assert seen.usage is not None
        assert seen.usage.reported
    return seen


def rescued(seen: Seen, first: int, second: int) -> Seen:
    assert seen.error is None, repr(seen.error)
    assert (seen.first, seen.second) == (first, second)
    assert seen.attempts == first + second
    return seen


# --- the numbered faults -----------------------------------------------------------------------------------------


@every_mode
def test_1_limited_with_retry_after_moves_on_at_once(
    mode: str, first: SimulatorThread, second: SimulatorThread
) -> None:
    first.script(Fault.status(429, retry_after=20))
    assert rescued(play(mode, first, second), 1, 1).seconds < 10


@every_mode
def test_1_limited_everywhere_waits_for_the_soonest(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.script(Fault.status(429, retry_after=15))
    second.script(Fault.status(429, retry_after=0.4))
    seen = rescued(play(mode, first, second), 1, 2)
    assert 0.4 <= seen.seconds < 10, "neither too early nor by the wrong target"


@every_mode
def test_2_limited_for_ever(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(429))
    rescued(play(mode, first, second), 3, 1)


@every_mode
def test_2_limited_for_ever_everywhere(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(429))
    second.always(Fault.status(429))
    seen = play(mode, first, second)
    assert type(seen.error).__name__ == "RateLimited"
    assert (seen.first, seen.second) == (3, 3)
    assert seen.error is not None
    assert seen.error.fallbacks == ("openai/m-1#2: RateLimited (429)",)
    assert seen.error.attempts == 6  # type: ignore[attr-defined]


@every_mode
def test_3_failed_once(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.script(Fault.status(500))
    rescued(play(mode, first, second), 2, 0)


@every_mode
def test_4_and_16_failing_for_ever(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    """The answer names the fallback's model, and its usage is that of one answer."""
    first.always(Fault.status(503))
    aliases = {"smart": [target(first, "m-1"), target(second, "m-2")]}
    seen = play(mode, first, second, aliases=aliases) if "unary" not in mode else None
    if seen is None:
        seen = Seen()
        with Router(aliases, **SETTINGS) as router:
            ask_sync(router, False, seen)
            usage = router.snapshot()["usage"]
            assert (usage["total_requests"], usage["output_tokens"]) == (1, 20)
        seen.first, seen.second = 3, 1
    assert seen.error is None
    assert seen.backend_model == "m-2"
    assert seen.attempts == 4
    assert seen.usage is not None
    assert seen.usage.output_tokens == 20


@every_mode
def test_5_reset_before_any_byte(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.reset())
    seen = play(mode, first, second)
    assert seen.error is None
    assert seen.second == 1


@every_mode
def test_6_a_silent_route_is_asked_once(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.hang())
    assert 0.3 <= rescued(play(mode, first, second, first_byte_timeout=0.3), 1, 1).seconds < 5


@every_mode
def test_6_two_silent_routes_are_asked_once_each(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.hang())
    second.always(Fault.hang())
    seen = play(mode, first, second, first_byte_timeout=0.3)
    assert type(seen.error).__name__ == "ReadTimeout"
    assert (seen.first, seen.second) == (1, 1)


@every_mode
def test_7_slow_to_begin_moves_on(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.stall(seconds=20))
    assert 0.2 <= rescued(play(mode, first, second, first_content_timeout=0.2), 1, 1).seconds < 10


@every_mode
def test_7_slow_to_begin_and_nobody_else(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    """Without a fallback it is waited for, inside the deadline."""
    first.always(Fault.stall(seconds=0.8))
    seen = rescued(play(mode, first, second, aliases={"smart": [target(first)]}, first_content_timeout=0.2), 1, 0)
    assert seen.seconds >= 0.8
    second.always(Fault.status(503))
    aliases = {"smart": [target(second), target(first)]}
    seen = play(mode, first, second, aliases=aliases, first_content_timeout=0.2)
    assert seen.error is None, "the last of several is waited for as well"


@every_mode
@pytest.mark.parametrize("fault", [Fault.cut(after=8), Fault.silence(after=8)], ids=["8", "9"])
def test_8_and_9_broken_in_the_middle(mode: str, fault: Fault, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(fault)
    seen = play(mode, first, second, idle_timeout=1.0)
    assert seen.error is None, repr(seen.error)
    assert seen.second == 1


@every_mode
@pytest.mark.parametrize("fault", [Fault.cut(after=8), Fault.silence(after=8)], ids=["8", "9"])
def test_8_and_9_told_as_errors(mode: str, fault: Fault, first: SimulatorThread, second: SimulatorThread) -> None:
    """Where that is asked for, a stream that breaks ends in its error, and its slot and connection are given back."""
    first.always(fault)
    seen = play(mode, first, second, mid_stream="error", idle_timeout=1.0)
    if "stream" in mode:
        assert type(seen.error).__name__ in ("StreamCut", "ReadTimeout")
        assert seen.second == 0
    else:
        assert seen.error is None


@every_mode
def test_10_one_event_that_is_not_json(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    if "unary" in mode:
        first.always(Fault.bad_json())
        rescued(play(mode, first, second), 1, 1)
    else:
        first.always(Fault.bad_json(at=6, data="{not json"))
        rescued(play(mode, first, second), 1, 0)
        first.always(Fault.bad_json(at=6, replace=True))
        assert play(mode, first, second).error is None, "a missing piece is made good by the fallback"


@every_mode
def test_11_complete_without_its_terminator(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.no_done(hold=True))
    assert rescued(play(mode, first, second), 1, 0).seconds < 5


@every_mode
def test_12_too_long_goes_to_a_larger_context(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.context_length_exceeded())
    small, large = target(first, "m-1", context_window=8000), target(second, "m-2", context_window=100_000)
    seen = play(mode, first, second, aliases={"smart": [small, target(first, "m-3"), large]})
    assert seen.backend_model == "m-2"
    assert (seen.first, seen.second) == (1, 1)
    first.always(Fault.context_length_exceeded())
    aliases = {
        "smart": [target(first, "m-1"), target(first, "m-3")],
        "long": [target(first, "m-1"), target(second, "m-4")],
    }
    seen = play(mode, first, second, aliases=aliases, context_fallbacks={"smart": ["long"]})
    assert seen.backend_model == "m-4", "never the same model again"
    assert (seen.first, seen.second) == (1, 1)


@every_mode
def test_12_too_long_for_all(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.context_length_exceeded())
    seen = play(mode, first, second)
    assert isinstance(seen.error, ContextLengthExceeded)
    assert (seen.first, seen.second) == (1, 0)


@every_mode
def test_13_refused_by_a_content_policy(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.content_policy_violation())
    seen = play(mode, first, second)
    assert isinstance(seen.error, ContentFiltered)
    assert "safety system" in str(seen.error)
    assert (seen.first, seen.second) == (1, 0)
    first.always(Fault.content_policy_violation())
    aliases = {"smart": [target(first)], "other": [target(second)]}
    rescued(play(mode, first, second, aliases=aliases, content_policy_fallbacks={"smart": ["other"]}), 1, 1)


@every_mode
def test_14_the_fallbacks_refusal_never_stands_for_the_first_failure(
    mode: str, first: SimulatorThread, second: SimulatorThread
) -> None:
    first.always(Fault.status(503))
    second.always(Fault.status(400))
    seen = play(mode, first, second)
    assert type(seen.error).__name__ == "ServerError"
    assert seen.error is not None
    assert seen.error.fallbacks == ("openai/m-1#2: InvalidRequest (400)",)
    assert (seen.first, seen.second) == (3, 1)


@every_mode
def test_a_wrong_request_is_wrong_everywhere(mode: str, first: SimulatorThread, second: SimulatorThread) -> None:
    first.always(Fault.status(400, param="n", message="n is wrong"))
    seen = play(mode, first, second)
    assert type(seen.error) is InvalidRequest
    assert (seen.first, seen.second) == (1, 0)


@every_mode
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(401),
        Fault.status(402),
        Fault.insufficient_quota(),
        Fault.model_not_found(),
        Fault.html(),
        Fault.not_object(),
        Fault.redirect(),
        Fault.big_headers(size=64 * 1024),
        Fault.malformed("garbage"),
        Fault.status(500, should_retry=False),
    ],
    ids=str,
)
def test_what_this_target_cannot_another_may(
    mode: str, fault: Fault, first: SimulatorThread, second: SimulatorThread
) -> None:
    first.always(fault)
    rescued(play(mode, first, second), 1, 1)
