"""Cancelled at every single point where a call can be suspended, it holds nothing, and the next call succeeds."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.portal import new_event_loop
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.upstreams import QUICK, client_of, eventually, nothing_held

pytestmark = pytest.mark.virtual_time


class CancelAt:
    """Awaits a coroutine and cancels it at its n-th suspension.

    ``late`` is the moment when what was waited for is there and the task has not run yet: the result must be handed
    on, or given back. Otherwise the cancellation comes while it waits, the way `asyncio.Task.cancel` does it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._at = at
        self._late = late
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        action: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
        while True:
            try:
                waited = action()
            except StopIteration as stop:
                return stop.value
            self.suspensions += 1
            now = self.suspensions == self._at
            if now and not self._late:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited
            except BaseException as error:
                action = _throw(coroutine, error)
            else:
                if now and self._late:
                    action = _throw(coroutine, asyncio.CancelledError())
                else:
                    action = lambda: coroutine.send(None)  # noqa: E731


def _throw(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)


async def cancelled_at(make: Callable[[], Coroutine[Any, Any, Any]], at: int, late: bool) -> bool:
    """Run the coroutine and cancel it there; whether it got as far as that."""
    cancelling = CancelAt(make(), at, late=late)

    async def run() -> None:
        await cancelling

    try:
        await asyncio.create_task(run())
    except asyncio.CancelledError:
        return True
    except AccelerateError:
        pass
    return cancelling.suspensions >= at


Scenario = Callable[[Simulator, AsyncClient], Coroutine[Any, Any, None]]


async def unary(sim: Simulator, client: AsyncClient) -> None:
    assert (await client.chat("m", "x")).text


async def embeddings(sim: Simulator, client: AsyncClient) -> None:
    assert (await client.embed("m", ["a", "b"])).vectors


async def stream(sim: Simulator, client: AsyncClient) -> None:
    assert (await client.stream("m", "x").collect()).text


async def slow_stream(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.split(size=300) + Fault.latency(0.001))
    assert (await client.stream("m", "x").collect()).text


async def big_answer(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.oversized(size=400_000))
    assert (await client.chat("m", "x")).text


async def retried(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.status(503), Fault.reset(), Fault.status(429, retry_after=0.002), Fault.cut())
    assert (await client.chat("m", "x")).text


async def retried_stream(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.status(500), Fault.cut(), Fault.error_event())
    assert (await client.stream("m", "x").collect()).text


async def refused(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.status(400, body="x" * 3000) + Fault.split(size=500))
    await client.chat("m", "x")


async def other_key(sim: Simulator, client: AsyncClient) -> None:
    if len(client.snapshot()["keys"]) == 1:
        client.add_api_key("second", "sk-second")
    sim.script(Fault.status(429, retry_after=0.002))
    assert (await client.chat("m", "x")).text


async def ends_badly(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.cut(after=5))
    await client.stream("m", "x").collect()


async def without_terminator(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.no_done())
    await client.stream("m", "x").collect()


