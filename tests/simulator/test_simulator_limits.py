"""Rate limits: buckets by an injected clock, and what a client sees of them."""

from __future__ import annotations

import asyncio

import pytest

from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.simulator.limits import Bucket, Limiter, retry_headers
from ipfs_accelerate_py.simulator.openai import duration

from .raw import CHAT, STREAM, RawClient, Time, ask, request, until

pytestmark = pytest.mark.virtual_time


def test_bucket_refills_continuously() -> None:
    bucket = Bucket(60, 0.0)
    assert bucket.state(0.0) == (60, 60, 0.0)
    bucket.take(60)
    assert bucket.wait(1, 0.0) == 1.0
    assert bucket.wait(10, 0.0) == 10.0
    assert bucket.state(30.0) == (60, 30, 30.0)
    assert bucket.wait(30, 30.0) == 0.0
    assert bucket.state(500.0) == (60, 60, 0.0)
    assert bucket.wait(61, 500.0) == float("inf")


def test_keys_have_limits_of_their_own_and_slots_come_back() -> None:
    now = Time()
    limiter = Limiter(now, concurrency_per_key=2)
    assert limiter.acquire("a", 0) is None
    assert limiter.acquire("a", 0) is None
    assert limiter.acquire("b", 0) is None
    refusal = limiter.acquire("a", 0)
    assert refusal is not None
    assert (refusal.kind, refusal.limit, refusal.used, refusal.retry_after) == ("concurrency", 2, 2, 1.0)
    limiter.release("a")
    assert limiter.acquire("a", 0) is None


def test_a_refused_request_spends_nothing() -> None:
    now = Time()
    limiter = Limiter(now, requests_per_minute=10, tokens_per_minute=100)
    assert limiter.acquire("a", 100) is None
    for _ in range(5):
        refusal = limiter.acquire("a", 50)
        assert refusal is not None
        assert (refusal.kind, refusal.retry_after) == ("tokens", 30.0)
    assert limiter.states("a")["requests"][1] == 9
    now.now += 30.0
    assert limiter.acquire("a", 50) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0204, "20ms"), (1, "1s"), (1.5, "1.5s"), (59.9996, "1m0s"), (360, "6m0s"), (3600, "1h0m0s")],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_retry_after_is_whole_seconds_and_never_too_soon() -> None:
    assert retry_headers(2.0) == [("retry-after", "2")]
    assert retry_headers(0.25) == [("retry-after", "1"), ("retry-after-ms", "250")]


async def test_requests_a_minute() -> None:
    now = Time()
    async with Simulator(requests_per_minute=2, clock=now, sleep=now.sleep) as sim:
        first = await ask(sim)
        assert {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit")} == {
            "x-ratelimit-limit-requests": "2",
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": "30s",
        }
        assert (await ask(sim)).status == 200
        refused = await ask(sim)
        assert (refused.status, refused.headers["retry-after"]) == (429, "30")
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-ratelimit-reset-requests"] == "1m0s"
        error = refused.json["error"]
        assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
        assert "Please try again in 30s" in error["message"]
        assert (await ask(sim, authorization="Bearer another")).status == 200
        now.now += 29.9
        assert (await ask(sim)).headers["retry-after-ms"] == "100"
        now.now += 0.1
        assert (await ask(sim)).status == 200


async def test_tokens_a_minute_count_prompt_and_the_answer_asked_for() -> None:
    now = Time()
    async with Simulator(tokens_per_minute=100, clock=now, sleep=now.sleep) as sim:
        prompt = (await ask(sim, {**CHAT, "max_tokens": 50})).json["usage"]["prompt_tokens"]
        refused = await ask(sim, {**CHAT, "max_tokens": 50})
        missing = 2 * (prompt + 50) - 100
        assert refused.status == 429
        assert refused.json["error"]["type"] == "tokens"
        assert refused.headers["x-ratelimit-remaining-tokens"] == str(100 - prompt - 50)
        now.now += missing * 0.6
        assert (await ask(sim, {**CHAT, "max_tokens": 50})).status == 200
        too_large = await ask(sim, {**CHAT, "max_tokens": 500})
        assert (too_large.status, "retry-after" in too_large.headers) == (429, False)
        assert "Request too large" in too_large.json["error"]["message"]
        assert (await ask(sim, {"model": "m", "input": "x" * 40}, "/v1/embeddings")).status == 429
        now.now += 6.0
        assert (await ask(sim, {"model": "m", "input": "x" * 40}, "/v1/embeddings")).status == 200


async def test_requests_at_once() -> None:
    async with Simulator(concurrency_per_key=2, latency=0.02) as sim:
        got = await asyncio.gather(*(ask(sim, body) for body in (CHAT, STREAM, CHAT, STREAM)))
        assert sorted(one.status for one in got) == [200, 200, 429, 429]
        refused = next(one for one in got if one.status == 429)
        assert refused.headers["retry-after"] == "1"
        assert refused.json["error"]["code"] == "rate_limit_exceeded"
        assert "x-ratelimit-limit-requests" not in refused.headers
        assert (await ask(sim)).status == 200


async def test_a_slot_comes_back_however_the_answer_ends() -> None:
    async with Simulator(concurrency_per_key=1) as sim:
        faults = (Fault.reset(), Fault.cut(after=2), Fault.status(500), Fault.malformed(), Fault.hang())
        for number, fault in enumerate(faults):
            sim.script(fault)
            async with RawClient(sim) as client:
                await client.send(request(STREAM))
                while len(sim.requests) == number:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                await client.receive(quiet=0.02)
            await until(lambda: sim.in_flight == 0)
        assert (await ask(sim, {"model": "m"})).status == 400
        assert (await ask(sim)).status == 200
