"""A stream that its reader forgets gives back slot, key and connection at once, and not when the garbage is collected.

Whatever hangs on a stream must not hold the reply that holds the stream: here the collector of cycles is off.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ipfs_accelerate_py import AsyncClient, AsyncRouter
from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.router.targets import Alias
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.router.support import held as held_by_router
from tests.router.support import quick, target
from tests.telemetry.support import Spans
from tests.upstreams import client_of
from tests.upstreams import held as held_by_client

Host: TypeAlias = "AsyncClient | AsyncRouter"
TEXT = "One sees it coming from afar, and says so twice, so that everybody has heard of it by now. " * 8
PRICES = {"openai/m": {"input": 1, "output": 1}}


@pytest.fixture(scope="module")
def _services() -> Iterator[tuple[SimulatorThread, SimulatorThread]]:
    with (
        SimulatorThread("openai", reply=TEXT, chunk_interval=0.002) as first,
        SimulatorThread("openai", reply=TEXT, chunk_interval=0.002) as second,
    ):
        yield first, second


@pytest.fixture
def services(_services: tuple[SimulatorThread, SimulatorThread]) -> Iterator[tuple[SimulatorThread, SimulatorThread]]:
    for service in _services:
        service.clear()
    yield _services
    for service in _services:
        service.clear()


@pytest.fixture(params=["client", "router"])
async def host(
    request: pytest.FixtureRequest, services: tuple[SimulatorThread, SimulatorThread]
) -> AsyncIterator[Host]:
    first, second = services
    if request.param == "client":
        async with client_of(first.url) as client:
            yield client
    else:
        async with router_of(first, second) as router:
            yield router


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def router_of(first: SimulatorThread, second: SimulatorThread, model: str = "m") -> AsyncRouter:
    targets = [target(first, "m", name="first"), target(second, model, name="second")]
    return quick({"m": Alias(targets)}, mid_stream="continue")


# --- what may be on ----------------------------------------------------------------------------------------------


async def plain(host: Host, folder: Path) -> None:
    pass


async def single_flight(host: Host, folder: Path) -> None:
    host.enable_single_flight(nondeterministic=True)


async def hedging(host: Host, folder: Path) -> None:
    host.enable_hedging(0.001, most_share=1.0)


async def tracing(host: Host, folder: Path) -> None:
    host.enable_tracing(provider=Spans().provider, capture_content=True)


async def exact_cache(host: Host, folder: Path) -> None:
    await host.enable_cache()


async def semantic_cache(host: Host, folder: Path) -> None:
    async def embed(text: str) -> list[float]:
        return [1.0, float(len(text))]

    await host.enable_semantic_cache(embed=embed)


async def limits_and_budget(host: Host, folder: Path) -> None:
    host.track_costs(PRICES, package=False)
    host.set_limits(tokens_per_minute=1_000_000, max_concurrent=1)
    host.set_budget(usd=1000.0, tokens=10_000_000)


async def ledger(host: Host, folder: Path) -> None:
    await host.open_ledger(folder / "usage.sqlite3")


async def everything(host: Host, folder: Path) -> None:
    for turn_on in (single_flight, hedging, tracing, exact_cache, semantic_cache, limits_and_budget, ledger):
        await turn_on(host, folder)


FEATURES: list[Callable[[Host, Path], Awaitable[None]]] = [
    plain, single_flight, hedging, tracing, exact_cache, semantic_cache, limits_and_budget, ledger, everything,
]  # fmt: skip


# --- forgetting --------------------------------------------------------------------------------------------------


async def begun(host: Host, **options: Any) -> Any:
    """A stream of which two chunks are read."""
    stream = host.stream("m", "Hello", **options)
    for _ in range(2):
        await anext(stream)
    return stream


def held(host: Host) -> dict[str, Any]:
    if isinstance(host, AsyncClient):
        return held_by_client(host)
    return held_by_router(host)


def counted(host: Host) -> dict[str, Any]:
    """What the policies in front hold."""
    found = {
        **{f"flights {name}": count for name, count in host.single_flight_stats().items() if name == "in_flight"},
        **{f"limit {number}": each["active"] for number, each in enumerate(host.limits())},
        **{f"budget {number}": each["reserved_tokens"] for number, each in enumerate(host.budgets())},
    }
    return {name: count for name, count in found.items() if count}


async def a_few_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turn_on", FEATURES, ids=lambda turn_on: turn_on.__name__)
async def test_a_forgotten_stream_holds_nothing(
    host: Host, turn_on: Callable[[Host, Path], Awaitable[None]], tmp_path: Path, no_collector: None
) -> None:
    await turn_on(host, tmp_path)
    for _ in range(2):
        stream = await begun(host)
        assert held(host)
        del stream
        await a_few_turns()
        assert not held(host)
        assert not counted(host)


async def test_a_stream_forgotten_after_the_second_attempt_has_answered_it(
    services: tuple[SimulatorThread, SimulatorThread], no_collector: None
) -> None:
    async with router_of(*services) as router:
        router.enable_hedging(0.01, most_share=1.0)
        services[0].script(Fault.latency(5.0))
        stream = await begun(router)
        assert router.hedging_stats()["won"] == 1
        del stream
        await a_few_turns()
        assert not held(router)


async def test_a_stream_forgotten_after_another_target_has_gone_on_with_it(
    services: tuple[SimulatorThread, SimulatorThread], no_collector: None
) -> None:
    """And the books say who has answered: the one that went on."""
    records: list[CallRecord] = []
    async with router_of(*services, model="n") as router:
        router.usage_policy.observers.append(records.append)
        router.enable_tracing(provider=Spans().provider)
        services[0].script(Fault.cut(after=4))
        stream = router.stream("m", "Hello")
        for _ in range(8):
            await anext(stream)
        assert router.targets["second"].outstanding == 1
        assert stream.reply is not None
        assert stream.reply.target_model == "n"
        del stream
        await a_few_turns()
        assert not held(router)
        [record] = records
        assert (record.outcome, record.model) == ("cancelled", "n")


async def test_the_books_of_a_shared_stream_whose_readers_forget_it_one_by_one(
    services: tuple[SimulatorThread, SimulatorThread], no_collector: None
) -> None:
    """The call is in the books of who was there to the last, and of nobody else."""
    records: list[CallRecord] = []
    async with client_of(services[0].url) as client:
        client.enable_single_flight(nondeterministic=True)
        client.usage_policy.observers.append(records.append)
        first, second = await begun(client), await begun(client)
        assert client.single_flight_stats()["shared"] == 1
        del first
        await a_few_turns()
        assert held(client)["slots"] == 1
        await anext(second)
        del second
        await a_few_turns()
        assert not held(client)
        assert [record.cache for record in records] == ["shared", ""]
