"""What a router does beside answering: sessions, health checks, shadow traffic; threads and forks."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ipfs_accelerate_py import Alias, Router, Target
from ipfs_accelerate_py.router.health import HealthChecks
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.types import ChatRequest
from tests.upstreams import eventually

from .support import nothing_held, nothing_held_sync, quick, target

pytestmark = pytest.mark.virtual_time

# --- sessions ----------------------------------------------------------------------------------------------------


async def test_a_session_stays_while_its_target_is_well(first: SimulatorThread, second: SimulatorThread) -> None:
    targets = [target(first, "m-1"), target(second, "m-2")]
    async with quick({"smart": Alias(targets, sticky=True, strategy="weighted")}, max_retries=0) as router:
        homes = {}
        for n in range(12):
            asked = [(await router.chat("smart", "Hello", session=f"s{n}")).target_model for _ in range(3)]
            assert len(set(asked)) == 1
            homes[f"s{n}"] = asked[0]
        assert set(homes.values()) == {"m-1", "m-2"}
        session = next(name for name, home in homes.items() if home == "m-1")
        first.always(Fault.status(503))
        assert (await router.chat("smart", "Hello", session=session)).target_model == "m-2"
        first.clear()
        assert (await router.chat("smart", "Hello", session=session)).target_model == "m-2", "it stays where it went"
        assert router.snapshot()["aliases"]["smart"]["sessions_moved"] == 1


# --- health checks -----------------------------------------------------------------------------------------------


def models(requests: list[Any]) -> int:
    return sum(request.path.endswith("/models") for request in requests)


async def test_a_dead_target_is_found_before_anybody_asks_it(first: SimulatorThread, second: SimulatorThread) -> None:
    async with quick(
        {"smart": [target(first, "m-1"), target(second, "m-2")]},
        health_check_interval=0.05,
        circuit_failure_threshold=3,
    ) as router:
        assert (await router.chat("smart", "Hello")).target_model == "m-1"
        primary = router.targets["openai/m-1"]
        first.always(Fault.status(503))
        await eventually(lambda: not primary.healthy, 3)
        await eventually(lambda: primary.backend.pipeline.breaker.snapshot()["state"] == "OPEN", 3)
        chats = len(first.requests) - models(first.requests)
        assert (await router.chat("smart", "Hello")).target_model == "m-2"
        assert len(first.requests) - models(first.requests) == chats
        first.clear()
        await eventually(lambda: primary.healthy, 3)
        assert primary.backend.pipeline.breaker.state == "HALF_OPEN", "the next call is let in as the probe"
        assert (await router.chat("smart", "Hello")).target_model == "m-1"
        assert primary.backend.pipeline.breaker.state == "CLOSED"
        usage = router.snapshot()["usage"]
        assert usage["total_requests"] == 3, "checks are nobody's calls"
        assert [key["active"] for key in primary.backend.pipeline.keys.snapshot().values()] == [0]
    await nothing_held(router)


async def test_a_refusal_is_no_sickness(first: SimulatorThread) -> None:
    checks = HealthChecks(5, "chat", lambda: router.targets.values())
    async with quick({"smart": [target(first, "m-1"), Target("hf_tei", "x", base_url=first.url)]}) as router:
        for fault in (Fault.status(401), Fault.status(404), Fault.status(429), Fault.status(400)):
            first.always(fault)
            for _ in range(3):
                await checks.check_all()
            assert all(each.healthy for each in router.targets.values())
            first.clear()
        assert first.requests[-1].body["max_tokens"] == 1
        first.always(Fault.reset())
        await checks.check_all()
        await checks.check_all()
        assert not router.targets["openai/m-1"].healthy
        assert router.snapshot()["targets"]["openai/m-1"]["healthy"] is False
        first.clear()
        assert (await router.chat("smart", "Hello")).target_model == "m-1", "unwell is better than nobody"


async def test_a_check_of_ones_own(first: SimulatorThread) -> None:
    asked = []

    def check(each: Any) -> ChatRequest:
        asked.append(each.name)
        return ChatRequest("", [{"role": "user", "content": "are you there?"}], {"max_tokens": 2})

    async with quick({"smart": [target(first, "m-1")]}, health_check_interval=0.03, health_check=check) as router:
        await router.chat("smart", "Hello")
        await eventually(lambda: len(asked) > 1, 3)
        await eventually(lambda: first.requests[-1].body["messages"][0]["content"] == "are you there?", 3)
        assert first.requests[-1].body["model"] == "m-1"


async def test_the_interval_has_jitter() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 2:
            await asyncio.Event().wait()

    draws = iter([0.0, 0.5, 0.99])
    checks = HealthChecks(10, "models", list, sleep=sleep, draw=lambda: next(draws))
    checks.start()
    checks.start()
    await eventually(lambda: len(slept) == 3)
    assert slept == [9.0, 10.0, pytest.approx(10.98)]
    await checks.aclose()
    await checks.aclose()


# --- shadow traffic ----------------------------------------------------------------------------------------------


async def test_a_shadow_gets_copies_and_nobody_waits_for_it(first: SimulatorThread, second: SimulatorThread) -> None:
    alias = Alias([target(first, "m-1")], shadow=[target(second, "m-2")])
    async with quick({"smart": alias}) as router:
        records: list[Any] = []
        router.usage_policy.observers.append(records.append)
        before = len(second.requests)
        assert (await router.chat("smart", "Hello")).target_model == "m-1"
        assert (await router.stream("smart", "Hello").collect()).text
        await eventually(lambda: router.snapshot()["shadows"]["in_flight"] == 0)
        assert len(second.requests) - before == 2
        assert second.requests[-1].body["model"] == "m-2"
        assert router.snapshot()["shadows"] == {"sent": 2, "failed": 0, "dropped": 0, "in_flight": 0}
        assert [record.model for record in records] == ["m-1", "m-1"], "the books know nothing of it"
        second.always(Fault.status(503))
        assert (await router.chat("smart", "Hello")).attempts == 1
        await eventually(lambda: router.snapshot()["shadows"]["failed"] == 1)
        await nothing_held(router)


async def test_shadows_are_bounded_and_end_with_the_router(first: SimulatorThread, second: SimulatorThread) -> None:
    second.always(Fault.hang())
    alias = Alias([target(first, "m-1", max_concurrent_requests=50)], shadow=[target(second, "m-2")])
    async with quick({"smart": alias}) as router:
        await asyncio.gather(*(router.chat("smart", "Hello") for _ in range(20)))
        assert router.snapshot()["shadows"] == {"sent": 16, "failed": 0, "dropped": 4, "in_flight": 16}
    await nothing_held(router)
    assert router.snapshot()["shadows"]["in_flight"] == 0


async def test_a_share_of_the_calls_is_shadowed(first: SimulatorThread, second: SimulatorThread) -> None:
    draws = iter([0.1, 0.3, 0.2, 0.9])
    alias = Alias([target(first, "m-1")], shadow=[target(second, "m-2")], shadow_share=0.25)
    async with quick({"smart": alias}, draw=lambda: next(draws)) as router:
        for _ in range(4):
            await router.chat("smart", "Hello")
        await eventually(lambda: router.snapshot()["shadows"]["in_flight"] == 0)
        assert router.snapshot()["shadows"]["sent"] == 2


# --- threads and forks -------------------------------------------------------------------------------------------


def test_many_threads(first: SimulatorThread, second: SimulatorThread) -> None:
    wide: dict[str, Any] = {"max_concurrent_requests": 50, "circuit_failure_threshold": 1000}
    first.always(Fault.status(503))
    with Router({"smart": [target(first), target(second, "m-2")]}, max_retries=0, **wide) as router:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda n: router.chat("smart", f"Hello {n}"), range(40)))
        assert {reply.target_model for reply in replies} == {"m-2"}
        assert router.snapshot()["usage"]["successful_requests"] == 40
        nothing_held_sync(router)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_begins_anew(first: SimulatorThread, second: SimulatorThread) -> None:
    with Router({"smart": [target(first), target(second, "m-2")]}, health_check_interval=30) as router:
        heard: list[Any] = []
        router.asynchronous.usage_policy.observers.append(heard.append)
        stream = router.stream("smart", "Hello")
        next(stream)
        child = os.fork()
        if child == 0:
            code, before = 1, len(heard)
            try:
                ok = router.chat("smart", "Hello").target_model == "m-1"
                state = router.snapshot()
                ok = ok and state["usage"]["total_requests"] == 1 and state["targets"]["openai/m-1"]["outstanding"] == 0
                code = 0 if ok and len(heard) == before + 1 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert stream.collect().text
        assert all(each["outstanding"] == 0 for each in router.snapshot()["targets"].values())
