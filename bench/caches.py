"""What a hit costs: exact (memory, disk, Redis) beside a call without a cache, semantic at 1k, 10k and 100k entries.

    python -m bench.caches [--rounds 5] [--out bench/results/caches]

Exact: an AsyncClient asks a fixed upstream on another core, contestants in turn within each round; a figure is the time
of one call, one at a time.

Semantic: the real all-MiniLM-L6-v2 embeds made-up questions; a hit is a question of the index in other words, a miss is
one that is near nothing. Embedding and search are timed apart, and the search beside a plain product with all vectors.
Of large indexes the first 20,000 vectors are those of questions, and the others are mixtures of two of them each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import Report, on_core, server
from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.features.embedding import open_embedding
from ipfs_accelerate_py.pipeline.cache import answers
from ipfs_accelerate_py.pipeline.cache.semantic import SemanticCache, SemanticCachePolicy
from ipfs_accelerate_py.runtimes.vector_index import VectorIndex
from ipfs_accelerate_py.types import Call, ChatRequest, Reply, Usage

CALLS = 300
#: Questions that are really embedded.
EMBEDDED = 20_000


def _words(text: str) -> list[str]:
    return text.split()


SUBJECTS = _words(
    """
    photosynthesis inflation gravity democracy bread glaciers vaccines batteries jazz volcanoes copyright chess
    planets enzymes taxes bridges coral syntax mortgages wolves tides lasers poetry steel rice turbines
    allergies satellites cotton migration neurons fossils robots insulin treaties orchids compilers droughts
    opera rubber
    """
)
ASPECTS = _words(
    """
    history price safety origin future purpose chemistry risks benefits structure speed meaning rules cost
    weight growth maintenance temperature taste law ethics teaching measurement storage transport recycling
    repair design colour testing
    """
)
PLACES = _words(
    """
    Kenya Peru Norway Japan Chile Ghana Vietnam Poland Canada Egypt Laos Malta Nepal Oman Qatar Spain Togo
    Uganda Yemen Zambia Cuba Fiji Haiti Iran Jordan Latvia Mali Niger Panama Serbia Tonga Ukraine Benin Chad
    Gabon India Kuwait Libya Monaco Nauru Palau Samoa Sudan Syria Turkey Angola Belize Brunei Cyprus Guinea
    """
)


def questions(count: int) -> list[str]:
    """So many questions, no two alike."""
    draw = random.Random(7)
    every = [
        f"What is the {aspect} of {subject} in {place} {year}?"
        for subject in SUBJECTS
        for aspect in ASPECTS
        for place in PLACES
        for year in ("today", "a century ago")
    ]
    return draw.sample(every, count)


async def timed(calls: int, call: Callable[[int], Awaitable[Any]]) -> dict[str, float]:
    """Microseconds of one call, one after the other."""
    taken = []
    for number in range(calls):
        began = time.perf_counter()
        await call(number)
        taken.append((time.perf_counter() - began) * 1e6)
    taken.sort()
    return {"us a call": statistics.median(taken), "p99 us": taken[int(0.99 * len(taken))]}


# --- exact ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str | None]:
    """A Redis of our own, or None where the program is not here."""
    from tests.servers import RedisServer

    program = shutil.which("redis-server", path=".tools") or shutil.which("redis-server")
    if program is None:
        yield None
        return
    running = RedisServer(program, folder)
    running.start()
    try:
        yield running.url
    finally:
        running.stop()


async def exact(report: Report, url: str, folder: Path, redis_url: str | None, rounds: int) -> None:
    stores: dict[str, dict[str, Any] | None] = {
        "no cache": None,
        "memory": {"store": "memory"},
        "disk": {"store": "disk", "path": folder / "answers"},
    }
    if redis_url is not None:
        stores["redis"] = {"store": "redis", "url": redis_url}
    clients: dict[str, AsyncClient] = {}
    for name, options in stores.items():
        clients[name] = AsyncClient("openai", base_url=url, api_key="k", max_concurrent_requests=64)
        if options is not None:
            await clients[name].enable_cache(**options)
    message = "Say something of a hundred tokens, please, so that the answer has a size. " * 3
    for number in range(rounds + 1):
        for name, client in clients.items():

            async def unary(_: int, client: AsyncClient = client) -> None:
                await client.chat("m", message)

            async def stream(_: int, client: AsyncClient = client) -> None:
                async for _chunk in client.stream("m", message):
                    pass

            async def missed(index: int, client: AsyncClient = client, round_: int = number) -> None:
                await client.chat("m", f"{round_} {index}")

            for case, call in (("chat, kept", unary), ("stream, kept", stream), ("chat, not kept yet", missed)):
                await call(0)
                await client.close_caches() if number == 0 else None
                figures = await timed(CALLS, call)
                if number:  # the first round warms up
                    report.add(case, name, figures, number)
    for client in clients.values():
        await client.aclose()


# --- semantic ------------------------------------------------------------------------------------------------------


async def answering(call: Call) -> Reply:
    return Reply(text="answer", finish_reason="stop", usage=Usage(10, 10, reported=True))


def asked(text: str) -> Call:
    request = ChatRequest("m", [{"role": "user", "content": text}])
    return Call(operation=request.operation, request=request, request_id="r")


async def semantic(report: Report, sizes: list[int], rounds: int) -> None:
    embed = await open_embedding(None, "mini")
    texts = questions(max(sizes))
    vectors: list[Any] = []
    for at in range(0, min(len(texts), EMBEDDED), 100):
        vectors.extend(await asyncio.gather(*map(embed, texts[at : at + 100])))
        if at % 10_000 == 0:
            print(f"embedded {at} of {min(len(texts), EMBEDDED)}", flush=True)
    mix = np.random.default_rng(3)
    real = np.stack(vectors)
    while len(vectors) < len(texts):
        one, other = mix.integers(len(real), size=2)
        mixed = real[one] + mix.uniform(0.3, 1.0) * real[other]
        vectors.append(mixed / np.linalg.norm(mixed))
    for size in sizes:
        await one_size(report, embed, texts[:size], vectors[:size], rounds)
    await embed.aclose()


async def one_size(report: Report, embed: Any, texts: list[str], vectors: list[Any], rounds: int) -> None:
    """Hits and misses of an index of so many questions."""
    size = len(texts)
    cache = SemanticCache(embed, VectorIndex(), cache_size=size + 5000, max_bytes=1 << 33)
    policy = SemanticCachePolicy(answering, cache)
    question = cache.question(asked("x"))
    data = answers.pack(await answering(asked("x")))
    assert question is not None
    assert data is not None
    group = question.partition
    for text, vector in zip(texts, vectors, strict=True):
        cache.meanings.add(group, text, vector, data, tenant="", model="m")
    flat = np.ascontiguousarray(np.stack(vectors))
    index: Any = cache.meanings._index
    draw = random.Random(size)
    known = draw.sample(texts[:EMBEDDED], min(size, 100 * (rounds + 1)))
    for number in range(rounds + 1):
        near = [text.replace("What is the", "Tell me the") for text in known[number * 100 :][:100]]
        far = [f"How do I knit {draw.getrandbits(40)} socks?" for _ in near]
        before = cache.stats.hits
        figures = {
            "hit": await timed(len(near), lambda at, batch=near: policy(asked(batch[at]))),  # type: ignore[misc]
            "miss": await timed(len(far), lambda at, batch=far: policy(asked(batch[at]))),  # type: ignore[misc]
        }
        hits = cache.stats.hits - before
        figures["embedding alone"] = await timed(len(near), lambda at, batch=near: embed(batch[at]))  # type: ignore[misc]
        found = [await embed(text) for text in near]

        async def ours(at: int, found: list[Any] = found) -> None:
            index.search(group, found[at], cache.similarity_threshold)

        async def plain(at: int, found: list[Any] = found) -> None:
            np.nonzero(flat @ found[at] >= cache.similarity_threshold)

        figures["search alone"] = await timed(len(near), ours)
        figures["product with all, numpy"] = await timed(len(near), plain)
        figures["hit"]["hits of 100"] = 100 * hits / len(near)
        if number:  # the first round warms up
            for name, row in figures.items():
                report.add(f"semantic, {size:,} entries ({index.nbytes / 1e6:.0f} MB of vectors)", name, row, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="1000,10000,100000", help="entries of the semantic cache")
    parser.add_argument("--out")
    options = parser.parse_args()
    cores = os.sched_getaffinity(0)
    on_core(0)
    report = Report(f"python -m bench.caches --rounds {options.rounds} --sizes {options.sizes}", "no cache")
    with tempfile.TemporaryDirectory() as folder, redis(Path(folder)) as redis_url:
        with server("bench.upstream", core=1) as url:
            asyncio.run(exact(report, url + "/v1", Path(folder), redis_url, options.rounds))
        os.sched_setaffinity(0, cores)  # the model may use them all
        sizes = [int(size) for size in options.sizes.split(",") if size]
        if sizes:
            asyncio.run(semantic(report, sizes, options.rounds))
    report.finish(options.out)


if __name__ == "__main__":
    main()
