"""A client that leaves takes its upstream call with it, wherever that stands, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import random

import openai
import pytest

from ipfs_accelerate_py.simulator import Fault

from .support import ALIAS, CHAT, STREAM, Setup, connect, nothing_held, request, running, until

pytestmark = pytest.mark.virtual_time

JSON = {"content_type": "application/json"}


@pytest.mark.parametrize("reset", [False, True])
async def test_before_the_answer(setup: Setup, reset: bool) -> None:
    setup.sim.always(Fault.hang())
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, **JSON))
        await until(lambda: setup.sim.in_flight == 1)
        if reset:
            client.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER with 0 s: close sends RST
    await nothing_held(setup)
    assert setup.sim.requests[0].aborted_by_client
    assert setup.status_count(499) == 1
    assert setup.backend.snapshot()["usage"]["cancelled_requests"] == 1
    assert setup.backend.pipeline.breaker.state == "CLOSED"


async def test_between_headers_and_first_content(setup: Setup) -> None:
    setup.sim.always(Fault.stall())
    async with connect(setup.gateway) as client:
        await client.send(request(STREAM, **JSON))
        await until(lambda: setup.sim.in_flight == 1)
        await client.nothing_more()
    await nothing_held(setup)
    assert setup.sim.requests[0].aborted_by_client


async def test_in_mid_stream(setup: Setup) -> None:
    setup.sim.always(Fault.silence(after=3))
    async with connect(setup.gateway) as client:
        await client.send(request(STREAM, **JSON))
        got = await client.receive(done=lambda got: len(got.tokens) == 3)
        assert len(got.tokens) == 3
    await nothing_held(setup)
    assert setup.sim.requests[0].aborted_by_client
    assert setup.gateway.app.metrics.disconnects == 1


async def test_while_it_waits_in_the_queue() -> None:
    async with running(settings={"max_concurrent_requests": 1}) as setup:
        setup.sim.always(Fault.hang())
        async with connect(setup.gateway) as first:
            await first.send(request(CHAT, **JSON))
            await until(lambda: setup.sim.in_flight == 1)
            async with connect(setup.gateway) as second:
                await second.send(request(CHAT, **JSON))
                await until(lambda: sum(setup.backend.pipeline.admission.queued) == 1)
            await until(lambda: sum(setup.backend.pipeline.admission.queued) == 0)
            assert setup.sim.in_flight == 1
        await nothing_held(setup)
        assert len(setup.sim.requests) == 1


async def test_while_it_waits_for_a_retry() -> None:
    async with running(settings={"max_retries": 3, "initial_retry_delay": 60.0, "max_retry_delay": 60.0}) as setup:
        setup.sim.always(Fault.status(429, retry_after=30))
        async with connect(setup.gateway) as client:
            await client.send(request(CHAT, **JSON))
            await until(lambda: [each.status for each in setup.sim.requests] == [429])
        await nothing_held(setup)
        assert len(setup.sim.requests) == 1


async def test_while_its_body_is_on_the_way(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, **JSON)[:-5])
        await until(lambda: setup.gateway.app.metrics.in_flight == 1)
    await nothing_held(setup)
    assert setup.sim.requests == []
    assert setup.status_count(499) == 1


async def test_with_requests_sent_ahead(setup: Setup) -> None:
    """The second is never begun."""
    setup.sim.always(Fault.hang())
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, **JSON) + request(CHAT, **JSON))
        await until(lambda: setup.sim.in_flight == 1)
        client.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
    setup.sim.down(0.0)  # reading is paused while one waits; the upstream's end ends the first
    await nothing_held(setup)
    assert len(setup.sim.requests) == 1


async def test_a_client_that_comes_back_finds_everything_in_order(setup: Setup) -> None:
    async with openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="any", max_retries=0) as client:
        for _ in range(3):
            setup.sim.script(Fault.silence(after=2))
            stream = await client.chat.completions.create(
                model=ALIAS, messages=[{"role": "user", "content": "Hi"}], stream=True
            )
            await anext(stream)
            await stream.close()
            reply = await client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hi"}])
            assert reply.choices
    await nothing_held(setup)


async def test_nothing_is_left_after_many_random_departures() -> None:
    """1,000 requests, unary and streaming, of which most are left at some moment or other."""
    rng = random.Random(7)
    async with running(
        sim={"latency": 0.002, "chunk_interval": 0.0005, "tokens": 10},
        settings={"max_concurrent_requests": 20, "queue_size": 1000, "max_retries": 1, "initial_retry_delay": 0.001},
    ) as setup:
        setup.sim.random(0.1, [Fault.status(503), Fault.reset(), Fault.cut(after=3), Fault.hang(), Fault.stall()])

        async def one(number: int) -> None:
            async with connect(setup.gateway) as client:
                await client.send(request(STREAM if number % 2 else CHAT, **JSON))
                if rng.random() < 0.7:
                    await asyncio.sleep(rng.random() * 0.03)
                else:
                    await client.receive(quiet=0.2)

        for start in range(0, 1000, 50):
            await asyncio.gather(*(one(number) for number in range(start, start + 50)))
        setup.sim.clear()
        await nothing_held(setup)
        setup.backend.pipeline.breaker.reset()
        assert (await setup.ask()).status == 200
        counted = sum(setup.gateway.app.metrics.requests.values())
        assert 900 <= counted <= 1001  # who leaves before being heard was never there
