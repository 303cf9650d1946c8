"""Budgets of clients, over real sockets: held under any race, whatever becomes of the calls."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import BudgetExceeded, ConfigurationError
from ipfs_accelerate_py.pipeline.accounts import BudgetWarning
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.upstreams import QUICK, eventually, nothing_held

# --- races, over real sockets ------------------------------------------------------------------------------------


def spent_upstream(sim: SimulatorThread) -> int:
    return sum(request.usage["total_tokens"] for request in sim.requests if request.usage and request.status == 200)


@pytest.mark.parametrize("stream", [False, True])
async def test_500_racing_calls_never_spend_more_than_the_budget(stream: bool) -> None:
    with SimulatorThread(latency=0.002, tokens=40) as sim:
        async with AsyncClient(
            "openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=50, queue_size=1000
        ) as client:
            told: list[BudgetWarning] = []
            client.set_budget(tokens=5000, per="total", tenant="*", on_warning=told.append)

            async def one(number: int) -> bool:
                tenant = "ab"[number % 2]
                try:
                    if stream:
                        async for _ in client.stream("m", f"number {number}", tenant=tenant, max_tokens=40):
                            pass
                    else:
                        await client.chat("m", f"number {number}", tenant=tenant, max_tokens=40)
                except BudgetExceeded:
                    return False
                return True

            answered = 0
            for _ in range(4):  # those refused because of reservations come back
                answered += sum(await asyncio.gather(*(one(n) for n in range(500))))
            accounts = {account["tenant"]: account for account in client.budgets()}
            for account in accounts.values():
                assert 4000 < account["spent_tokens"] <= 5000
                assert account["reserved_tokens"] == 0
            assert sum(account["spent_tokens"] for account in accounts.values()) == spent_upstream(sim)
            assert len([request for request in sim.requests if request.status == 200]) == answered
            assert {warning.share for warning in told} >= {0.8}
            await nothing_held(client)


async def test_racing_calls_that_fail_leave_or_are_cut_leave_no_reservation_behind() -> None:
    with SimulatorThread(latency=0.002, tokens=20) as sim:
        sim.random(0.3, [Fault.status(500), Fault.reset(), Fault.cut(after=3), Fault.status(429)], seed=7)
        async with AsyncClient(
            "openai",
            base_url=sim.url,
            api_key="sk-1",
            max_concurrent_requests=20,
            queue_size=1000,
            **{**QUICK, "max_retries": 1},
        ) as client:
            client.set_budget(tokens=20_000, per="total")

            async def one(number: int) -> None:
                async for _ in client.stream("m", f"number {number}", max_tokens=20):
                    if number % 7 == 0:
                        break

            tasks = [asyncio.create_task(one(n)) for n in range(200)]
            await asyncio.sleep(0.05)
            for task in tasks[::5]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del tasks
            await eventually(lambda: client.budgets()[0]["reserved_tokens"] == 0)
            assert spent_upstream(sim) <= client.budgets()[0]["spent_tokens"] <= 20_000


async def test_a_stream_that_its_caller_forgets_is_settled_at_once() -> None:
    """Not when the collector of cycles comes by."""
    with SimulatorThread(tokens=20, chunk_interval=0.05) as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
            client.set_budget(tokens=20_000)
            gc.disable()
            try:
                async for _ in client.stream("m", "hi"):
                    break
                await eventually(lambda: client.budgets()[0]["reserved_tokens"] == 0)
                await nothing_held(client)
            finally:
                gc.enable()


# --- switches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"usd": 0},
        {"usd": "5"},
        {"tokens": 1.5},
        {"usd": 1, "per": "year"},
        {"usd": 1, "warn_at": (2,)},
        {"usd": 1, "unpriced": "maybe"},
    ],
)
def test_wrong_budgets_are_refused(wrong: dict[str, Any]) -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:9/v1", api_key="sk-1")
    with pytest.raises(ConfigurationError):
        client.set_budget(**wrong)
    assert client.front.get("limits") is None


def test_of_a_synchronous_client() -> None:
    with SimulatorThread(tokens=10) as sim, Client("openai", base_url=sim.url, api_key="sk-1") as client:
        name = client.set_budget(tokens=400, per="day", model="m")
        assert name == "model:m/day"
        client.chat("m", "hi", max_tokens=10)
        with pytest.raises(BudgetExceeded):
            client.chat("m", "hi", max_tokens=1000)
        client.chat("other", "hi", max_tokens=1000)
        assert 0 < client.budget_shares()[name] < 1
        assert client.budgets()[0]["budget"] == name
        client.set_limits(requests_per_minute=100)
        assert client.remove_budget(name)
        assert client.budgets() == []
        client.chat("m", "hi", max_tokens=1000)
        assert client.remove_limits("all")
