"""Budgets with what they are used with: prices, the ledger, a router."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ipfs_accelerate_py import AsyncClient, AsyncRouter, Client, Target
from ipfs_accelerate_py.errors import BudgetExceeded
from ipfs_accelerate_py.simulator import SimulatorThread

#: US dollars for a million tokens.
PRICES = {"m": {"input": 1000.0, "output": 2000.0}, "dear": {"input": 10_000.0, "output": 20_000.0}}


async def test_what_was_spent_is_spent_after_a_restart(tmp_path: Path) -> None:
    book = tmp_path / "ledger.db"
    with SimulatorThread(tokens=100) as sim:
        spent = 0.0
        for _ in range(3):
            async with AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
                client.track_costs(PRICES)
                await client.open_ledger(str(book))
                client.set_budget(usd=1.0, tenant="*")
                reply = await client.chat("m", "hello", tenant="a", max_tokens=100)
                assert reply.cost is not None
                spent += reply.cost.total
                (account,) = client.budgets()
                assert account["spent_usd"] == pytest.approx(spent)
                await client.close_ledger()
        async with AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
            client.track_costs(PRICES)
            await client.open_ledger(str(book))
            client.set_budget(usd=1.0, tenant="*")
            with pytest.raises(BudgetExceeded):
                await client.chat("m", "hello", tenant="a", max_tokens=int((1.0 - spent) / 0.002))
            await client.chat("m", "hello", tenant="b", max_tokens=400)
            await client.close_ledger()


async def test_500_racing_calls_in_dollars() -> None:
    """Never more than the budget, as the upstream itself counts what it was asked for."""
    with SimulatorThread(latency=0.002, tokens=50) as sim:
        async with AsyncClient(
            "openai", base_url=sim.url, api_key="sk-1", max_concurrent_requests=50, queue_size=1000
        ) as client:
            client.track_costs(PRICES)
            client.set_budget(usd=2.0, per="total")
            for _ in range(3):
                calls = [client.chat("m", f"number {n}", max_tokens=50) for n in range(500)]
                done = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(each, BudgetExceeded) for each in done if isinstance(each, BaseException))
            good = [request.usage for request in sim.requests if request.status == 200]
            billed = sum((use["prompt_tokens"] * 1000 + use["completion_tokens"] * 2000) / 1e6 for use in good if use)
            (account,) = client.budgets()
            assert 1.5 < billed <= 2.0
            assert account["spent_usd"] == pytest.approx(billed)
            assert account["reserved_usd"] == 0


async def test_of_a_router_the_dearest_target_is_reserved_and_the_one_that_answered_is_charged() -> None:
    with SimulatorThread(tokens=10) as sim:
        targets = [Target("openai", model, base_url=sim.url, api_key="sk-1") for model in ("m", "dear")]
        async with AsyncRouter({"smart": targets}) as router:
            router.track_costs(PRICES)
            router.set_budget(usd=5.0, model="smart")
            with pytest.raises(BudgetExceeded):
                await router.chat("smart", "hi", max_tokens=300)  # 0.60 with the one, 6.00 with the other
            reply = await router.chat("smart", "hi", max_tokens=100)
            assert reply.cost is not None
            assert router.budgets()[0]["spent_usd"] == pytest.approx(reply.cost.total)
            assert reply.cost.total < 0.1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_holds_nothing_of_its_parents_calls() -> None:
    with SimulatorThread(latency=0.3, tokens=10) as sim, Client("openai", base_url=sim.url, api_key="sk-1") as client:
        client.set_budget(tokens=600, per="total")
        client.set_limits(max_concurrent=1, name="one")
        import threading

        thread = threading.Thread(target=lambda: client.chat("m", "hi", max_tokens=10))
        thread.start()
        while not client.budgets() or not client.budgets()[0]["reserved_tokens"]:
            pass
        child = os.fork()
        if child == 0:
            code = 1
            try:
                client.chat("m", "hi", max_tokens=10)
                code = 0 if client.budgets()[0]["reserved_tokens"] == 0 else 2
            finally:
                os._exit(code)
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
