"""The policies as a caller meets them: queue, deadlines, limits that are learnt, keys, and what is counted."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator

import pytest

from ipfs_accelerate_py import AsyncClient, Priority
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequest,
    QueueFull,
    QueueTimeout,
    RateLimited,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.upstreams import client_of, eventually, nothing_held

pytestmark = pytest.mark.virtual_time

FUNCTION = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with client_of(sim.url) as made:
        yield made
        await nothing_held(made)


# --- the pipeline, from outside ----------------------------------------------------------------------------------


async def test_priorities_and_the_queue(sim: Simulator) -> None:
    async with client_of(sim.url, max_concurrent_requests=1) as client:
        holder = client.stream("holder", "x")
        await anext(holder)
        tasks = []
        for number, priority in itertools.product(range(2), ("LOW", 1, Priority.HIGH)):
            tasks.append(asyncio.create_task(client.chat(f"{priority}-{number}", "x", priority=priority)))
            await asyncio.sleep(0)
        await eventually(lambda: client.snapshot()["queue"]["queued"] == 6)
        assert client.snapshot()["queue"]["queued_by_priority"] == {"HIGH": 2, "NORMAL": 2, "LOW": 2}
        assert client.active_requests == 1
        await holder.aclose()
        await asyncio.gather(*tasks)
        assert [request.body["model"] for request in sim.requests[1:]] == ["0-0", "0-1", "1-0", "1-1", "LOW-0", "LOW-1"]
        await nothing_held(client)


async def test_queue_limits(sim: Simulator) -> None:
    async with client_of(sim.url, max_concurrent_requests=1, queue_size=1, queue_timeout=0.03) as client:
        holder = client.stream("holder", "x")
        await anext(holder)
        waiting = asyncio.create_task(client.chat("m", "x"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await client.chat("m", "x")
        with pytest.raises(QueueTimeout):
            await waiting
        client.queue_enabled = False
        with pytest.raises(QueueFull):
            await client.chat("m", "x")
        await holder.aclose()
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


async def test_a_deadline_covers_the_queue_and_the_retries(sim: Simulator) -> None:
    async with client_of(sim.url, max_concurrent_requests=1, initial_retry_delay=0.5, max_retry_delay=5.0) as client:
        holder = client.stream("holder", "x")
        await anext(holder)
        began = time.monotonic()
        with pytest.raises(QueueTimeout):
            await client.chat("m", "x", timeout=0.05)
        await holder.aclose()
        sim.always(Fault.status(429, retry_after=1))
        with pytest.raises(RateLimited):
            await client.chat("m", "x", timeout=0.5)
        assert time.monotonic() - began < 0.5
        await nothing_held(client)


async def test_limits_that_the_upstream_keeps_are_learnt_from_its_headers() -> None:
    """Nothing is configured: after the first answers the client knows the pace, and hardly a call is refused."""
    async with (
        Simulator(requests_per_minute=1200) as sim,
        client_of(sim.url, max_concurrent_requests=10, queue_size=1000) as client,
    ):
        sim.limiter._lane(sim.key_name("sk-test")).requests.take(1195)  # type: ignore[union-attr]
        await client.chat("m", "x")
        await asyncio.gather(*[client.chat("m", "x") for _ in range(12)])
        assert sim.counts["429"] <= 2
        await nothing_held(client)


async def test_concurrency_of_each_key_is_kept() -> None:
    async with (
        Simulator(concurrency_per_key=2, latency=0.002, concurrency_retry_after=0.01) as sim,
        client_of(sim.url, api_key={"a": "sk-a"}, max_concurrent_requests=50, queue_size=100) as client,
    ):
        client.add_api_key("a", "sk-a", 2)
        client.add_api_key("b", "sk-b", 2)
        await asyncio.gather(*[client.chat("m", "x") for _ in range(40)])
        assert sim.counts["429"] == 0
        used = client.snapshot()["keys"]
        assert used["a"]["requests"] + used["b"]["requests"] == 40
        assert min(used["a"]["requests"], used["b"]["requests"]) > 10
        await nothing_held(client)


async def test_a_refused_key_rests_and_the_others_work() -> None:
    async with (
        Simulator(api_keys={"good": "sk-good"}) as sim,
        client_of(sim.url, api_key={"bad": "sk-bad", "good": "sk-good"}) as client,
    ):
        for _ in range(4):
            assert (await client.chat("m", "x")).key_name == "good"
        assert client.snapshot()["keys"]["bad"]["quarantine_reason"] == "invalid_api_key"
        assert sim.counts["401"] == 1
        with pytest.raises(AuthenticationError):
            await client.chat("m", "x", api_key_name="bad")
        assert sim.counts["401"] == 1


async def test_wrong_use_is_no_failure_of_the_key(client: AsyncClient) -> None:
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            await client.chat("m", "x", odd=object())
    assert client.snapshot()["keys"]["explicit"]["failures"] == 0
    assert client.circuit_state == "CLOSED"


async def test_usage_is_counted_and_can_be_reset(client: AsyncClient, sim: Simulator) -> None:
    await client.chat("a", "x")
    await client.stream("b", "x").collect()
    sim.script(Fault.status(400))
    with pytest.raises(InvalidRequest):
        await client.chat("a", "x")
    sim.script(Fault.status(500))
    await client.chat("a", "x")
    sim.script(Fault.bad_json(at=1, data="{oops"))
    await client.stream("b", "x").collect()
    found = client.snapshot()["usage"]
    assert (found["total_requests"], found["successful_requests"], found["failed_requests"]) == (5, 4, 1)
    assert found["errors"] == {"InvalidRequest": 1}
    assert found["retries"] == 1
    assert found["skipped_events"] == 1
    assert found["output_tokens"] == 80
    assert found["models"]["b"]["requests"] == 2
    assert json.dumps(client.snapshot())
    client.reset_usage()
    assert client.snapshot()["usage"]["total_requests"] == 0


async def test_the_callers_request_id_is_his_own(client: AsyncClient) -> None:
    assert (await client.chat("m", "x", request_id="mine-1")).request_id == "mine-1"
    stream = client.stream("m", "x", request_id="mine-2")
    assert (await stream.collect()).request_id == stream.request_id == "mine-2"


async def test_no_field_of_ours_goes_upstream(client: AsyncClient, sim: Simulator) -> None:
    """transformers serve refuses what it does not know."""
    await client.chat(
        "m", "x", priority="LOW", request_id="r", api_key_name="explicit", timeout=5, headers={"X-A": "b"}
    )
    assert set(sim.requests[0].body) == {"model", "messages"}