SCENARIOS: list[Scenario] = [
    unary,
    embeddings,
    stream,
    slow_stream,
    big_answer,
    retried,
    retried_stream,
    refused,
    other_key,
    ends_badly,
    without_terminator,
]


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "as it goes on"])
@pytest.mark.parametrize("fresh", [False, True], ids=["kept connection", "new connection"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_call_cancelled_anywhere(scenario: Scenario, late: bool, fresh: bool) -> None:
    async with Simulator(tokens=6) as sim, client_of(sim.url) as client:
        await client.chat("m", "x")
        at = 0
        while True:
            at += 1
            assert at < 200
            sim.clear()
            if fresh:
                await client.aclose()
            reached = await cancelled_at(lambda: scenario(sim, client), at, late)
            await nothing_held(client)
            await eventually(lambda: sim.in_flight == 0)
            if not reached:
                break
            sim.clear()
            assert (await client.chat("m", "x")).text
        assert at > 1
        assert client.circuit_state == "CLOSED"
        found = client.snapshot()["usage"]
        assert found["total_requests"] == (
            found["successful_requests"] + found["failed_requests"] + found["cancelled_requests"]
        )


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "as it goes on"])
async def test_a_queued_call_cancelled_anywhere(late: bool) -> None:
    """The slot comes free while the call waits for it, and goes to the one behind when it is cancelled just then."""
    async with Simulator(tokens=6) as sim, client_of(sim.url, max_concurrent_requests=1) as client:
        for at in range(1, 100):
            holder = client.stream("m", "x")
            await anext(holder)
            waiting = asyncio.create_task(cancelled_at(lambda: unary(sim, client), at, late))
            behind = asyncio.create_task(client.chat("m", "behind"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert client.snapshot()["queue"]["queued"] >= 1
            await holder.aclose()
            reached = await waiting
            assert (await asyncio.wait_for(behind, 20)).text
            await nothing_held(client)
            if not reached:
                break
        else:
            pytest.fail("it never came to its end")


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "as it goes on"])
async def test_a_call_that_waits_for_a_resting_key_cancelled_anywhere(late: bool) -> None:
    async with Simulator(tokens=6) as sim, client_of(sim.url, max_retries=2) as client:
        for at in range(1, 100):
            sim.script(Fault.status(429, retry_after_ms=10))
            first = asyncio.create_task(client.chat("m", "first"))
            await eventually(lambda: client.snapshot()["keys"]["explicit"]["available_in"] > 0)
            reached = await cancelled_at(lambda: unary(sim, client), at, late)
            await first
            await nothing_held(client)
            sim.clear()
            if not reached:
                break
        else:
            pytest.fail("it never came to its end")


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "as it goes on"])
@pytest.mark.parametrize("scenario", [unary, stream], ids=lambda scenario: scenario.__name__)
async def test_a_probe_cancelled_anywhere(scenario: Scenario, late: bool) -> None:
    settings = {"circuit_failure_threshold": 1, "circuit_reset_timeout": 0.0, "max_retries": 0}
    async with Simulator(tokens=6) as sim, client_of(sim.url, **settings) as client:
        for at in range(1, 100):
            sim.script(Fault.status(503))
            with pytest.raises(AccelerateError):
                await client.chat("m", "x")
            assert client.circuit_state == "HALF_OPEN"
            reached = await cancelled_at(lambda: scenario(sim, client), at, late)
            await nothing_held(client)
            assert (await client.chat("m", "x")).text, "the probe's place was lost"
            assert client.circuit_state == "CLOSED"
            if not reached:
                break
        else:
            pytest.fail("it never came to its end")


async def test_a_stream_closed_by_another_task_while_its_first_content_is_awaited() -> None:
    async with Simulator() as sim, client_of(sim.url) as client:
        sim.script(Fault.latency(0.03))
        running = client.stream("m", "x")
        reading = asyncio.create_task(anext(running, None))
        await asyncio.sleep(0.01)
        await running.aclose()
        await asyncio.gather(reading, return_exceptions=True)
        await nothing_held(client)


#: The limits of a thousand calls are short on purpose; they are not to strike where nothing is wrong.
PATIENT: dict[str, Any] = {"first_byte_timeout": 60, "first_content_timeout": 60, "idle_timeout": 60}

# --- many --------------------------------------------------------------------------------------------------------

