"""The policies together: what one leaves to the other."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    CircuitOpen,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamCut,
)
from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.pipeline.keys import KeyPool
from ipfs_accelerate_py.pipeline.ratelimit import Bucket
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Chunk, Priority, Reply
from tests.upstreams import eventually

from .support import Backend, Source, make_call, settle, stream_reply, text_reply

pytestmark = pytest.mark.virtual_time

QUICK = {"initial_retry_delay": 0.001, "max_retry_delay": 0.01}


def make(backend: Any, *keys: str, limits: dict[str, int] | None = None, **settings: Any) -> Pipeline:
    made = Settings()
    made.update({**QUICK, **settings})
    pool = KeyPool(made)
    for name in keys:
        pool.add(name, Secret(f"sk-value-of-{name}"), (limits or {}).get(name))
    return Pipeline(backend, made, pool)


def idle(pipeline: Pipeline) -> bool:
    found = pipeline.snapshot()
    return (
        found["in_flight"] == found["queue"]["active"] == found["queue"]["queued"] == 0
        and all(key["active"] == 0 for key in found["keys"].values())
        and pipeline.breaker._probes == 0
    )


class Upstream:
    """A backend whose calls hang until told; notes who is inside."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.ends: dict[int, asyncio.Future[Any]] = {}
        self.active = 0
        self.most = 0

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self.active += 1
        self.most = max(self.most, self.active)
        end = self.ends[id(call)] = asyncio.get_running_loop().create_future()
        try:
            await end
        finally:
            self.active -= 1
        return text_reply()

    def answer(self, call: Call) -> None:
        self.ends[id(call)].set_result(None)

    def fail(self, call: Call, error: Exception) -> None:
        self.ends[id(call)].set_exception(error)


async def test_a_sleeping_retry_holds_no_slot() -> None:
    upstream = Upstream()
    pipeline = make(upstream, max_concurrent_requests=1, initial_retry_delay=0.05, max_retry_delay=0.05)
    failing = asyncio.create_task(pipeline(make_call()))
    await settle()
    upstream.fail(upstream.calls[0], ServerError("down", status=503, retry_after=0.02))
    await settle()
    assert pipeline.admission.active == 0
    other = asyncio.create_task(pipeline(make_call()))
    await settle()
    upstream.answer(upstream.calls[1])
    await other
    await eventually(lambda: len(upstream.calls) == 3)
    upstream.answer(upstream.calls[2])
    assert (await failing).attempts == 2
    assert upstream.most == 1
    assert idle(pipeline)


async def test_a_target_found_dead_fails_its_whole_queue_fast() -> None:
    upstream = Upstream()
    pipeline = make(upstream, max_concurrent_requests=2, circuit_failure_threshold=2, max_retries=0)
    tasks = [asyncio.create_task(pipeline(make_call())) for _ in range(20)]
    await settle()
    assert upstream.active == 2
    for call in list(upstream.calls):
        upstream.fail(call, ServerError("down", status=503))
    errors = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    kinds = [type(error) for error in errors]
    # The second failure opens it; whoever had been let in between may have been sent.
    assert kinds[:2] == [ServerError, ServerError]
    assert kinds.count(CircuitOpen) >= 17
    assert idle(pipeline)
    with pytest.raises(CircuitOpen) as caught:
        await pipeline(make_call())
    assert caught.value.retry_after == pytest.approx(30, abs=1)


async def test_calls_that_wait_for_a_key_hear_of_the_dead_target_too() -> None:
    """They wait for a bucket, with slots free: nobody's leaving would wake them."""
    upstream = Upstream()
    pipeline = make(
        upstream, "a", max_concurrent_requests=5, requests_per_minute=1.0, circuit_failure_threshold=1, max_retries=0
    )
    first = asyncio.create_task(pipeline(make_call()))
    await settle()
    waiting = asyncio.create_task(pipeline(make_call()))
    await settle()
    assert pipeline.snapshot()["queue"]["queued"] == 1
    upstream.fail(upstream.calls[0], ServerError("down", status=503))
    with pytest.raises(ServerError):
        await first
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert done, "the call waits for a key of a target that refuses everybody"
    assert isinstance(waiting.exception(), CircuitOpen)


async def test_the_failure_that_opened_the_breaker_surfaces_and_not_the_breaker() -> None:
    pipeline = make(
        Backend(*[ServerError("down", status=503) for _ in range(9)]), circuit_failure_threshold=3, max_retries=8
    )
    with pytest.raises(ServerError) as caught:
        await pipeline(make_call())
    assert caught.value.attempts == 3
    assert idle(pipeline)


