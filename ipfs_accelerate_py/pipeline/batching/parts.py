"""A call with more inputs than the service takes at once: cut, asked in parts, put together again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from ipfs_accelerate_py.pipeline.batching.shares import joined
from ipfs_accelerate_py.pipeline.batching.strategies import Bounds
from ipfs_accelerate_py.pipeline.batching.work import Work, part_of
from ipfs_accelerate_py.types import Call, Handler, Reply

__all__ = ["in_parts", "pieces"]

#: Parts of one call under way at once: one caller with a thousand of them must not fill the queue for all others.
AT_ONCE = 4


def pieces(work: Work, bounds: Bounds) -> list[int]:
    """Sizes of the parts, in order: one, where the service takes it whole. An input alone is never cut."""
    count = len(work.items)
    if count <= bounds.most_items and (count == 1 or sum(work.tokens) <= bounds.most_tokens):
        return [count]
    sizes: list[int] = []
    size = tokens = 0
    for each in work.tokens:
        if size and (size >= bounds.most_items or tokens + each > bounds.most_tokens):
            sizes.append(size)
            size = tokens = 0
        size += 1
        tokens += each
    sizes.append(size)
    return sizes


async def in_parts(call: Call, work: Work, sizes: Sequence[int], inner: Handler) -> Reply:
    """The answer as if it had been one call. The first error is the call's, and ends the other parts."""
    replies: list[Reply | None] = [None] * len(sizes)
    calls: list[Call] = []
    start = 0
    for size in sizes:
        calls.append(part_of(call, work, start, start + size))
        start += size
    left = iter(range(len(calls)))

    async def some(places: Iterator[int]) -> None:
        for place in places:
            replies[place] = await inner(calls[place])

    workers = [asyncio.ensure_future(some(left)) for _ in range(min(AT_ONCE, len(calls)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for part in calls:
            call.attempts.extend(part.attempts)
            call.queued = max(call.queued, part.queued)
    return joined(call.operation, [reply for reply in replies if reply is not None], work, sizes)
