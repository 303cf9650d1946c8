"""Embeddings of many callers, batched beside unbatched, in one client each.

    python -m bench.batching [--rounds 5] [--out bench/results/batching]

Paired: in each round both run once, in turn (A B A B ...), and ratios are taken within a round. The upstream is the
simulator on the other core, which takes 20 ms for a call whatever is in it (a hosted service's network and queue), or
all-MiniLM-L6-v2 in this process. Every caller asks for one text at a time and asks again when it has its vector.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import time
from typing import Any

import uvloop

from bench.harness import Report, on_core, process

LATENCY = 0.02
CALLERS = 64
CALLS = 1280
WORDS = ("river", "stone", "music", "table", "window", "winter", "garden", "letter", "shadow", "market", "silver")


def text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(4, 24)))


async def measure(client: Any, model: str, callers: int, calls: int) -> dict[str, float]:
    """Calls a second, a caller's wait (ms), this process's CPU a call."""
    draw = random.Random(1)
    texts = iter([text(draw) for _ in range(calls)])
    waits: list[float] = []

    async def caller() -> None:
        for each in texts:
            began = time.perf_counter()
            reply = await client.embed(model, each)
            waits.append(time.perf_counter() - began)
            assert len(reply.vectors) == 1

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - wall
    waits.sort()
    return {
        "calls_per_s": calls / seconds,
        "median_ms": statistics.median(waits) * 1e3,
        "p99_ms": waits[int(len(waits) * 0.99)] * 1e3,
        "cpu_us": (time.process_time() - cpu) / calls * 1e6,
    }


def pair(backend: str, **options: Any) -> dict[str, Any]:
    """Two clients that differ in nothing else."""
    from ipfs_accelerate_py import AsyncClient

    made = {name: AsyncClient(backend, **options) for name in ("unbatched", "batched")}
    made["batched"].enable_batching()
    return made


async def compare(
    report: Report, case: str, clients: dict[str, Any], model: str, callers: int, calls: int, rounds: int
) -> None:
    for client in clients.values():
        await measure(client, model, callers, max(callers, calls // 10))  # warm: connections, model, buffers
    for number in range(rounds):
        for name, client in clients.items():
            before = client.batching_stats()
            figures = await measure(client, model, callers, calls)
            after = client.batching_stats()
            merged = after["batched_requests"] - before["batched_requests"]
            sent = after["batches"] - before["batches"] + calls - merged
            report.add(case, name, {**figures, "upstream_calls": float(sent)}, number)
        print(f"{case}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    for client in clients.values():
        await client.aclose()


async def run(rounds: int, report: Report, url: str) -> None:
    service = {"base_url": f"{url}/v1", "api_key": "sk-bench", "queue_size": 1000}
    model = "text-embedding-3-small"
    await compare(
        report, f"{CALLERS} callers, 20 ms a call, 64 at once",
        pair("openai", max_concurrent_requests=64, **service), model, CALLERS, CALLS, rounds,
    )  # fmt: skip
    await compare(
        report, f"{CALLERS} callers, 20 ms a call, 5 at once (the default)",
        pair("openai", **service), model, CALLERS, CALLS, rounds,
    )  # fmt: skip
    await compare(report, "1 caller, 20 ms a call", pair("openai", **service), model, 1, 50, rounds)
    await compare(
        report, f"{CALLERS} callers, all-MiniLM-L6-v2 in this process",
        pair("local"), "all-MiniLM-L6-v2", CALLERS, CALLS // 2, rounds,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    simulator = [
        sys.executable, "-m", "ipfs_accelerate_py", "simulate", "openai",
        "--port", "0", "--latency", str(LATENCY), "--dimensions", "256",
    ]  # fmt: skip
    report = Report("python -m bench.batching", "unbatched")
    with process(simulator, core=1) as (url, _):
        on_core(0)
        uvloop.run(run(arguments.rounds, report, url))
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
