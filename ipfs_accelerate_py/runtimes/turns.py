"""Whose turn it is among those who wait for a model: priorities that age, and fair shares within each."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .batching import Item

__all__ = ["PRIORITIES", "Turns"]

#: 0 is high, 1 normal, 2 low.
PRIORITIES = 3


class Turns:
    """The order of waiting items.

    Within a priority it is start-time fair queueing: an item's tag is the virtual time at which its flow would begin
    it if all flows were served at once, a bit each. Between priorities the more urgent goes first, until the less
    urgent has watched ``patience`` tokens go by; then it has one turn.

    Args:
        patience: tokens that others may be served while a priority waits.
    """

    def __init__(self, *, patience: int) -> None:
        self._patience = patience
        self._heaps: list[list[tuple[float, int, Item]]] = [[] for _ in range(PRIORITIES)]
        self._virtual = [0.0] * PRIORITIES
        self._watched = [0] * PRIORITIES

    def add(self, item: Item, number: int) -> None:
        """Give ``item`` its place; ``number`` rises with every item and decides where tags are equal."""
        flow = item.flow
        start = max(self._virtual[flow.priority], flow.finish_tag)
        flow.finish_tag = start + item.length
        heapq.heappush(self._heaps[flow.priority], (start, number, item))

    def take(self) -> Item | None:
        """The item whose turn it is; it is for the caller to say what was served (see `served`)."""
        present = [at for at in range(PRIORITIES) if self._trim(at)]
        if not present:
            return None
        impatient = [at for at in present if self._watched[at] >= self._patience]
        chosen = max(impatient, key=lambda at: self._watched[at]) if impatient else present[0]
        start, _, item = heapq.heappop(self._heaps[chosen])
        self._virtual[chosen] = start
        return item

    def served(self, priority: int, tokens: int, waiting: list[int]) -> None:
        """Take note that a batch of this priority ran, and of how many items of each still wait."""
        for at in range(PRIORITIES):
            self._watched[at] = self._watched[at] + tokens if at != priority and waiting[at] else 0

    def clear(self) -> None:
        """Forget what no longer waits; for when nothing does."""
        for heap in self._heaps:
            heap.clear()

    def _trim(self, at: int) -> bool:
        """Whether anything of that priority waits; drops from its front what went with somebody else's batch."""
        heap = self._heaps[at]
        while heap and not heap[0][2].waiting:
            heapq.heappop(heap)
        return bool(heap)
