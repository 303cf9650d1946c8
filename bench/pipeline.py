"""What the whole pipeline costs with everything on, and what priorities are worth under load.

    python -m bench.pipeline [--rounds 5] [--out bench/results/pipeline]

The cost: CPU of this process for a call that nothing can answer but the upstream (every text is asked once), with each
feature by itself and with all of them, beside the same client with none. The priorities: a HIGH call now and then, into
a queue that 400 callers keep full, beside the same calls where all have one priority, and where nobody else is there.

Paired: in each round every contestant runs once, in turn, against the same upstream process on the other core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from bench.client import measure
from bench.harness import Report, on_core, server
from ipfs_accelerate_py import AsyncClient

CALLS = {1: 1500, 16: 3000}
#: US dollars for a million tokens: the benchmark's model is in nobody's list.
PRICES = {"bench": {"input": 1.0, "output": 2.0}}

# priorities
SLOTS = 4
DELAY = 0.02
BACKGROUND = 400
#: One call each so many seconds: not in step with the slots.
EVERY = 0.047
SAMPLES = 100

Switch = Callable[[AsyncClient], Awaitable[None]]


# --- the cost of everything --------------------------------------------------------------------------------------


async def tracing(client: AsyncClient) -> None:
    """Spans to an exporter that throws them away: what it takes to send them is the collector's affair."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    client.enable_tracing(provider=provider)


async def unsampled(client: AsyncClient) -> None:
    """Tracing is on and this call is not chosen: the upstream is told of it, and nothing else happens."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    client.enable_tracing(provider=TracerProvider(sampler=ALWAYS_OFF))


async def metrics(client: AsyncClient) -> None:
    from opentelemetry.sdk.metrics import MeterProvider

    client.enable_metrics(provider=MeterProvider())


async def alerts(client: AsyncClient) -> None:
    client.add_alert("error_rate", above=0.5)
    client.add_alert("latency_p95", above=60)
    client.add_alert("breaker_open", above=1)


async def prices(client: AsyncClient) -> None:
    client.track_costs(PRICES, package=False)


async def limits(client: AsyncClient) -> None:
    client.set_limits(requests_per_minute=10_000_000, tokens_per_minute=10_000_000_000)
    client.set_budget(usd=1e9, unpriced="allow")


async def exact_cache(client: AsyncClient) -> None:
    await client.enable_cache()


async def single_flight(client: AsyncClient) -> None:
    client.enable_single_flight(nondeterministic=True)


@contextlib.asynccontextmanager
async def contestants(url: str) -> AsyncIterator[dict[str, AsyncClient]]:
    """Clients by what is switched on in them."""
    made: dict[str, AsyncClient] = {}
    with tempfile.TemporaryDirectory() as folder:
        number = itertools.count()

        async def ledger(client: AsyncClient) -> None:
            await client.open_ledger(Path(folder) / f"{next(number)}.sqlite3")

        single: dict[str, Switch] = {
            "prices": prices,
            "exact cache": exact_cache,
            "single flight": single_flight,
            "limits and a budget": limits,
            "ledger": ledger,
            "three alerts": alerts,
            "metrics": metrics,
            "tracing, not sampled": unsampled,
            "tracing": tracing,
        }
        untraced = [switch for name, switch in single.items() if not name.startswith("tracing")]
        everything: dict[str, list[Switch]] = {
            "plain": [],
            **{name: [switch] for name, switch in single.items()},
            "everything but tracing": untraced,
            "everything": [*untraced, tracing],
        }
        try:
            for name, switches in everything.items():
                client = made[name] = AsyncClient("openai", base_url=url, api_key="sk-b", max_concurrent_requests=64)
                for switch in switches:
                    await switch(client)
            yield made
        finally:
            for client in made.values():
                await client.close_ledger()
                await client.disable_tracing()
                await client.aclose()


async def cost(url: str, rounds: int, report: Report) -> None:
    asked = itertools.count()
    async with contestants(url) as clients:

        def call_of(client: AsyncClient) -> Callable[[], Awaitable[None]]:
            async def call() -> None:
                text = f"Say something short about fox number {next(asked)}."
                await client.chat("bench", [{"role": "user", "content": text}], temperature=0, tenant="acme")

            return call

        runs = {name: call_of(client) for name, client in clients.items()}
        for run in runs.values():
            await measure(run, 200, 4)  # connections, lazy imports
        for number in range(rounds):
            for concurrency, total in CALLS.items():
                for name, run in runs.items():
                    report.add(f"call c={concurrency}", name, await measure(run, total, concurrency), number)


# --- priorities --------------------------------------------------------------------------------------------------


async def arrivals(client: AsyncClient, priority: str) -> list[float]:
    """Seconds that calls took which came one by one, whatever became of those before."""
    took: list[float] = []

    async def one() -> None:
        began = time.perf_counter()
        await client.chat("bench", "x", priority=priority)
        took.append(time.perf_counter() - began)

    tasks = []
    for _ in range(SAMPLES):
        tasks.append(asyncio.create_task(one()))
        await asyncio.sleep(EVERY)
    await asyncio.gather(*tasks)
    return took


@contextlib.asynccontextmanager
async def crowd(client: AsyncClient, count: int) -> AsyncIterator[None]:
    """So many callers with LOW calls, each of whom asks again as soon as it is answered."""

    async def ask() -> None:
        while True:
            await client.chat("bench", "x", priority="LOW")

    tasks = [asyncio.create_task(ask()) for _ in range(count)]
    try:
        if tasks:
            await asyncio.sleep(0.2)  # until the queue is full
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def priorities(url: str, rounds: int, report: Report) -> None:
    settings: dict[str, Any] = {"max_concurrent_requests": SLOTS, "queue_size": 2 * BACKGROUND}
    async with AsyncClient("openai", base_url=url, api_key="sk-b", **settings) as client:
        for number in range(rounds):
            for name, priority, count in (
                ("nobody else", "HIGH", 0),
                ("HIGH, queue full of LOW", "HIGH", BACKGROUND),
                ("one priority for all", "LOW", BACKGROUND),
            ):
                async with crowd(client, count):
                    took = await arrivals(client, priority)
                share = statistics.quantiles(took, n=100, method="inclusive")
                figures = {"p50_ms": share[49] * 1e3, "p99_ms": share[98] * 1e3, "max_ms": max(took) * 1e3}
                case = f"{SLOTS} slots, answers after {DELAY * 1e3:g} ms, {BACKGROUND} callers in the queue"
                report.add(case, name, figures, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=None, help="write OUT.json and OUT.txt")
    arguments = parser.parse_args()
    report = Report("python -m bench.pipeline", baseline="plain")
    on_core(0)
    with server("bench.upstream", core=1) as url:
        uvloop.run(cost(url + "/v1", arguments.rounds, report))
    with server("bench.upstream", "--delay", str(DELAY), core=1) as url:
        uvloop.run(priorities(url + "/v1", arguments.rounds, report))
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
