"""The client beside raw aiohttp and the openai client: calls at concurrency 1, 16, 64; streams; synchronous calls.

    python -m bench.client [--rounds 5] [--out bench/results/client]

Paired: in each round every contestant runs once, in turn (A B C A B C ...), against the same upstream process on the
other core, and ratios are taken within a round. CPU is this process's own user and system time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from bench.harness import Report, on_core, server

MESSAGES = [{"role": "user", "content": "Say something short about foxes."}]
CALLS = {1: 1500, 16: 3000, 64: 3000}
STREAMS = 60
CHUNKS = 102  # 100 tokens, the end, the usage

Run = Callable[[], Awaitable[None]]


async def measure(run: Run, total: int, concurrency: int) -> dict[str, float]:
    """CPU microseconds a call, wall microseconds a call."""
    left = iter(range(total))

    async def worker() -> None:
        for _ in left:
            await run()

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return {
        "cpu_us": (time.process_time() - cpu) / total * 1e6,
        "wall_us": (time.perf_counter() - wall) / total * 1e6,
    }


async def asynchronous(url: str, rounds: int, report: Report) -> None:
    import aiohttp
    from openai import AsyncOpenAI

    from ipfs_accelerate_py import AsyncClient

    body = json.dumps({"model": "bench", "messages": MESSAGES}).encode()
    stream_body = json.dumps({"model": "bench", "messages": MESSAGES, "stream": True}).encode()
    headers = {"Authorization": "Bearer sk-bench", "Content-Type": "application/json"}
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    ours = AsyncClient("openai", base_url=url, api_key="sk-bench", max_concurrent_requests=64)
    theirs = AsyncOpenAI(base_url=url, api_key="sk-bench")

    async def raw_call() -> None:
        async with session.post(url + "/chat/completions", data=body, headers=headers) as answer:
            json.loads(await answer.read())

    async def our_call() -> None:
        await ours.chat("bench", MESSAGES)

    async def their_call() -> None:
        await theirs.chat.completions.create(model="bench", messages=MESSAGES)  # type: ignore[arg-type]

    async def raw_stream() -> None:
        async with session.post(url + "/chat/completions", data=stream_body, headers=headers) as answer:
            async for _ in answer.content.iter_any():
                pass

    async def our_stream() -> None:
        async for _ in ours.stream("bench", MESSAGES):
            pass

    async def their_stream() -> None:
        answer: Any = await theirs.chat.completions.create(model="bench", messages=MESSAGES, stream=True)  # type: ignore[arg-type]
        async for _ in answer:
            pass

    calls = {"raw aiohttp": raw_call, "ours": our_call, "openai": their_call}
    streams = {"raw aiohttp": raw_stream, "ours": our_stream, "openai": their_stream}
    for run in (*calls.values(), *streams.values()):
        await measure(run, 100, 4)  # connections, caches, lazy imports
    for number in range(rounds):
        for concurrency, total in CALLS.items():
            for name, run in calls.items():
                share = total // 6 if name == "openai" else total
                report.add(f"call c={concurrency}", name, await measure(run, share, concurrency), number)
        for name, run in streams.items():
            figures = await measure(run, STREAMS, 1)
            report.add("stream of 100 chunks, per chunk", name, {k: v / CHUNKS for k, v in figures.items()}, number)
    await session.close()
    await ours.aclose()
    await theirs.close()


def synchronous(url: str, rounds: int, report: Report) -> None:
    import http.client
    from urllib.parse import urlsplit

    from openai import OpenAI

    from ipfs_accelerate_py import Client

    ours = Client("openai", base_url=url, api_key="sk-bench")
    theirs = OpenAI(base_url=url, api_key="sk-bench")
    parts = urlsplit(url)
    raw = http.client.HTTPConnection(parts.netloc)
    body = json.dumps({"model": "bench", "messages": MESSAGES}).encode()

    def raw_call() -> None:
        raw.request("POST", parts.path + "/chat/completions", body, {"Content-Type": "application/json"})
        json.loads(raw.getresponse().read())

    contestants: dict[str, tuple[Callable[[], Any], int]] = {
        "http.client": (raw_call, 1500),
        "ours": (lambda: ours.chat("bench", MESSAGES), 1500),
        "openai": (lambda: theirs.chat.completions.create(model="bench", messages=MESSAGES), 300),  # type: ignore[arg-type]
    }
    for run, _ in contestants.values():
        for _ in range(50):
            run()
    for number in range(rounds):
        for name, (run, total) in contestants.items():
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(total):
                run()
            figures = {
                "cpu_us": (time.process_time() - cpu) / total * 1e6,
                "wall_us": (time.perf_counter() - wall) / total * 1e6,
            }
            report.add("synchronous call c=1", name, figures, number)
    raw.close()
    ours.close()
    theirs.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=None, help="write OUT.json and OUT.txt")
    arguments = parser.parse_args()
    report = Report("python -m bench.client", baseline="raw aiohttp")
    with server("bench.upstream", core=1) as url:
        on_core(0)
        uvloop.run(asynchronous(url + "/v1", arguments.rounds, report))
        synchronous(url + "/v1", arguments.rounds, report)
    report.finish(arguments.out)


if __name__ == "__main__":
    main()
