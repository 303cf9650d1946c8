"""What is counted, however a call ends."""

from __future__ import annotations

import asyncio

import pytest

from ipfs_accelerate_py.errors import QueueFull, ServerError, StreamCut
from ipfs_accelerate_py.pipeline.stack import Stack
from ipfs_accelerate_py.pipeline.usage import LATENCY_BUCKETS, Histogram, UsagePolicy, UsageTotals
from ipfs_accelerate_py.types import Attempt, Call, Chunk, Priority, Reply, Usage

from .support import Backend, Clock, Source, make_call, settle, stream_reply, text_reply


def make(*plays: object, clock: Clock | None = None) -> UsagePolicy:
    return UsagePolicy(Stack(Backend(*plays)), UsageTotals(), clock or Clock())


async def test_a_success_is_counted_with_its_tokens_and_its_time() -> None:
    clock = Clock()

    async def answer(call: Call) -> Reply:
        clock.advance(0.2)
        return text_reply(usage=Usage(7, 5, cached_tokens=4, reasoning_tokens=2, reported=True))

    policy = make(answer, answer, clock=clock)
    reply = await policy(make_call())
    assert reply.request_id == "req_test"
    assert reply.latency == pytest.approx(0.2)
    await policy(make_call(model="other"))
    found = policy.totals.snapshot()
    assert (found["total_requests"], found["successful_requests"], found["failed_requests"]) == (2, 2, 0)
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (14, 10, 24)
    assert found["models"]["m"]["cached_tokens"] == 4
    assert found["models"]["m"]["reasoning_tokens"] == 2
    assert found["models"]["m"]["mean_latency"] == pytest.approx(0.2)
    assert found["models"]["m"]["p95_latency"] == 0.25
    assert set(found["models"]) == {"m", "other"}
    assert policy.in_flight == 0


async def test_failures_are_counted_by_kind_and_cancellations_apart() -> None:
    policy = make(ServerError("down", status=503), QueueFull("full"), KeyError("ours"), asyncio.CancelledError())
    for kind in (ServerError, QueueFull, KeyError, asyncio.CancelledError):
        with pytest.raises(kind):
            await policy(make_call())
    found = policy.totals.snapshot()
    assert found["errors"] == {"ServerError": 1, "QueueFull": 1, "InternalError": 1}
    assert (found["total_requests"], found["failed_requests"], found["cancelled_requests"]) == (4, 3, 1)
    assert found["successful_requests"] == 0
    assert found["models"]["m"]["requests"] == 4
    assert found["models"]["m"]["failures"] == 3
    assert policy.in_flight == 0


@pytest.mark.parametrize(
    ("end", "counted"),
    [("complete", "successful_requests"), ("broken", "failed_requests"), ("left", "cancelled_requests")],
)
async def test_a_stream_is_counted_once_when_it_is_done(end: str, counted: str) -> None:
    source = Source([Chunk(text="b")], error=StreamCut("cut") if end == "broken" else None)
    policy = make(stream_reply(source, Chunk(text="a")))
    reply = await policy(make_call(stream=True))
    assert policy.in_flight == 1
    assert policy.totals.snapshot()["total_requests"] == 0
    stream = reply.stream
    assert stream is not None
    await anext(stream)
    if end == "complete":
        assert [chunk.text async for chunk in stream] == ["b"]
    elif end == "broken":
        with pytest.raises(StreamCut):
            [chunk async for chunk in stream]
    stream.abort()
    await settle()
    found = policy.totals.snapshot()
    assert found["total_requests"] == found[counted] == 1
    assert policy.in_flight == 0
    assert found["total_tokens"] == 5  # what the upstream counted was spent, whoever read it


async def test_retries_and_waits_are_counted() -> None:
    async def answer(call: Call) -> Reply:
        call.attempts += [Attempt(1, "a", 0.1, "ServerError", 503), Attempt(2, "b", 0.1, "RateLimited", 429)]
        call.queued = 0.3
        return text_reply()

    async def fail(call: Call) -> Reply:
        call.attempts += [Attempt(1, "a", 0.1, "ServerError", 503), Attempt(2, "b", 0.1, "ServerError", 503)]
        raise ServerError("down", status=503)

    policy = make(answer, fail)
    await policy(make_call(Priority.LOW))
    with pytest.raises(ServerError):
        await policy(make_call())
    assert policy.totals.snapshot()["retries"] == 3
    assert policy.totals.queue_wait[Priority.LOW].count == 1


async def test_reset_starts_again_and_calls_under_way_still_count() -> None:
    policy = make(text_reply(), stream_reply(Source([Chunk(text="b")])))
    await policy(make_call())
    reply = await policy(make_call(stream=True))
    policy.totals.reset()
    assert policy.totals.snapshot()["total_requests"] == 0
    assert reply.stream is not None
    [chunk async for chunk in reply.stream]
    assert policy.totals.snapshot()["total_requests"] == 1
    assert policy.in_flight == 0


def test_names_of_models_come_from_callers_and_are_bounded() -> None:
    totals = UsageTotals()
    for number in range(2000):
        totals.model(f"model-{number}").requests += 1
    assert len(totals.models) <= UsageTotals.MOST_MODELS + 1
    assert sum(model.requests for model in totals.models.values()) == 2000


def test_quantiles_are_bounds_of_buckets() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.95) == 0.0
    for _ in range(90):
        histogram.add(0.003)
    for _ in range(10):
        histogram.add(0.9)
    assert histogram.quantile(0.5) == 0.005
    assert histogram.quantile(0.95) == 1.0
    histogram.add(1e9)
    assert histogram.quantile(1.0) == LATENCY_BUCKETS[-1]
    assert histogram.count == 101
