"""Answers in this process's memory, bounded by the bytes they really take."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ipfs_accelerate_py.pipeline.cache.stores import Pattern

__all__ = ["MemoryStore"]

#: What an entry takes beside the bytes of name and value: two objects' heads, a tuple, a float, and its place in the
#: dictionary. A little more than tracemalloc finds on CPython 3.11, so that the bound holds; the tests look at it.
ENTRY_OVERHEAD = 250


class MemoryStore:
    """The least recently used entries give way when ``max_bytes`` are full."""

    name = "memory"
    immediate = True

    def __init__(self, max_bytes: int = 256 << 20, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()
        self._bytes = 0
        self.evictions = 0
        self.expired = 0

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        return [self.find(name) for name in names]

    def find(self, name: str) -> bytes | None:
        """`get` of one name, for those who know that they need not wait."""
        found = self._entries.get(name)
        if found is None:
            return None
        value, until = found
        if until is not None and self._clock() >= until:
            self._drop(name)
            self.expired += 1
            return None
        self._entries.move_to_end(name)
        return value

    def put(self, name: str, value: bytes, ttl: float | None) -> bool:
        size = len(name) + len(value) + ENTRY_OVERHEAD
        if name in self._entries:
            self._drop(name)
        if size > self.max_bytes:
            return False
        self._entries[name] = (value, None if ttl is None else self._clock() + ttl)
        self._bytes += size
        while self._bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))
            self.evictions += 1
        return True

    async def clear(self, pattern: Pattern) -> int:
        found = [name for name in self._entries if pattern.fits(name)]
        for name in found:
            self._drop(name)
        return len(found)

    async def names(self, pattern: Pattern) -> list[str]:
        now = self._clock()
        return [
            name for name, (_, until) in self._entries.items() if pattern.fits(name) and (until is None or now < until)
        ]

    async def flush(self) -> None:
        """Nothing is ever on its way."""

    def snapshot(self) -> dict[str, Any]:
        return {
            "entries": len(self._entries),
            "bytes": self._bytes,
            "max_bytes": self.max_bytes,
            "evictions": self.evictions,
            "expired": self.expired,
        }

    async def aclose(self) -> None:
        """What is kept stays: there is nothing to close."""

    def _drop(self, name: str) -> None:
        value, _ = self._entries.pop(name)
        self._bytes -= len(name) + len(value) + ENTRY_OVERHEAD
