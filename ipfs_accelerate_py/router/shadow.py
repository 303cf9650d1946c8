"""Shadow traffic: copies of calls for targets whose answers nobody waits for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.router.aliases import AliasState
from ipfs_accelerate_py.router.attempt import attempt_call
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.types import Call, Priority, new_request_id

__all__ = ["MOST_SHADOWS", "Shadows"]

#: Copies under way at once; further ones are dropped, and counted.
MOST_SHADOWS = 16


class Shadows:
    """Sends copies, in tasks of their own: what becomes of them is told to nobody but the targets' own counters.

    They pass none of the policies in front of the router, so no cache, budget or ledger knows of them.
    """

    def __init__(
        self,
        most: int = MOST_SHADOWS,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._draw = draw
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.reset()

    def reset(self) -> None:
        """Forget everything: in a forked child the tasks are the parent's."""
        self._tasks = set()
        self.sent = self.failed = self.dropped = 0

    def send(self, alias: AliasState, call: Call, limit: float | None) -> None:
        """Send the copies that are due of this call; each may take ``limit`` seconds."""
        for target in alias.shadows:
            if self._draw() >= alias.config.shadow_share:
                continue
            if len(self._tasks) >= self._most:
                self.dropped += 1
                continue
            # The caller's own call goes on being written to, so what is sent is settled now.
            twin = replace(
                call,
                request_id=new_request_id(),
                priority=Priority.LOW,
                deadline=None if limit is None else self._clock() + limit,
                attempts=[],
                asked=[],
                queued=0.0,
                lease=None,
                hurry=None,
                tags=None,
            )
            task = asyncio.get_running_loop().create_task(self._send(target, twin, alias.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, target: Routed, call: Call, alias: str) -> None:
        self.sent += 1
        try:
            reply = await target.ask(attempt_call(call, target, alias, None, self._clock))
            if reply.stream is not None:
                async with reply.stream as stream:
                    while await stream.next_batch():
                        pass
        except AccelerateError:
            self.failed += 1

    def snapshot(self) -> dict[str, Any]:
        """Copies sent, failed, dropped because too many were under way, and under way now."""
        return {"sent": self.sent, "failed": self.failed, "dropped": self.dropped, "in_flight": len(self._tasks)}

    async def aclose(self) -> None:
        """Give up those under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
