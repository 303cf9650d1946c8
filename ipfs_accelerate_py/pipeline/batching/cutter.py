"""When a batch goes, and who is in it: plain arithmetic, with the clock passed in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["BatchCutter"]

T = TypeVar("T")


class BatchCutter(Generic[T]):
    """Gathers what may go together.

    A batch is full at ``max_items`` inputs or ``max_tokens`` tokens, and then it goes. One that is not goes at once
    while nothing is under way, for waiting would help nobody; else when what is under way has come back, or
    ``max_wait`` seconds after its first entry came, whichever is first.
    """

    __slots__ = ("_clock", "_entries", "_first", "_items", "_tokens", "max_items", "max_tokens", "max_wait", "running")

    def __init__(
        self, max_items: int, max_tokens: float, max_wait: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_items = max_items
        self.max_tokens = max_tokens
        self.max_wait = max_wait
        #: Upstream calls under way.
        self.running = 0
        self._clock = clock
        self._entries: dict[T, tuple[int, int]] = {}
        self._items = 0
        self._tokens = 0
        self._first = 0.0

    def __len__(self) -> int:
        """How many entries wait."""
        return len(self._entries)

    def add(self, entry: T, items: int, tokens: int) -> list[list[T]]:
        """Take an entry of so many inputs and tokens; gives the batches that are full by that, in order."""
        full: list[list[T]] = []
        if self._entries and (self._items + items > self.max_items or self._tokens + tokens > self.max_tokens):
            full.append(self.cut())
        if not self._entries:
            self._first = self._clock()
        self._entries[entry] = (items, tokens)
        self._items += items
        self._tokens += tokens
        if self._items >= self.max_items or self._tokens >= self.max_tokens:
            full.append(self.cut())
        return full

    def remove(self, entry: T) -> bool:
        """Take an entry out that has left; False where it does not wait here."""
        found = self._entries.pop(entry, None)
        if found is None:
            return False
        self._items -= found[0]
        self._tokens -= found[1]
        return True

    def due(self) -> float | None:
        """Seconds until what waits must go: 0 is now, None that nothing waits."""
        if not self._entries:
            return None
        if not self.running:
            return 0.0
        return max(0.0, self._first + self.max_wait - self._clock())

    def cut(self) -> list[T]:
        """What waits goes, in the order in which it came."""
        entries = list(self._entries)
        self._entries.clear()
        self._items = self._tokens = 0
        return entries
