"""The table of models: who is loaded, who is loading, who holds a lease, and who must go to make room."""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import msgspec

from ipfs_accelerate_py.runtimes.engines.base import LoadPlan

from .jobs import Servable

__all__ = ["Entry", "Key", "Loading", "Progress", "Table", "key_of"]

Key = tuple[str, bytes]


class Progress(msgspec.Struct):
    """How far the loading of a model is.

    ``phase`` is ``looking`` (for its files), ``found``, ``waiting`` (for memory), ``loading`` (``done`` of ``total``
    bytes), ``exporting``, ``warming``, ``ready``, ``failed`` (``error`` says why) or ``unloaded``.
    """

    name: str
    phase: str
    done: int = 0
    total: int = 0
    error: str = ""


class State(enum.Enum):
    """Of an entry."""

    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"


@dataclass(eq=False)
class Loading:
    """One task of one model that is being made ready, and those who wait for it."""

    task: str
    waiters: list[Future[Entry]] = field(default_factory=list)
    #: Until when the most patient of them waits for memory, by the manager's clock.
    until: float = 0.0


@dataclass(eq=False)
class Entry:
    """One model by one plan.

    Attributes:
        memory: bytes that are accounted to it: what it was found to have, or while it loads what it will take.
        leases: calls that have it now.
        used: when the last one ended.
        seen: a number that rises with every lease, for who was used longest ago.
        tasks: what it has been made ready for.
        doomed: to be unloaded when the last lease ends.
    """

    name: str
    plan: LoadPlan
    key: Key
    state: State = State.LOADING
    servable: Servable | None = None
    memory: int = 0
    leases: int = 0
    used: float = 0.0
    seen: int = 0
    pinned: bool = False
    doomed: bool = False
    tasks: set[str] = field(default_factory=set)
    loading: dict[str, Loading] = field(default_factory=dict)
    progress: Progress | None = None
    #: One task is made ready at a time.
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def idle(self) -> bool:
        """Whether nobody needs it now."""
        return self.state is State.READY and not self.leases and not self.loading


def key_of(name: str, plan: LoadPlan) -> Key:
    """Models are told apart by name, and by how they are loaded."""
    return name, msgspec.json.encode(plan, enc_hook=repr, order="deterministic")


class Table:
    """All entries, those that leave among them. Guarded by the manager's lock."""

    def __init__(self) -> None:
        self._present: dict[Key, Entry] = {}
        self._leaving: set[Entry] = set()

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._present.values()))

    def get(self, key: Key) -> Entry | None:
        return self._present.get(key)

    def add(self, entry: Entry) -> None:
        self._present[entry.key] = entry

    def named(self, name: str) -> list[Entry]:
        return [entry for entry in self if entry.name == name]

    @property
    def used(self) -> int:
        """Bytes that all of them have."""
        return sum(entry.memory for entry in (*self._present.values(), *self._leaving))

    @property
    def leaving(self) -> list[Entry]:
        return list(self._leaving)

    def leave(self, entry: Entry) -> None:
        """No call finds it any more; its memory counts until it is `gone`."""
        if self._present.get(entry.key) is entry:
            del self._present[entry.key]
        entry.state = State.LEAVING
        self._leaving.add(entry)

    def gone(self, entry: Entry) -> None:
        """It is unloaded, or was never loaded."""
        self._leaving.discard(entry)
        if self._present.get(entry.key) is entry:
            del self._present[entry.key]

    def victims(self, room: int) -> list[Entry] | None:
        """Who to unload for ``room`` bytes, those used longest ago first; None where all that may go is not enough."""
        found: list[Entry] = []
        for entry in sorted(self.removable(), key=lambda entry: entry.seen):
            if room <= 0:
                break
            found.append(entry)
            room -= entry.memory
        return found if room <= 0 else None

    def removable(self) -> Iterable[Entry]:
        """Who may be unloaded."""
        return [entry for entry in self if entry.idle and not entry.pinned]