async def test_a_call_refused_by_the_breaker_spends_nothing_of_its_key() -> None:
    pipeline = make(Backend(ServerError("down", status=503)), "a", circuit_failure_threshold=1, max_retries=0)
    with pytest.raises(ServerError):
        await pipeline(make_call())
    for _ in range(3):
        with pytest.raises(CircuitOpen):
            await pipeline(make_call())
    assert pipeline.snapshot()["keys"]["a"]["requests"] == 1


async def test_one_probe_at_a_time_and_then_all() -> None:
    upstream = Upstream()
    pipeline = make(
        upstream, circuit_failure_threshold=1, circuit_reset_timeout=0.01, max_retries=0, max_concurrent_requests=5
    )
    task = asyncio.create_task(pipeline(make_call()))
    await settle()
    upstream.fail(upstream.calls[0], ServerError("down", status=503))
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.015)
    probe = asyncio.create_task(pipeline(make_call()))
    await settle()
    assert upstream.active == 1
    for _ in range(3):
        with pytest.raises(CircuitOpen):
            await pipeline(make_call())
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert pipeline.breaker.state == "HALF_OPEN"
    probe = asyncio.create_task(pipeline(make_call()))
    await settle()
    upstream.answer(upstream.calls[-1])
    await probe
    tasks = [asyncio.create_task(pipeline(make_call())) for _ in range(3)]
    await settle()
    assert upstream.active == 3
    for call in upstream.calls[-3:]:
        upstream.answer(call)
    await asyncio.gather(*tasks)
    assert idle(pipeline)


# --- keys --------------------------------------------------------------------------------------------------------


def by_key(answers: dict[str, Any]) -> Any:
    async def backend(call: Call) -> Reply:
        found = answers.get(call.lease.key.name)
        if isinstance(found, list):
            found = found.pop(0) if found else None
        if isinstance(found, Exception):
            raise found
        return text_reply()

    return backend


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("Authentication error", status=401),
        QuotaExhausted("Quota exhausted", status=429),
        RateLimited("Rate limit", status=429, retry_after=30.0),
    ],
)
async def test_a_key_that_is_refused_costs_the_caller_nothing(error: Exception) -> None:
    pipeline = make(by_key({"a": error}), "a", "b")
    for _ in range(4):
        reply = await asyncio.wait_for(pipeline(make_call()), 0.5)
        assert reply.key_name == "b"
    assert pipeline.snapshot()["keys"]["a"]["requests"] == 1
    assert idle(pipeline)


@pytest.mark.parametrize("kind", [AuthenticationError, QuotaExhausted])
async def test_a_refused_key_moves_the_call_to_one_that_is_busy(kind: Any) -> None:
    """The other key is healthy, and free as soon as its one call is through: the call waits for it."""
    started = asyncio.Event()

    async def backend(call: Call) -> Reply:
        if call.lease.key.name == "bad":
            raise kind("refused", status=401)
        started.set()
        await asyncio.sleep(0.01)
        return text_reply()

    pipeline = make(backend, "bad", "good", limits={"bad": 1, "good": 1})
    busy = asyncio.create_task(pipeline(make_call(key="good")))
    await started.wait()
    reply = await asyncio.wait_for(pipeline(make_call()), 1)
    assert reply.key_name == "good"
    await busy
    assert idle(pipeline)


async def test_a_key_told_to_rest_is_not_asked_earlier_by_any_call() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()

    async def backend(call: Call) -> Reply:
        times.append(loop.time())
        if len(times) == 1:
            raise RateLimited("Rate limit", status=429, retry_after=0.05)
        return text_reply()

    pipeline = make(backend, "a", max_retry_delay=1.0)
    first = asyncio.create_task(pipeline(make_call()))
    await settle()
    await asyncio.gather(first, *[pipeline(make_call()) for _ in range(3)])
    assert min(times[1:]) - times[0] >= 0.05
    assert idle(pipeline)


async def test_a_key_that_is_added_serves_those_who_wait_for_one() -> None:
    """The first key rests for a minute; nobody waits for it once there is another."""
    pipeline = make(by_key({"a": [RateLimited("Rate limit", status=429, retry_after=60.0)]}), "a", max_retries=0)
    with pytest.raises(RateLimited):
        await pipeline(make_call())
    waiting = asyncio.create_task(pipeline(make_call()))
    await settle()
    assert pipeline.snapshot()["queue"]["queued"] == 1
    pipeline.keys.add("b", Secret("sk-value-of-b"))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert done, "it waits for the first key although the second is free"
    assert waiting.result().key_name == "b"


