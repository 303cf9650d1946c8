"""Loading models into a budget of memory, and unloading others for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ipfs_accelerate_py.errors import MemoryExhausted, QueueTimeout, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.progress import telling

from .entries import Entry, Loading, Progress, State, Table
from .jobs import Servable
from .memory import free_unused
from .weighing import readable, weigh

__all__ = ["Loader", "Make"]

# Seconds between two looks at the clock while memory is waited for; what frees some wakes us at once.
_LOOK = 0.25


# Bytes for which it is worth to search the whole interpreter for what can be freed, which takes a moment.
_WORTH = 16 << 20


class Make(Protocol):
    """Makes a servable, which loads nothing until it is opened. ``told`` hears phase, done and total bytes."""

    def __call__(self, name: str, path: Path, plan: LoadPlan, told: Callable[[str, int, int], None]) -> Servable: ...


class Loader:
    """Fills the table, each model in a thread of its own. Thread-safe.

    Args:
        table: of models; guarded by ``lock``.
        lock: notified whenever memory may have become free.
        find: a model's name to its place.
        make: as `Make`.
        budget: bytes for all models together; asked at every use.
        clock: seconds.
        told: hears of every phase, in any thread; must not wait.
    """

    def __init__(
        self,
        table: Table,
        lock: threading.Condition,
        *,
        find: Callable[[str], Path],
        make: Make,
        budget: Callable[[], int],
        clock: Callable[[], float],
        told: Callable[[Progress], None],
    ) -> None:
        self._table = table
        self._lock = lock
        self._find = find
        self._make = make
        self._budget = budget
        self._clock = clock
        self._told = told

    def begin(self, entry: Entry, loading: Loading) -> None:
        """Make a task ready; call with the lock held. Those who wait in ``loading`` hear of the outcome."""
        entry.loading[loading.task] = loading
        threading.Thread(
            target=self._run, args=(entry, loading), name=f"load_{entry.name.rpartition('/')[2]}", daemon=True
        ).start()

    def unload(self, entry: Entry) -> None:
        """Unload what has left the table. Blocks."""
        servable, entry.servable = entry.servable, None
        here = servable is not None and not servable.facts.isolated
        try:
            if servable is not None:
                servable.close()
        finally:
            del servable
            if here and entry.memory >= _WORTH:
                free_unused()
            with self._lock:
                self._table.gone(entry)
                self._lock.notify_all()
            self.tell(entry, "unloaded")

    def tell(self, entry: Entry, phase: str, done: int = 0, total: int = 0, error: str = "") -> None:
        """Let everybody know how far it is."""
        entry.progress = progress = Progress(entry.name, phase, done, total, error)
        self._told(progress)

    # --- in the loading's thread ------------------------------------------------------------------------------------

    def _run(self, entry: Entry, loading: Loading) -> None:
        try:
            with entry.turn:
                if entry.state is State.LEAVING:
                    raise RuntimeUnavailable(f"model {entry.name!r} has been unloaded")
                self._load(entry, loading.task, loading)
        except BaseException as error:
            self._failed(entry, loading, error)
            return
        self.tell(entry, "ready", entry.memory, entry.memory)
        with self._lock:
            if entry.state is State.LOADING:
                entry.state = State.READY
            entry.used = self._clock()
            entry.tasks.add(loading.task)
            del entry.loading[loading.task]
            if entry.doomed and entry.state is State.READY:  # everything was closed while it loaded
                self._table.leave(entry)
                loading.waiters, gone = [], loading.waiters
            else:
                gone = []
            for waiter in loading.waiters:
                if waiter.set_running_or_notify_cancel():
                    entry.leases += 1
                    waiter.set_result(entry)
            unused = entry.state is State.LEAVING and not entry.leases and not entry.loading
            self._lock.notify_all()
        for waiter in gone:
            if waiter.set_running_or_notify_cancel():
                waiter.set_exception(RuntimeUnavailable(f"model {entry.name!r} has been unloaded"))
        if unused:
            self.unload(entry)

    def _load(self, entry: Entry, task: str, loading: Loading) -> None:
        servable, first = entry.servable, entry.servable is None
        if servable is None:
            path = self._find(entry.name)
            self.tell(entry, "found")
            total = weigh(path, entry.plan)
            self._reserve(entry, loading, total)

            def told(phase: str, done: int, total: int) -> None:
                self.tell(entry, phase, done, total or entry.memory)

            servable = self._make(entry.name, path, entry.plan, told)
        else:
            self._reserve(entry, loading, asyncio.run(servable.cost(task)))
        self.tell(entry, "loading", 0, entry.memory)
        try:
            with telling(lambda phase, done, total: self.tell(entry, phase, done, total or entry.memory)):
                facts = asyncio.run(servable.open(task))
        except BaseException:
            if first:
                servable.close()
            raise
        measured = max(facts.memory, servable.memory())
        with self._lock:
            entry.servable = servable
            entry.memory = measured
            over = self._table.used - sum(each.memory for each in self._table.leaving) - self._budget()
            fat = (self._table.victims(over) or []) if over > 0 else []
            for victim in fat:
                self._table.leave(victim)
        # It takes more than its files said (a process of its own, buffers): others make room for that too.
        for victim in fat:
            self.unload(victim)

    def _reserve(self, entry: Entry, loading: Loading, need: int) -> None:
        """Account ``need`` further bytes to the entry, when there is room: unload others, or wait for them."""
        told = False
        while True:
            victims = None
            with self._lock:
                self._check(entry, need)
                missing = self._table.used + need - self._budget()
                if missing <= 0:
                    entry.memory += need
                    return
                # What is being unloaded already is as good as gone; and then others may stay.
                missing -= sum(each.memory for each in self._table.leaving if not each.leases)
                if missing > 0:
                    victims = self._table.victims(missing)
                for victim in victims or ():
                    self._table.leave(victim)
                if not victims:
                    self._check_patience(entry, loading, need)
                    if told:
                        self._lock.wait(_LOOK)
            if not told and not victims:
                told = True
                self.tell(entry, "waiting", 0, need)
            for victim in victims or ():
                self.unload(victim)

    def _check(self, entry: Entry, need: int) -> None:
        budget = self._budget()
        whole = entry.memory + need
        if whole > budget:
            raise MemoryExhausted(
                f"model {entry.name!r} needs {readable(whole)} ({whole} bytes) of memory, and the budget for all "
                f"models is {readable(budget)} ({budget} bytes)"
            )
        pinned = sum(other.memory for other in self._table if other.pinned and other is not entry)
        if whole + pinned > budget:
            raise MemoryExhausted(
                f"model {entry.name!r} needs {readable(whole)} of memory; of the budget of {readable(budget)}, pinned "
                f"models hold {readable(pinned)}"
            )

    def _check_patience(self, entry: Entry, loading: Loading, need: int) -> None:
        waiting = any(not waiter.cancelled() for waiter in loading.waiters)
        if not waiting or self._clock() >= loading.until:
            raise QueueTimeout(self.crowded(entry, need))

    def crowded(self, entry: Entry, need: int) -> str:
        """Why a model has to wait; call with the lock held."""
        held = [other.name for other in (*self._table, *self._table.leaving) if other.leases and other is not entry]
        return (
            f"model {entry.name!r} needs {readable(need)} of memory; of the budget of {readable(self._budget())} "
            f"{readable(self._table.used)} are taken, by models that calls are using: {', '.join(held) or 'none'}"
        )

    def _failed(self, entry: Entry, loading: Loading, error: BaseException) -> None:
        with self._lock:
            entry.loading.pop(loading.task, None)
            if entry.servable is None:
                entry.state = State.LEAVING
                self._table.gone(entry)
            else:
                # What it has for the tasks before this one.
                entry.memory = max(entry.servable.facts.memory, entry.servable.memory())
            waiters = list(loading.waiters)
            unused = entry.servable is not None and entry.state is State.LEAVING
            unused = unused and not entry.leases and not entry.loading
            self._lock.notify_all()
        self.tell(entry, "failed", error=str(error))
        if unused:
            self.unload(entry)
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_exception(error)
