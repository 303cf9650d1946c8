"""Many models under one budget of memory: loaded when they are asked for, unloaded when others need the room.

::

    async with manager.lease("all-MiniLM-L6-v2", "sentence-similarity") as servable:
        done = await servable.run(Job(task="sentence-similarity", inputs=["a"]))

While a lease is held its model stays. Anything here may be called from any event loop and any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import QueueTimeout, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan

from .entries import Entry, Loading, Progress, State, key_of
from .jobs import Facts, Servable
from .shelf import Shelf

__all__ = ["ModelManager"]


class ModelManager(Shelf):
    """See the module.

    Args:
        settings: read live.
        find: a model's name to its place; raises `RuntimeUnavailable` where it is not on this machine.
        clock: seconds, for idle time and deadlines.
        told: hears of every phase of every loading, from any thread; must not wait.
        nursery: where workers come from, for isolation by process; by default one of its own.
        make: makes servables, for isolation of another kind.
    """

    # --- using ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str, task: str = "", plan: LoadPlan | None = None, *, deadline: float | None = None
    ) -> AsyncIterator[Servable]:
        """A model, ready for a task (its own where none is said), for as long as the context lasts.

        Loads it where it is not, once however many wait for it, and unloads others for it: those that nobody has
        leased, whose last lease ended longest ago first.

        Args:
            deadline: an instant of the manager's clock.

        Raises:
            MemoryExhausted: it is larger than the whole budget.
            QueueTimeout: leases of others held the memory until the deadline.
            RuntimeUnavailable: it is not on this machine, or cannot be loaded, with the reason.
            UnsupportedOperation: it has no such task.
        """
        entry = await self._acquire(name, task, plan or LoadPlan(), deadline)
        try:
            assert entry.servable is not None
            yield entry.servable
        finally:
            self._release(entry)

    async def load(
        self,
        name: str,
        task: str = "",
        plan: LoadPlan | None = None,
        *,
        pin: bool = False,
        deadline: float | None = None,
    ) -> Facts:
        """Load a model and run it once. Raises as `lease`."""
        async with self.lease(name, task, plan, deadline=deadline) as servable:
            if pin:
                self.pin(name)
            return servable.facts

    async def unload(self, name: str) -> int:
        """Unload a model, by whatever plans it is loaded, when the leases that there are have ended; how many there
        were. Calls that come meanwhile load it anew."""
        return await asyncio.to_thread(self._unload, name)

    async def preload(self) -> dict[str, Exception | None]:
        """Load what the settings say, one after another; what went wrong, by name."""
        found: dict[str, Exception | None] = {}
        for name in self.settings.preload:
            try:
                await self.load(name)
            except Exception as error:
                found[name] = error
            else:
                found[name] = None
        return found

    def pin(self, name: str, pinned: bool = True) -> None:
        """Keep a loaded model, whatever else is asked for; or no longer."""
        self._check_fork()
        with self._lock:
            for entry in self._table.named(name):
                entry.pinned = pinned
            self._lock.notify_all()

    # --- ending ---------------------------------------------------------------------------------------------------

    def sweep(self) -> list[str]:
        """Unload what has been idle for too long or is over the budget by now; names. Called by a thread of our own
        while there is a limit, and by whoever has a clock of his own. Blocks."""
        limit = self.settings.idle_timeout
        with self._lock:
            idle = [(entry, entry.servable) for entry in self._table if entry.idle]
        measured = {e: max(s.facts.memory, s.memory()) for e, s in idle if s is not None}
        with self._lock:
            for entry, memory in measured.items():
                entry.memory = memory
            now = self._clock()
            old = [e for e in self._table.removable() if limit is not None and now - e.used >= limit]
            for entry in old:
                self._table.leave(entry)
            over = self._table.used - sum(entry.memory for entry in self._table.leaving) - self.budget()
            fat = self._table.victims(over) if over > 0 else []
            for entry in fat or ():
                self._table.leave(entry)
        gone = [*old, *(fat or ())]
        for entry in gone:
            self._loader.unload(entry)
        self._counts["unloads"] += len(gone)
        return [entry.name for entry in gone]

    async def aclose(self) -> None:
        """Unload everything; calls that are under way fail."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """As `aclose`, blocking."""
        if self._generation != forks.generation():
            return
        with self._lock:
            self._closed = True
            entries = list(self._table)
            for entry in entries:
                entry.doomed = True
                if entry.state is State.READY and not entry.loading:
                    self._table.leave(entry)
            self._lock.notify_all()
        for entry in entries:
            if entry.state is State.LEAVING:
                self._loader.unload(entry)
        with self._lock:
            self._lock.wait_for(lambda: not list(self._table) and not self._table.leaving, timeout=30)
        self._sweeper.close()
        self._maker.close()

    # --- leases ---------------------------------------------------------------------------------------------------

    async def _acquire(self, name: str, task: str, plan: LoadPlan, deadline: float | None) -> Entry:
        self._check_fork()
        key = key_of(name, plan)
        waiter: Future[Entry] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeUnavailable("the models of this machine have been closed")
            entry = self._table.get(key)
            if entry is not None and entry.state is State.READY and task in entry.tasks:
                entry.leases += 1
                return entry
            if entry is None:
                entry = Entry(name, plan, key, pinned=name in self.settings.pinned, progress=Progress(name, "looking"))
                self._table.add(entry)
            loading = entry.loading.get(task)
            if loading is None:
                loading = Loading(task)
                self._loader.begin(entry, loading)
                self._counts["loads"] += 1
            loading.waiters.append(waiter)
            patience = self._clock() + self.settings.wait if deadline is None else deadline
            loading.until = max(loading.until, patience)
        try:
            async with asyncio.timeout(None if deadline is None else max(0.0, deadline - self._clock())):
                return await asyncio.wrap_future(waiter)
        except TimeoutError:
            self._leave(waiter)
            with self._lock:
                message = self._loader.crowded(entry, entry.memory)
            phase = entry.progress.phase if entry.progress is not None else "loading"
            if phase == "waiting":
                raise QueueTimeout(message) from None
            raise QueueTimeout(f"model {name!r} was not ready in time: {phase}") from None
        except asyncio.CancelledError:
            self._leave(waiter)
            raise

    def _leave(self, waiter: Future[Entry]) -> None:
        """Give back what a waiter gets who is gone."""

        def give_back(done: Future[Entry]) -> None:
            if not done.cancelled() and done.exception() is None:
                self._release(done.result())

        waiter.cancel()
        waiter.add_done_callback(give_back)
        with self._lock:
            self._lock.notify_all()

    def _release(self, entry: Entry) -> None:
        with self._lock:
            entry.leases -= 1
            entry.used = self._clock()
            entry.seen = next(self._seen)
            self._counts["leases"] += 1
            self._lock.notify_all()
            last = entry.state is State.LEAVING and not entry.leases and not entry.loading
            if self.settings.idle_timeout is not None and not self._closed:
                self._sweeper.start(self.settings.idle_timeout)
        if last and entry.servable is not None:
            threading.Thread(target=self._loader.unload, args=(entry,), name="unload", daemon=True).start()

    def _unload(self, name: str) -> int:
        self._check_fork()
        with self._lock:
            found = [entry for entry in self._table.named(name) if entry.state is State.READY]
            for entry in found:
                entry.doomed = True
                self._table.leave(entry)
            free = [entry for entry in found if not entry.leases and not entry.loading]
        for entry in free:
            self._loader.unload(entry)
        self._counts["unloads"] += len(found)
        with self._lock:
            self._lock.wait_for(lambda: not set(found) & set(self._table.leaving))
        return len(found)
