"""Limits by tenant, set and taken away through clients."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import ConfigurationError, LimitExceeded
from ipfs_accelerate_py.simulator import SimulatorThread
from tests.upstreams import nothing_held

from .support import Backend, Clock


async def test_of_a_client_by_tenant() -> None:
    with SimulatorThread() as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key="sk-1") as client:
            assert client.set_limits(requests_per_minute=2, tenant="*") == "tenant:*"
            for tenant in ("a", "a", "b", "b"):
                await client.chat("m", "hi", tenant=tenant)
            with pytest.raises(LimitExceeded):
                await client.chat("m", "hi", tenant="a")
            assert len(sim.requests) == 4
            assert {entry["tenant"]: entry["requests_left"] < 1 for entry in client.limits()} == {"a": True, "b": True}
            client.set_limits(tenant="*")
            await client.chat("m", "hi", tenant="a")
            assert client.limits() == []
            assert client.front.get("limits") is None
            await nothing_held(client)


def test_of_a_synchronous_client_from_many_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with SimulatorThread(latency=0.01) as sim, Client("openai", base_url=sim.url, api_key="sk-1") as client:
        client.set_limits(requests_per_minute=10, name="all")

        def ask(number: int) -> bool:
            try:
                client.chat("m", "hi")
            except LimitExceeded:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(ask, range(40))) == 10
        assert len(sim.requests) == 10
        assert client.remove_limits("all")
        assert not client.remove_limits("all")


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_minute": 0},
        {"requests_per_minute": True},
        {"max_concurrent": 1.5},
        {"tokens_per_minute": -1},
        {"requests_per_minute": 1, "wait": -1},
        {"requests_per_minute": 1, "tenant": None},
    ],
)
def test_wrong_limits_are_refused(wrong: dict[str, Any]) -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:9/v1", api_key="sk-1")
    with pytest.raises(ConfigurationError):
        client.set_limits(**wrong)
    assert client.front.get("limits") is None


async def test_limits_outlive_other_policies_coming_and_going(clock: Clock) -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:9/v1", api_key="sk-1")
    client.set_limits(max_concurrent=3)
    state = client.front.get("limits").state
    client.front.install("single_flight", lambda inner: Backend())
    client.front.remove("single_flight")
    assert client.front.get("limits").state is state