async def test_the_last_key_in_service_is_tried_even_if_it_was_refused_before() -> None:
    """With its companion removed it is a lone key, and those are never locked away."""
    pipeline = make(by_key({"a": [AuthenticationError("Authentication error", status=401)]}), "a", "b")
    assert (await pipeline(make_call())).key_name == "b"
    pipeline.keys.remove("b")
    assert (await pipeline(make_call())).key_name == "a"


@pytest.mark.parametrize("pinned", ["a", None])
@pytest.mark.parametrize("kind", [ServerError, AuthenticationError, RateLimited])
async def test_a_key_removed_under_way_does_not_hide_what_happened(pinned: str | None, kind: Any) -> None:
    async def backend(call: Call) -> Reply:
        pipeline.keys.remove("a")
        raise kind("what happened", status=503)

    pipeline = make(backend, "a", max_retries=2)
    pipeline.keys._missing = "Authentication error: set KEY"
    with pytest.raises(kind, match="what happened"):
        await pipeline(make_call(key=pinned))
    assert idle(pipeline)


async def test_a_pinned_call_gets_its_turn_among_many_that_take_any_key() -> None:
    """Its key refills slowly, and whoever takes any key must not take each new place before it."""
    times: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    async def backend(call: Call) -> Reply:
        times[call.model] = loop.time()
        return text_reply()

    pipeline = make(backend, "a", "b", max_concurrent_requests=50, requests_per_minute=12_000.0)
    for key in pipeline.keys._keys.values():
        key.rates.requests = Bucket(1, 200.0, pipeline.keys._clock())
    began = loop.time()
    pinned: asyncio.Task[Reply] | None = None
    others = []
    for number in range(40):
        others.append(asyncio.create_task(pipeline(make_call(model=str(number)))))
        if number == 4:
            pinned = asyncio.create_task(pipeline(make_call(Priority.HIGH, key="a", model="pinned")))
        await asyncio.sleep(0.001)
    assert pinned is not None
    await asyncio.gather(pinned, *others)
    assert times["pinned"] - began < 0.06, "everybody went before the most urgent one"


async def test_a_stream_that_breaks_early_is_asked_again_and_later_not() -> None:
    broken = stream_reply(Source(error=StreamCut("cut")), Chunk(text="a"))
    pipeline = make(Backend(StreamCut("before the first content"), broken))
    reply = await pipeline(make_call(stream=True))
    assert reply.attempts == 2
    assert reply.stream is not None
    assert (await anext(reply.stream)).text == "a"
    with pytest.raises(StreamCut):
        await anext(reply.stream)
    assert idle(pipeline)
    assert pipeline.snapshot()["usage"]["failed_requests"] == 1


@pytest.mark.parametrize(
    "plays",
    [
        [],
        [ServerError("down", status=503)],
        [ServerError("down", status=503)] * 3,
        [RateLimited("Rate limit", status=429, retry_after=0.001)],
    ],
    ids=["answered", "retried", "failed", "limited"],
)
async def test_calls_leave_nothing_for_the_collector(plays: list[Exception]) -> None:
    """A cycle holds a call's messages, answer and error until the collector comes by, and makes it come more often."""

    async def once() -> None:
        backend.plays[:] = [type(play)(*play.args, **vars_of(play)) for play in plays]
        with contextlib.suppress(ServerError):
            await pipeline(make_call())

    backend = Backend()
    pipeline = make(backend, "a", max_retries=2, circuit_failure_threshold=10_000)
    await once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await once()
        assert gc.collect() < 20
    finally:
        gc.enable()


def vars_of(error: Exception) -> dict[str, Any]:
    return {name: getattr(error, name) for name in ("status", "retry_after")}


async def test_priorities_reach_the_queue() -> None:
    upstream = Upstream()
    pipeline = make(upstream, max_concurrent_requests=1)
    tasks = [asyncio.create_task(pipeline(make_call(model="holder")))]
    await settle()
    tasks += [
        asyncio.create_task(pipeline(make_call(priority, model=priority.name))) for priority in reversed(Priority)
    ]
    await settle()
    for number in range(4):
        upstream.answer(upstream.calls[number])
        await settle(10)
    assert [call.model for call in upstream.calls] == ["holder", "HIGH", "NORMAL", "LOW"]
    await asyncio.gather(*tasks)
    assert idle(pipeline)


async def test_limits_known_no_more_than_the_slots_are_ever_out() -> None:
    running = most = 0

    async def backend(call: Call) -> Reply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return text_reply()

    pipeline = make(backend, "a", "b", limits={"a": 2, "b": 2}, max_concurrent_requests=10)
    await asyncio.gather(*[pipeline(make_call()) for _ in range(50)])
    assert most == 4
    assert idle(pipeline)
    assert pipeline.snapshot()["usage"]["successful_requests"] == 50
