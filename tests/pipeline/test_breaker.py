"""The breaker's arithmetic, and how calls hold their probes."""

from __future__ import annotations

import asyncio

import pytest

from ipfs_accelerate_py.errors import (
    AuthenticationError,
    CircuitOpen,
    ConfigurationError,
    InvalidRequest,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    ServerError,
    StreamCut,
)
from ipfs_accelerate_py.pipeline.breaker import Breaker, BreakerPolicy, BreakerState
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Chunk

from .support import Backend, Clock, Source, make_call, settle, stream_reply, text_reply


def make(clock: Clock, **settings: object) -> Breaker:
    made = Settings()
    made.update({"circuit_failure_threshold": 3, "circuit_reset_timeout": 30.0, **settings})
    return Breaker(made, clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.leave(breaker.enter(), False)


def test_it_opens_at_the_threshold_of_failures_in_a_row(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 2)
    breaker.leave(breaker.enter(), True)
    fail(breaker, 2)
    assert breaker.state == BreakerState.CLOSED
    fail(breaker)
    assert breaker.state == BreakerState.OPEN
    with pytest.raises(CircuitOpen) as caught:
        breaker.enter()
    assert caught.value.retry_after == pytest.approx(30)
    assert not caught.value.outage


def test_time_alone_admits_a_probe_and_no_more_than_that(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 3)
    clock.advance(29.9)
    with pytest.raises(CircuitOpen):
        breaker.enter()
    clock.advance(0.1)
    assert breaker.state == BreakerState.HALF_OPEN
    assert breaker.refusal() is None
    probe = breaker.enter()
    assert probe.probe
    with pytest.raises(CircuitOpen):
        breaker.enter()
    assert isinstance(breaker.refusal(), CircuitOpen)
    breaker.leave(probe, True)
    assert breaker.state == BreakerState.CLOSED
    assert breaker.refusal() is None


def test_a_failed_probe_opens_it_for_the_whole_time_again(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 3)
    clock.advance(30)
    breaker.leave(breaker.enter(), False)
    assert breaker.state == BreakerState.OPEN
    clock.advance(29)
    with pytest.raises(CircuitOpen):
        breaker.enter()
    clock.advance(1)
    assert breaker.enter().probe


def test_a_cancelled_probe_hands_its_place_back(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 3)
    clock.advance(30)
    for _ in range(3):
        breaker.leave(breaker.enter(), None)
        assert breaker.state == BreakerState.HALF_OPEN
    breaker.leave(breaker.enter(), True)
    assert breaker.state == BreakerState.CLOSED


def test_the_success_threshold_and_the_number_of_probes_are_kept(clock: Clock) -> None:
    breaker = make(clock, circuit_success_threshold=3, circuit_half_open_probes=2)
    fail(breaker, 3)
    clock.advance(30)
    one, two = breaker.enter(), breaker.enter()
    with pytest.raises(CircuitOpen):
        breaker.enter()
    breaker.leave(one, True)
    three = breaker.enter()
    breaker.leave(two, True)
    assert breaker.state == BreakerState.HALF_OPEN
    breaker.leave(three, True)
    assert breaker.state == BreakerState.CLOSED


def test_successes_of_an_earlier_half_open_spell_do_not_count(clock: Clock) -> None:
    breaker = make(clock, circuit_success_threshold=2)
    fail(breaker, 3)
    clock.advance(30)
    breaker.leave(breaker.enter(), True)
    breaker.leave(breaker.enter(), False)
    clock.advance(30)
    breaker.leave(breaker.enter(), True)
    assert breaker.state == BreakerState.HALF_OPEN


@pytest.mark.parametrize("healthy", [True, False, None])
def test_an_answer_from_before_says_nothing_of_now(clock: Clock, healthy: bool | None) -> None:
    breaker = make(clock)
    old = breaker.enter()
    fail(breaker, 3)
    breaker.leave(old, healthy)
    assert breaker.state == BreakerState.OPEN
    clock.advance(30)
    probe = breaker.enter()
    older = old
    breaker.leave(older, healthy)
    assert breaker.state == BreakerState.HALF_OPEN
    with pytest.raises(CircuitOpen):
        breaker.enter()  # the old answer has not given the probe's place away either
    breaker.leave(probe, True)
    assert breaker.state == BreakerState.CLOSED
    assert breaker.snapshot()["consecutive_failures"] == 0


def test_a_probe_of_an_earlier_spell_neither_closes_nor_reopens(clock: Clock) -> None:
    breaker = make(clock, circuit_half_open_probes=2)
    fail(breaker, 3)
    clock.advance(30)
    slow, quick = breaker.enter(), breaker.enter()
    breaker.leave(quick, False)
    clock.advance(30)
    now = breaker.enter()
    breaker.leave(slow, True)
    assert breaker.state == BreakerState.HALF_OPEN
    breaker.leave(now, True)
    assert breaker.state == BreakerState.CLOSED


def test_limits_are_read_live(clock: Clock) -> None:
    settings = Settings(circuit_failure_threshold=5, circuit_reset_timeout=30.0)
    breaker = Breaker(settings, clock)
    fail(breaker, 2)
    settings.circuit_failure_threshold = 3
    fail(breaker)
    assert breaker.state == BreakerState.OPEN
    settings.circuit_reset_timeout = 1.0
    clock.advance(1)
    assert breaker.enter().probe


def test_the_snapshot_counts_the_last_minute(clock: Clock) -> None:
    breaker = make(clock, circuit_failure_threshold=100)
    for healthy in (True, False, True, True):
        breaker.leave(breaker.enter(), healthy)
    found = breaker.snapshot()
    assert (found["recent_requests"], found["recent_failures"], found["failure_rate"]) == (4, 1, 25.0)
    clock.advance(30)
    breaker.leave(breaker.enter(), False)
    assert breaker.snapshot()["recent_requests"] == 5
    clock.advance(31)
    assert breaker.snapshot()["recent_requests"] == 1
    clock.advance(600)
    assert breaker.snapshot()["failure_rate"] == 0.0
    assert breaker.snapshot()["state"] == "CLOSED"


def test_reset_closes_by_hand(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 3)
    breaker.reset()
    assert breaker.state == BreakerState.CLOSED
    fail(breaker, 2)
    assert breaker.state == BreakerState.CLOSED


# --- the policy --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("wrong", status=400),
        AuthenticationError("Authentication error", status=401),
        RateLimited("Rate limit", status=429),
        ProtocolError("odd", status=200),
        ConfigurationError("wrong use"),
        KeyError("a bug of ours"),
    ],
)
async def test_only_outages_move_it(clock: Clock, error: Exception) -> None:
    breaker = make(clock, circuit_failure_threshold=1)
    policy = BreakerPolicy(Backend(error), breaker)
    with pytest.raises(type(error)):
        await policy(make_call())
    assert breaker.state == BreakerState.CLOSED


