"""Single flight and hedging through real clients, over real sockets."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import ServerError
from ipfs_accelerate_py.router.core import AsyncRouter
from ipfs_accelerate_py.router.targets import Alias, Target
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.upstreams import QUICK, client_of, eventually, nothing_held, nothing_held_sync


@pytest.fixture(scope="module")
def slow() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", latency=0.05, chunk_interval=0.005) as sim:
        yield sim


@pytest.fixture
def sim(slow: SimulatorThread) -> Iterator[SimulatorThread]:
    slow.clear()
    yield slow
    slow.clear()


# --- single flight -----------------------------------------------------------------------------------------------


async def test_five_hundred_identical_calls_are_one_request(sim: SimulatorThread) -> None:
    async with client_of(sim.url) as client:
        client.enable_single_flight()
        before = len(sim.requests)
        replies = await asyncio.gather(*(client.chat("m", "Hello", temperature=0) for _ in range(500)))
        assert len(sim.requests) - before == 1
        assert len({reply.text for reply in replies}) == 1
        assert [reply.cache for reply in replies].count("") == 1
        assert len({reply.request_id for reply in replies}) == 500
        usage = client.snapshot()["usage"]
        assert (usage["total_requests"], usage["total_tokens"]) == (500, replies[0].usage.total_tokens)
        assert client.single_flight_stats() == {"in_flight": 0, "flown": 1, "shared": 499}
        await nothing_held(client)


async def test_streams_that_begin_at_any_moment_of_one_are_one_request(sim: SimulatorThread) -> None:
    async with client_of(sim.url) as client:
        client.enable_single_flight()
        expected = (await client.chat("m", "Hello", temperature=0)).text
        before = len(sim.requests)

        async def late(delay: float) -> list[str]:
            await asyncio.sleep(delay)
            texts = [chunk.text async for chunk in client.stream("m", "Hello", temperature=0)]
            await asyncio.sleep(delay / 10)
            return texts

        streams = await asyncio.gather(*(late(0.001 * number) for number in range(100)))
        assert len(sim.requests) - before == 1
        assert {"".join(texts) for texts in streams} == {expected}
        await nothing_held(client)


async def test_what_two_calls_would_answer_differently_is_not_shared_unless_told(sim: SimulatorThread) -> None:
    async with client_of(sim.url) as client:
        client.enable_single_flight()
        before = len(sim.requests)
        await asyncio.gather(*(client.chat("m", "Hello") for _ in range(3)))
        assert len(sim.requests) - before == 3
        await asyncio.gather(*(client.chat("m", "Hello", cache="on") for _ in range(3)))
        assert len(sim.requests) - before == 4
        await asyncio.gather(*(client.chat("m", "Hello", temperature=0, cache="off") for _ in range(3)))
        assert len(sim.requests) - before == 7
        client.enable_single_flight(nondeterministic=True)
        await asyncio.gather(*(client.chat("m", "Hello") for _ in range(3)))
        assert len(sim.requests) - before == 8
        client.disable_single_flight()
        await asyncio.gather(*(client.embed("e", "Hello") for _ in range(3)))
        assert len(sim.requests) - before == 11


async def test_callers_that_come_and_go_leave_nothing_behind(sim: SimulatorThread) -> None:
    async with client_of(sim.url) as client:
        client.enable_single_flight()

        async def impatient(number: int) -> None:
            stream = client.stream("m", "Hello", temperature=0)
            async with stream:
                async for _ in stream:
                    if number % 3 == 0:
                        break

        tasks = [asyncio.create_task(impatient(number)) for number in range(60)]
        for number, task in enumerate(tasks):
            if number % 4 == 0:
                await asyncio.sleep(0.002)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await nothing_held(client)
        assert client.single_flight_stats()["in_flight"] == 0
        usage = client.snapshot()
        assert usage["in_flight"] == 0


async def test_a_failure_is_everybodys(sim: SimulatorThread) -> None:
    sim.always(Fault.status(500))
    async with client_of(sim.url, max_retries=1) as client:
        client.enable_single_flight()
        before = len(sim.requests)
        outcomes = await asyncio.gather(*(client.embed("e", "x") for _ in range(20)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ServerError}
        assert len(sim.requests) - before == 2
        await nothing_held(client)


def test_threads_share_too(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as client:
        client.enable_single_flight()
        before = len(sim.requests)
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(lambda _: client.stream("m", "Hello", temperature=0).collect(), range(16)))
        assert len(sim.requests) - before < 16
        assert [reply.cache for reply in replies].count("shared") == client.single_flight_stats()["shared"] > 0
        nothing_held_sync(client)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_calls(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as client:
        client.enable_single_flight()
        stream = client.stream("m", "Hello", temperature=0)
        next(stream)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if client.stream("m", "Hello", temperature=0, timeout=60).collect().text else 2
            finally:
                sys.stdout.flush()
                os._exit(code)
        until = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert ended == (child, 0)
        assert stream.collect().text


# --- hedging -----------------------------------------------------------------------------------------------------


async def test_a_client_asks_again_with_another_key(sim: SimulatorThread) -> None:
    keys = {"one": "sk-1", "two": "sk-2"}
    async with client_of(sim.url, api_key=keys) as client:
        client.enable_hedging(0.1)
        sim.script(Fault.hang())
        before = len(sim.requests)
        began = time.monotonic()
        reply = await client.chat("m", "Hello")
        assert time.monotonic() - began < 20
        assert reply.text
        assert len({request.key for request in sim.requests[before:]}) == 2
        assert client.hedging_stats() == {"calls": 1, "hedged": 1, "won": 1}
        usage = client.snapshot()["usage"]
        assert (usage["total_requests"], usage["total_tokens"]) == (1, reply.usage.total_tokens)
        await nothing_held(client)


async def test_of_a_stream_the_first_content_decides(sim: SimulatorThread) -> None:
    async with client_of(sim.url) as client:
        client.enable_hedging(0.1)
        sim.script(Fault.silence(after=0, seconds=60))
        before = len(sim.requests)
        whole = await client.stream("m", "Hello").collect()
        assert (whole.finish_reason, len(sim.requests) - before) == ("stop", 2)
        await nothing_held(client)


async def test_where_there_is_no_slot_there_is_no_second_attempt(sim: SimulatorThread) -> None:
    async with client_of(sim.url, max_concurrent_requests=1) as client:
        client.enable_hedging(0.01)
        before = len(sim.requests)
        await client.chat("m", "Hello")
        assert len(sim.requests) - before == 1
        assert client.hedging_stats()["hedged"] == 0
        await nothing_held(client)


async def test_hedged_calls_that_are_left_at_any_moment_leave_nothing(sim: SimulatorThread) -> None:
    async with client_of(sim.url, max_concurrent_requests=50, api_key={"one": "sk-1", "two": "sk-2"}) as client:
        client.enable_hedging(0.01, most_share=1.0)

        async def leave(after: float, stream: bool) -> None:
            task = asyncio.create_task(client.stream("m", "Hello").collect() if stream else client.chat("m", "Hello"))
            await asyncio.sleep(after)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        for number in range(25):
            after = 0.005 * number
            await asyncio.gather(leave(after, False), leave(after + 0.001, True), leave(after + 0.002, False))
        await nothing_held(client)
        assert client.hedging_stats()["hedged"] > 0


def test_ordinary_code_hedges_too(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as client:
        client.enable_hedging(0.1)
        sim.script(Fault.hang())
        assert client.stream("m", "Hello").collect().text
        assert client.hedging_stats() == {"calls": 1, "hedged": 1, "won": 1}
        client.disable_hedging()
        assert client.hedging_stats() == {"calls": 0, "hedged": 0, "won": 0}
        nothing_held_sync(client)


async def test_a_router_asks_another_target(sim: SimulatorThread) -> None:
    with SimulatorThread("openai") as quick:
        targets = [
            Target("openai", name, base_url=each.url, api_key="sk-test")
            for name, each in (("slow", sim), ("quick", quick))
        ]
        aliases = {"hedged": Alias(targets, hedge=0.05), "patient": Alias(targets)}
        async with AsyncRouter(aliases) as router:
            sim.always(Fault.hang())
            reply = await router.chat("hedged", "Hello", timeout=60)
            assert (reply.target_model, len(quick.requests)) == ("quick", 1)
            assert router.usage_policy.totals.requests == 1
            waiting = asyncio.create_task(router.chat("patient", "Hello", timeout=60))
            await asyncio.sleep(0.2)
            assert (waiting.done(), len(quick.requests)) == (False, 1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            slow = router.targets[next(iter(router.targets))]
            await eventually(lambda: slow.outstanding == 0 and slow.pipeline.admission.active == 0)
