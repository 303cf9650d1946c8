"""One model in a process of its own, behind the face of a `Servable`: its end fails calls, and never this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.types import Chunk

from .alone import Alone
from .bridging import outcome
from .capping import watch
from .connection import Connection
from .crashes import Crashes
from .jobs import Done, Facts, Job
from .memory import own_memory
from .messages import Load, Run, Weigh
from .nursery import Child, Nursery

__all__ = ["RemoteServable"]


class RemoteServable:
    """See `Servable`. May be used from several event loops.

    A call that a worker had when it crashed is asked once more, of another worker: what a model computes changes
    nothing, so that is harmless. Such calls run one at a time, so that the one which makes the model crash does not
    take the others with it a second time.

    Args:
        nursery: where workers come from.
        memory: most bytes of private memory of a worker; 0 is no limit.
        frame_limit: bytes of the largest call or answer.
        told: hears how far a load is: phase, done and total bytes.
        crashes: counts them, over several of these where the model is made anew.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        plan: LoadPlan,
        nursery: Nursery,
        *,
        memory: int = 0,
        frame_limit: int = 512 << 20,
        told: Callable[[str, int, int], None] = lambda phase, done, total: None,
        crashes: Crashes | None = None,
    ) -> None:
        self._name = name
        self._path = path
        self._plan = plan
        self._nursery = nursery
        self._memory = memory
        self._limit = frame_limit
        self._told = told
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._child: Child | None = None
        self._starting: Future[Connection] | None = None
        self._starter: threading.Thread | None = None
        self._closed = False
        self._alone = Alone()
        self._crashes = crashes or Crashes()
        #: Tasks that a new worker is made ready for, in order.
        self._tasks: list[str] = []
        self._facts = Facts(name=name, model_type="", tasks=[], runtime="", device="", precision="", isolated=True)

    @property
    def facts(self) -> Facts:
        return msgspec.structs.replace(self._facts)

    @property
    def pid(self) -> int | None:
        """Of the worker, where one runs."""
        child = self._child
        return child.pid if child is not None and not child.ended.done() else None

    async def run(self, job: Job) -> Done:
        connection = await self._connected()
        try:
            return await self._run(connection, job)
        except RuntimeUnavailable:
            if self._closed or not connection.lost:
                raise
        async with self._alone.turn():
            return await self._run(await self._connected(), job)

    async def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        begun = False
        connection = await self._connected()
        try:
            async for chunk in connection.stream(job):
                begun = True
                yield chunk
        except RuntimeUnavailable:
            if begun or self._closed or not connection.lost:
                raise
        else:
            self._crashes.answered()
            return
        async with self._alone.turn():
            async for chunk in (await self._connected()).stream(job):
                yield chunk
        self._crashes.answered()

    async def cost(self, task: str) -> int:
        connection = await self._connected()
        found = await connection.call(lambda number: Weigh(number, task))
        weight: int = found.memory
        return weight

    async def open(self, task: str) -> Facts:
        """As of `Servable`; the first one starts the worker. A worker that ends while it loads is not tried again."""
        if not self._tasks:
            self._tasks.append(task)
        connection = await self._connected()
        if task not in self._tasks:
            opened = await connection.call(lambda number: self._load(number, task))
            self._facts = opened.facts
            self._tasks.append(task)
        return self.facts

    def snapshot(self) -> dict[str, Any]:
        connection = self._connection
        heads = connection.snapshot if connection is not None else {}
        worker = {"pid": self.pid, "crashes": self._crashes.total, "memory": self.memory()}
        return {**heads, "worker": worker}

    def memory(self) -> int:
        pid = self.pid
        return own_memory(pid) if pid is not None else 0

    async def aclose(self) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            starter = self._starter
        if (connection := self._connection) is not None:
            connection.stop()
        if starter is not None:
            starter.join()
        if (connection := self._connection) is not None:
            connection.stop()
            self._connection = None

    # --- the worker -------------------------------------------------------------------------------------------------

    async def _run(self, connection: Connection, job: Job) -> Done:
        answered = await connection.call(lambda number: Run(number, job))
        self._crashes.answered()
        done: Done = answered.done
        return done

    async def _connected(self) -> Connection:
        """The worker that there is, or a new one: started once, however many wait for it."""
        with self._lock:
            if self._closed:
                raise RuntimeUnavailable(f"model {self._name!r} has been unloaded")
            if self._connection is not None:
                return self._connection
            starting = self._starting
            if starting is None:
                self._crashes.check(self._name)
                starting = self._starting = Future()
                self._starter = threading.Thread(target=self._start, args=(starting,), name="worker_start", daemon=True)
                self._starter.start()
        waiting: Future[Connection] = Future()
        starting.add_done_callback(lambda done: _copy(done, waiting))
        return await outcome(waiting)

    def _start(self, starting: Future[Connection]) -> None:
        connection = None
        try:
            sock, child = self._nursery.bear(memory=self._memory)
            self._child = child
            if self._memory:
                watch(child, self._memory)
            connection = Connection(self._name, sock, child, limit=self._limit, told=self._told, ended=self._ended)
            for task in list(self._tasks) or [""]:
                _, answer, _ = connection.ask(lambda number, task=task: self._load(number, task))  # type: ignore[misc]
                self._facts = answer.result().facts
        except BaseException as error:
            if connection is not None:
                connection.stop()
            self._started(starting, None)
            starting.set_exception(error)
            return
        self._started(starting, connection)
        starting.set_result(connection)

    def _started(self, starting: Future[Connection], connection: Connection | None) -> None:
        with self._lock:
            self._starting = None
            self._starter = None
            # One that has ended meanwhile was said to be so before it was the one to use: nobody would say it again.
            self._connection = connection if connection is not None and not connection.ended else None

    def _load(self, number: int, task: str) -> Load:
        return Load(number, self._name, str(self._path), task, self._plan, self._limit)

    def _ended(self, connection: Connection, crashed: bool) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
            if crashed:
                self._crashes.note()


def _copy(done: Future[Connection], waiting: Future[Connection]) -> None:
    """A future of each one's own: who leaves must not cancel what the others wait for."""
    if not waiting.set_running_or_notify_cancel():
        return
    error = done.exception()
    if error is not None:
        waiting.set_exception(error)
    else:
        waiting.set_result(done.result())
