"""Fifty calls at once, and an upstream that takes a few and answers the others 429 with ``Retry-After``: counted."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import AccelerateError, RateLimited
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.simulator.wire import Request
from tests.upstreams import nothing_held

#: What is counted here depends on time: how long a refusal takes decides how many more calls are tried meanwhile.
pytestmark = pytest.mark.virtual_time

RETRY_AFTER = 0.3


def keys(count: int) -> dict[str, str]:
    return {f"key-{n}": f"sk-{n}" for n in range(count)}


async def all_at_once(client: AsyncClient, count: int = 50, stream: bool = False) -> list[AccelerateError]:
    """The failures of so many calls, each with a text of its own."""

    async def one(number: int) -> None:
        if stream:
            async for _ in client.stream("gpt-4o", f"number {number}"):
                pass
        else:
            assert (await client.chat("gpt-4o", f"number {number}")).text

    done = await asyncio.gather(*(one(n) for n in range(count)), return_exceptions=True)
    failures = [each for each in done if each is not None]
    for failure in failures:
        if not isinstance(failure, AccelerateError):
            raise failure
    await nothing_held(client)
    return [failure for failure in failures if isinstance(failure, AccelerateError)]


def refused(sim: Simulator) -> list[Request]:
    return [request for request in sim.requests if request.status == 429]


def early(sim: Simulator, retry_after: float = RETRY_AFTER) -> list[float]:
    """Seconds after a refusal in which the same call came back to the same key, where that was too soon."""
    by_call: dict[Any, list[Request]] = defaultdict(list)
    for request in sim.requests:
        by_call[request.body["messages"][-1]["content"], request.key].append(request)
    gaps = [
        later.t_start - earlier.t_start
        for attempts in by_call.values()
        for earlier, later in itertools.pairwise(attempts)
        if earlier.status == 429
    ]
    return [gap for gap in gaps if gap < retry_after]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("limit", "count"), [(5, 1), (5, 3), (2, 1)])
async def test_an_unknown_limit_costs_a_few_refusals_and_no_failure(limit: int, count: int, stream: bool) -> None:
    async with (
        Simulator(latency=0.05, concurrency_per_key=limit, concurrency_retry_after=RETRY_AFTER) as sim,
        AsyncClient(
            "openai", base_url=sim.url, api_key=keys(count), max_concurrent_requests=50, max_retries=2
        ) as client,
    ):
        assert await all_at_once(client, stream=stream) == []
        assert len(refused(sim)) <= count * (3 + max(1, 5 - limit))
        assert early(sim) == []
        found = {key["concurrency_limit"] for key in client.snapshot()["keys"].values()}
        assert found <= {limit - 1, limit, limit + 1}
        before = len(refused(sim))
        assert await all_at_once(client, stream=stream) == []
        assert len(refused(sim)) <= before + 3 * count


async def test_what_was_one_too_many_is_no_retry() -> None:
    """Our own trying costs nobody an answer, not even who wants no retries."""
    async with (
        Simulator(latency=0.05, concurrency_per_key=2, concurrency_retry_after=RETRY_AFTER) as sim,
        AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=50, max_retries=0) as client,
    ):
        assert await all_at_once(client, 20) == []
        assert len(refused(sim)) >= 1


@pytest.mark.parametrize("count", [1, 3])
async def test_a_known_limit_costs_none(count: int) -> None:
    async with (
        Simulator(latency=0.02, concurrency_per_key=5) as sim,
        AsyncClient("openai", base_url=sim.url, api_key=keys(count), max_concurrent_requests=5 * count) as client,
    ):
        assert await all_at_once(client) == []
        assert refused(sim) == []


async def test_a_long_retry_after_is_no_reason_to_fail_what_was_one_too_many() -> None:
    async with (
        Simulator(latency=0.05, concurrency_per_key=5, concurrency_retry_after=600.0) as sim,
        AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=50) as client,
    ):
        assert await all_at_once(client, 30) == []


async def test_it_can_be_switched_off() -> None:
    async with (
        Simulator(latency=0.05, concurrency_per_key=5) as sim,
        AsyncClient(
            "openai",
            base_url=sim.url,
            api_key="sk-1",
            max_concurrent_requests=50,
            max_retries=0,
            adaptive_concurrency=False,
        ) as client,
    ):
        assert len(await all_at_once(client)) == 45


@pytest.mark.parametrize("settings", [{"queue_enabled": False}, {"queue_size": 0}])
async def test_our_caution_refuses_nobody_for_whom_there_is_a_slot(settings: dict[str, Any]) -> None:
    async with (
        Simulator(latency=0.02) as sim,
        AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=50, **settings) as client,
    ):
        assert await all_at_once(client) == []


async def test_one_that_is_told_to_come_later_comes_later_while_the_others_go_on() -> None:
    """Fault 1 in the middle of a crowd: for the refused call, what it was told holds."""
    async with Simulator(latency=0.03) as sim:
        sim.script(Fault.status(429, retry_after=0.3))
        async with AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=10) as client:
            assert await all_at_once(client, 40) == []
        assert len(refused(sim)) == 1
        assert early(sim) == []
        others = [request for request in sim.requests if request.status == 200]
        assert sum(request.t_start < refused(sim)[0].t_start + 0.3 for request in others) >= 30


async def test_a_rate_stops_the_key_after_one_test() -> None:
    async with (
        Simulator(latency=0.02) as sim,
        AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=20, max_retries=5) as client,
    ):
        assert await all_at_once(client, 40) == []
        limited = [True]
        sim.always(Fault.status(429, retry_after=0.2), when=lambda request: bool(limited))
        asyncio.get_running_loop().call_later(0.3, limited.clear)
        assert await all_at_once(client, 60) == []
        assert len(refused(sim)) <= 45
        assert early(sim, 0.2) == []


async def test_an_upstream_that_refuses_for_ever_is_left_alone_after_a_handful_each() -> None:
    """Fault 2 with several callers: being refused together is no reason to ask without end."""
    async with Simulator() as sim:
        sim.always(Fault.status(429))
        async with AsyncClient(
            "openai",
            base_url=sim.url,
            api_key="sk-1",
            max_retries=3,
            initial_retry_delay=0.02,
            max_retry_delay=0.05,
        ) as client:
            failures = await all_at_once(client, 5)
            assert [type(failure) for failure in failures] == [RateLimited] * 5
            assert len(sim.requests) <= 5 * 5


async def test_a_caller_who_leaves_while_it_is_found_out_holds_nothing() -> None:
    async with (
        Simulator(latency=0.05, concurrency_per_key=2, concurrency_retry_after=RETRY_AFTER) as sim,
        AsyncClient("openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=50) as client,
    ):
        tasks = [asyncio.create_task(client.chat("gpt-4o", f"leaving {n}")) for n in range(20)]
        for n in range(10):
            await asyncio.sleep(0.015)
            tasks[2 * n].cancel()
        await asyncio.gather(*tasks[1::2])
        await asyncio.gather(*tasks, return_exceptions=True)
        await nothing_held(client)
