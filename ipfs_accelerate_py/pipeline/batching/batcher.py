"""The policy: callers wait for each other for a moment, one call goes upstream, and each has its own answer.

Everything runs on one event loop. A call that goes alone runs in its caller's own task, untouched; a merged one has a
task of its own, which ends when the last of its callers has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Any

from ipfs_accelerate_py.deadlines import Deadlines
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.pipeline.batching.cutter import BatchCutter
from ipfs_accelerate_py.pipeline.batching.gathering import Group, Member
from ipfs_accelerate_py.pipeline.batching.parts import in_parts, pieces
from ipfs_accelerate_py.pipeline.batching.strategies import Strategies
from ipfs_accelerate_py.pipeline.batching.totals import BatchTotals
from ipfs_accelerate_py.pipeline.batching.work import MERGEABLE, work_of
from ipfs_accelerate_py.types import Call, Handler, Operation, Reply

__all__ = ["Batcher", "BatchingPolicy"]


class BatchingPolicy:
    """Gives what may be merged to the `Batcher`, and everything else on."""

    def __init__(self, inner: Handler, batcher: Batcher) -> None:
        self._inner = inner
        self.batcher = batcher

    async def __call__(self, call: Call) -> Reply:
        if call.operation not in self.batcher.operations:
            return await self._inner(call)
        return await self.batcher.ask(call, self._inner)


class Batcher:
    """What batching keeps: who waits for whom, and counts.

    Args:
        strategies: how much goes together.
        operations: those that are merged.
        learn: asks the service, once, before the first call that may be merged, how many inputs it takes at once.
    """

    def __init__(
        self,
        strategies: Strategies,
        operations: Collection[Operation] = MERGEABLE,
        *,
        learn: Callable[[], Awaitable[int | None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.strategies = strategies
        self.operations = frozenset(operations)
        self.totals = BatchTotals()
        self.clock = clock
        self.loop: asyncio.AbstractEventLoop
        self.deadlines: Deadlines
        self.groups: dict[Hashable, Group] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self._learn = learn
        self._learning: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Another loop, or a forked child's: who waited on the old one is nobody's here."""
        self._loop = self.loop = loop
        self.deadlines = Deadlines(loop)
        self.groups = {}
        self.tasks = set()
        self._learning = None

    async def ask(self, call: Call, inner: Handler) -> Reply:
        """Answer a call of an operation that is merged; ``inner`` is what is behind the policy."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._renew(loop)
        if self._learn is not None:
            await self._learnt(self._learn)
        work = work_of(call)
        if work is None:
            self.totals.apart += 1
            return await inner(call)
        bounds = self.strategies.bounds(call.operation, call.request.model)
        sizes = pieces(work, bounds)
        if len(sizes) > 1:
            self.totals.cut(len(sizes))
            return await in_parts(call, work, sizes, inner)
        group = self.groups.get(work.key)
        if group is None:
            made: BatchCutter[Member] = BatchCutter(bounds.items, bounds.tokens, bounds.wait, self.clock)
            group = self.groups[work.key] = Group(self, work.key, inner, made)
        cutter = group.cutter
        cutter.max_items, cutter.max_tokens, cutter.max_wait = bounds.items, bounds.tokens, bounds.wait
        member = Member(call, work, group, loop.create_future(), self.clock())
        if call.deadline is not None:
            self.deadlines.add(member)
        group.add(member)
        try:
            reply = await member.future
        except asyncio.CancelledError:
            group.left(member)
            raise
        if reply is not None:
            return reply
        try:
            return await inner(call)
        finally:
            group.ended()

    async def _learnt(self, learn: Callable[[], Awaitable[int | None]]) -> None:
        if self._learning is None:
            self._learning = self.loop.create_task(self._ask_service(learn))
        await asyncio.shield(self._learning)

    async def _ask_service(self, learn: Callable[[], Awaitable[int | None]]) -> None:
        try:
            takes = await learn()
        except AccelerateError:
            takes = None  # what is usual will do
        if takes is not None and takes >= 1:
            self.strategies.service_takes(takes)
        self._learn = None

    def snapshot(self) -> dict[str, Any]:
        """Counts so far, and who waits now."""
        waiting = sum(len(group.cutter) for group in self.groups.values())
        return {**self.totals.snapshot(), "waiting": waiting}
