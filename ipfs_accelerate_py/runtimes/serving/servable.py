"""One model in this process: engine, processing, scheduler and generation behind the face of a `Servable`.

A checkpoint is loaded once for each of Transformers' Auto classes that its tasks need: tasks of one class share a
network (a *head* here), and another class of the same checkpoint is another network.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import weakref
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.progress import tell
from ipfs_accelerate_py.types import Chunk

from .base import Head
from .jobs import Done, Facts, Job
from .opening import Model, Wanted
from .warming import warm

__all__ = ["LocalServable", "open_servable"]


def open_servable(name: str, path: Path, *, task: str | None = None, plan: LoadPlan | None = None) -> LocalServable:
    """Load the model at ``path`` for a task (its own where none is said). Slow, and blocks: call it off the loop.

    Raises:
        UnsupportedOperation: the model has no such task.
        RuntimeUnavailable: it cannot be loaded here, with the reason.
        MissingExtra: a library that it needs is not installed.
    """
    made = LocalServable(Model(name, path, plan or LoadPlan()))
    try:
        made.open_now(task or "")
    except BaseException:
        made.close()
        raise
    return made


# Threads that are inside torch when the interpreter ends abort the process, so what nobody closed is closed then.
_open: weakref.WeakSet[LocalServable] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for servable in list(_open):
        servable.close()


class LocalServable:
    """See `Servable`. May be used from several event loops."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._opening = threading.Lock()
        self._heads: dict[str, Head] = {}
        self._warm: set[str] = set()
        self._closed = False
        _open.add(self)

    @property
    def facts(self) -> Facts:
        heads = list(self._heads.values())
        described = [head.described for head in heads]
        first = described[0] if described else None
        return Facts(
            name=self._model.name,
            model_type=self._model.model_type,
            tasks=self._model.tasks,
            runtime=first.runtime if first else "",
            device=first.device if first else "",
            precision=first.precision if first else "",
            memory=sum(each.memory for each in described),
            loss=max((each.loss for each in described if each.loss is not None), default=None),
        )

    async def run(self, job: Job) -> Done:
        task, head = await self._head(job.task)
        return await head.run(task, job)

    async def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        task, head = await self._head(job.task)
        async for chunk in head.stream(task, job):
            yield chunk

    def snapshot(self) -> dict[str, Any]:
        return {key: dict(head.snapshot()) for key, head in list(self._heads.items())}

    async def cost(self, task: str) -> int:
        wanted = await asyncio.to_thread(self._model.wanted, task)
        if wanted.key in self._heads:
            return 0
        return max((each.described.memory for each in self._heads.values()), default=0)

    def memory(self) -> int:
        return self.facts.memory

    async def open(self, task: str) -> Facts:
        await asyncio.to_thread(self.open_now, task)
        return self.facts

    def open_now(self, task: str) -> None:
        """As `open`, blocking."""
        wanted = self._model.wanted(task)
        head = self._load(wanted)
        if wanted.task not in self._warm:
            self._warm.add(wanted.task)
            tell("warming")
            warm(head, wanted.task)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """As `aclose`, blocking."""
        with self._opening:
            self._closed = True
            heads, self._heads = self._heads, {}
        for head in heads.values():
            head.close()

    async def _head(self, task: str) -> tuple[str, Head]:
        # Usually there is nothing to do, and then no thread is asked.
        wanted = self._model.known(task)
        head = self._heads.get(wanted.key) if wanted is not None else None
        if wanted is None or head is None or not head.ready(wanted.task):
            wanted = await asyncio.to_thread(self._model.wanted, task)
            head = await asyncio.to_thread(self._load, wanted)
        return wanted.task, head

    def _load(self, wanted: Wanted) -> Head:
        with self._opening:
            if self._closed:
                raise RuntimeUnavailable(f"model {self._model.name!r} has been unloaded")
            head = self._heads.get(wanted.key)
            if head is None:
                head = self._heads[wanted.key] = self._model.load(wanted)
            if not head.ready(wanted.task):
                try:
                    head.prepare(wanted.task)
                except BaseException:
                    # A network that none of its tasks can use is only in the way.
                    if not any(head.ready(each) for each in self._model.tasks):
                        del self._heads[wanted.key]
                        head.close()
                    raise
            return head