FAULTS = [
    Fault.status(500),
    Fault.status(503, retry_after_ms=2),
    Fault.status(429, retry_after_ms=2),
    Fault.status(400),
    Fault.status(401),
    Fault.reset(),
    Fault.close(),
    Fault.hang(),
    Fault.stall(),
    Fault.cut(after=0),
    Fault.cut(after=5),
    Fault.cut(after=5, rst=True),
    Fault.silence(after=4),
    Fault.bad_json(at=3, data="{oops"),
    Fault.bad_json(at=3, replace=True),
    Fault.error_event(at=0),
    Fault.error_event(at=4),
    Fault.no_done(),
    Fault.html(),
    Fault.not_object(),
    Fault.redirect(),
    Fault.gzip(),
    Fault.split(size=50),
    Fault.latency(0.004),
    Fault.malformed("garbage"),
    Fault.utf8_cut(after=3),
]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_thousand_calls_with_faults_and_cancellations(loop: str) -> None:
    with asyncio.Runner(loop_factory=new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(_thousand(seed=20_261_120 + (loop == "uvloop")))


async def _thousand(seed: int) -> None:
    rng = random.Random(seed)
    settings = {
        **QUICK,
        "max_concurrent_requests": 20,
        "queue_size": 2000,
        "max_retries": 2,
        "first_byte_timeout": 0.3,
        "idle_timeout": 0.3,
        "first_content_timeout": 0.3,
        "api_key": {f"key{number}": f"sk-{number}" for number in range(4)},
    }
    ends: Counter[str] = Counter()
    began = time.monotonic()
    async with Simulator(tokens=10) as sim, client_of(sim.url, **settings) as client:
        pool = client._backend.pipeline.keys
        expected = (await client.chat("m", "x", **PATIENT)).text
        sim.random(0.3, FAULTS, seed=seed)

        async def one(number: int) -> None:
            kind = number % 4
            if kind == 0:
                assert (await client.chat("m", "x", priority=rng.choice(["HIGH", "NORMAL", "LOW"]))).text == expected
            elif kind == 1:
                assert (await client.stream("m", "x").collect()).text == expected
            elif kind == 2:
                assert len((await client.embed("m", ["a", "b"])).vectors) == 2
            else:
                async with client.stream("m", "x") as running:
                    async for _ in running:
                        if rng.random() < 0.2:
                            ends["left"] += 1
                            return

        async def watched(number: int) -> None:
            try:
                await one(number)
            except AccelerateError as error:
                ends[type(error).__name__] += 1
            except asyncio.CancelledError:
                ends["cancelled"] += 1
                raise
            else:
                ends["answered"] += 1

        async def free_keys() -> None:
            while True:  # the 401s among the faults would take the keys away one after the other
                await asyncio.sleep(0.002)
                for key in pool._keys.values():
                    key.quarantined_until = key.blocked_until = 0.0

        loop = asyncio.get_running_loop()
        freeing = asyncio.create_task(free_keys())
        tasks = []
        for number in range(1000):
            task = asyncio.create_task(watched(number))
            tasks.append(task)
            if rng.random() < 0.3:
                loop.call_later(rng.random() * 0.06, task.cancel)
            if number % 20 == 0:
                await asyncio.sleep(rng.random() * 0.01)
        done, pending = await asyncio.wait(tasks, timeout=120)
        assert not pending, f"{len(pending)} calls have no end"
        wrong = [task.exception() for task in done if not task.cancelled() and task.exception() is not None]
        assert not wrong, wrong[:3]
        freeing.cancel()
        await nothing_held(client, freeing)
        await eventually(lambda: sim.in_flight == 0)
        sim.clear()
        for key in pool._keys.values():
            key.quarantined_until = key.blocked_until = 0.0
        assert (await client.chat("m", "x", **PATIENT)).text == expected
        await nothing_held(client)
        # Connections that lie idle in the pool are known on both sides.
        idle = client._backend.transport._pool.idle  # type: ignore[union-attr]
        await eventually(lambda: sim.open_connections == sum(len(kept) for kept in idle.values()))
        found = client.snapshot()["usage"]
        assert found["total_requests"] == (
            found["successful_requests"] + found["failed_requests"] + found["cancelled_requests"]
        )
    assert ends["answered"] > 200
    assert ends["cancelled"] > 50
    assert len(ends) > 5
    assert time.monotonic() - began < 150
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left
