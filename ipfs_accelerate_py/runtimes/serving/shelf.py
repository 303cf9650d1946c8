"""What is known of the models of a manager: its table, its counts, and what it tells whoever looks."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.runtimes.models import find_model

from .entries import Progress, State, Table
from .jobs import Facts
from .loader import Loader, Make
from .making import Maker
from .memory import total_memory
from .nursery import Nursery
from .settings import ServingSettings
from .sweeping import Sweeper

__all__ = ["Shelf"]

# The share of the machine's memory that models get where nobody says how much.
_SHARE = 0.8


class Shelf:
    """The part of a `ModelManager` that holds its state and answers questions about it. Arguments: see there."""

    def __init__(
        self,
        settings: ServingSettings | None = None,
        *,
        find: Callable[[str], Path] = find_model,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[Progress], None] | None = None,
        nursery: Nursery | None = None,
        make: Make | None = None,
    ) -> None:
        self.settings = settings or ServingSettings()
        self.settings.check()
        self._find = find
        self._clock = clock
        self._listeners: list[Callable[[Progress], None]] = [told] if told is not None else []
        self._maker = Maker(self.settings, nursery, clock)
        self._make = make or self._maker
        self._reset()

    def _reset(self) -> None:
        self._generation = forks.generation()
        self._lock = threading.Condition()
        self._table = Table()
        self._seen = count(1)
        self._closed = False
        self._counts = dict.fromkeys(("loads", "failed_loads", "unloads", "leases"), 0)
        self._loader = Loader(
            self._table,
            self._lock,
            find=self._find,
            make=self._make,
            budget=self.budget,
            clock=self._clock,
            told=self._tell,
        )
        self._sweeper = Sweeper(weakref.WeakMethod(self.sweep), self._lock)

    def sweep(self) -> list[str]:
        """Unload what need not stay: `ModelManager` knows what."""
        raise NotImplementedError

    def budget(self) -> int:
        """Bytes for all models together."""
        return self.settings.budget or int(_SHARE * total_memory())

    def loaded(self) -> list[Facts]:
        """What is loaded now; ``memory`` is what each has by the last measurement."""
        self._check_fork()
        with self._lock:
            entries = [(entry, entry.servable) for entry in self._table if entry.state is State.READY]
        found = []
        for entry, servable in entries:
            if servable is not None:
                facts = servable.facts
                facts.memory = max(entry.memory, facts.memory)
                found.append(facts)
        return found

    def progress(self) -> list[Progress]:
        """How far the loadings are that are under way."""
        self._check_fork()
        with self._lock:
            return [entry.progress for entry in self._table if entry.loading and entry.progress is not None]

    def listen(self, told: Callable[[Progress], None]) -> Callable[[], None]:
        """Hear of every phase of every loading, from any thread; gives what ends that."""
        self._listeners.append(told)
        return lambda: self._listeners.remove(told) if told in self._listeners else None

    def snapshot(self) -> dict[str, Any]:
        """Budget and memory taken (bytes), counts since the start, and by model what it is doing."""
        self._check_fork()
        with self._lock:
            entries = [(entry, entry.servable) for entry in self._table]
            found: dict[str, Any] = {
                "budget": self.budget(),
                "memory": self._table.used,
                "leaving": len(self._table.leaving),
                **self._counts,
            }
        now = self._clock()
        found["models"] = [
            {
                "name": entry.name,
                "state": entry.state.value,
                "runtime": servable.facts.runtime if servable is not None else "",
                "device": servable.facts.device if servable is not None else "",
                "precision": servable.facts.precision if servable is not None else "",
                "memory": entry.memory,
                "leases": entry.leases,
                "idle_s": now - entry.used if entry.idle else 0.0,
                "pinned": entry.pinned,
                "tasks": sorted(entry.tasks),
                "heads": servable.snapshot() if servable is not None else {},
            }
            for entry, servable in entries
        ]
        return found

    def _tell(self, progress: Progress) -> None:
        if progress.phase == "failed":
            self._counts["failed_loads"] += 1
        for listener in list(self._listeners):
            listener(progress)

    def _check_fork(self) -> None:
        if self._generation != forks.generation():
            self._reset()  # the models, their threads and processes are our parent's