@pytest.mark.parametrize("error", [ServerError("down", status=503), ReadTimeout("silent"), StreamCut("cut")])
async def test_outages_open_it(clock: Clock, error: Exception) -> None:
    breaker = make(clock, circuit_failure_threshold=2)
    policy = BreakerPolicy(Backend(error, error), breaker)
    for _ in range(2):
        with pytest.raises(type(error)):
            await policy(make_call())
    with pytest.raises(CircuitOpen):
        await policy(make_call())


async def test_an_answer_we_do_not_like_is_an_answer(clock: Clock) -> None:
    """A refused key says that the target is up: it closes a half-open breaker."""
    breaker = make(clock)
    fail(breaker, 3)
    clock.advance(30)
    with pytest.raises(AuthenticationError):
        await BreakerPolicy(Backend(AuthenticationError("no", status=401)), breaker)(make_call())
    assert breaker.state == BreakerState.CLOSED


async def test_a_stream_that_breaks_counts_as_a_failure_and_one_that_is_left_does_not(clock: Clock) -> None:
    breaker = make(clock, circuit_failure_threshold=1)
    left = stream_reply(Source([Chunk(text="a")], [Chunk(text="b")]))
    broken = stream_reply(Source([Chunk(text="a")], error=StreamCut("cut")))
    policy = BreakerPolicy(Backend(left, broken), breaker)
    stream = (await policy(make_call(stream=True))).stream
    assert stream is not None
    await anext(stream)
    stream.abort()
    assert breaker.state == BreakerState.CLOSED
    stream = (await policy(make_call(stream=True))).stream
    assert stream is not None
    with pytest.raises(StreamCut):
        [chunk async for chunk in stream]
    assert breaker.state == BreakerState.OPEN


@pytest.mark.parametrize("way", ["cancelled", "left", "dropped", "complete"])
async def test_a_probe_that_is_a_stream_is_answered_by_its_first_content(clock: Clock, way: str) -> None:
    """A long stream must not keep everybody else out until it ends, however that is."""
    breaker = make(clock)
    fail(breaker, 3)
    clock.advance(30)
    source = Source([Chunk(text="a")], [Chunk(text="b")])
    reply = await BreakerPolicy(Backend(stream_reply(source)), breaker)(make_call(stream=True))
    stream = reply.stream
    assert stream is not None
    assert breaker.state == BreakerState.CLOSED
    breaker.leave(breaker.enter(), None)
    if way == "cancelled":
        source.gate = asyncio.Event()
        reader = asyncio.create_task(stream.next_batch())
        await settle()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
    elif way == "left":
        await anext(stream)
        await stream.aclose()
    elif way == "dropped":
        await anext(stream)
        del reply, stream
        await settle()
    else:
        assert [chunk.text async for chunk in stream] == ["a", "b"]
    assert breaker.state == BreakerState.CLOSED
    assert breaker.snapshot()["consecutive_failures"] == 0
    assert source.aborted


async def test_a_probe_whose_stream_breaks_later_is_a_failure_all_the_same(clock: Clock) -> None:
    breaker = make(clock, circuit_failure_threshold=1)
    fail(breaker, 1)
    clock.advance(30)
    source = Source([Chunk(text="a")], error=StreamCut("cut"))
    stream = (await BreakerPolicy(Backend(stream_reply(source)), breaker)(make_call(stream=True))).stream
    assert stream is not None
    assert breaker.state == BreakerState.CLOSED
    with pytest.raises(StreamCut):
        [chunk async for chunk in stream]
    assert breaker.state == BreakerState.OPEN


async def test_a_cancelled_unary_probe_hands_back(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 3)
    clock.advance(30)
    started = asyncio.Event()

    async def hang(call: object) -> object:
        started.set()
        return await asyncio.get_running_loop().create_future()

    policy = BreakerPolicy(Backend(hang, text_reply()), breaker)
    task = asyncio.create_task(policy(make_call()))
    await started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await policy(make_call())).text == "hi"
    assert breaker.state == BreakerState.CLOSED
