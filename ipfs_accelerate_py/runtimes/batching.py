"""Which waiting texts to run together: arithmetic only, no threads, no clock, no torch.

A batch costs what its padded rectangle costs: number of items times the longest of them. The cutter keeps waiting
items sorted by length and cuts a batch around the item whose turn it is, so that neighbours in a batch are of nearly
equal length.

Whose turn it is follows start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), with a caller's request as the
flow and tokens as the cost: within a request items keep their order, a request that arrives while a request of ten
thousand texts is being worked off is served next, and nothing waits for ever.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable
from itertools import count
from typing import Any

__all__ = ["BatchCutter", "Flow", "Item"]


class Flow:
    """One caller's share of the queue; subclass it to hang the request itself on it."""

    __slots__ = ("finish_tag",)

    def __init__(self) -> None:
        self.finish_tag = 0.0


class Item:
    """One text to run.

    Attributes:
        flow: the request it belongs to.
        index: its place in that request.
        length: tokens, at least 1.
        payload: what the forward step needs; the cutter does not look at it.
    """

    __slots__ = ("flow", "index", "key", "length", "payload", "waiting")

    def __init__(self, flow: Flow, index: int, length: int, payload: Any = None) -> None:
        self.flow = flow
        self.index = index
        self.length = max(1, length)
        self.payload = payload
        self.key = (self.length, 0)
        self.waiting = False


def _by_key(item: Item) -> tuple[int, int]:
    return item.key


class BatchCutter:
    """Holds waiting items and cuts batches from them.

    Args:
        max_tokens: most tokens in a batch, padding counted. A longer item still runs, alone.
        max_items: most items in a batch.
        max_padding: most padding tokens in a batch. Past that a second batch is cheaper than a wider one, so set it to
            what starting a batch costs, in tokens.
        workers: how many batches run side by side.
        min_tokens: with several workers, what waits is shared among them, but in no smaller batches than this.
    """

    def __init__(
        self, *, max_tokens: int, max_items: int, max_padding: int, workers: int = 1, min_tokens: int = 1
    ) -> None:
        self.max_tokens = max_tokens
        self.max_items = max_items
        self.max_padding = max_padding
        self.workers = workers
        self.min_tokens = min_tokens
        self.tokens = 0
        self._sorted: list[Item] = []
        self._turns: list[tuple[float, int, Item]] = []
        self._virtual_time = 0.0
        self._sequence = count()

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, items: Iterable[Item]) -> None:
        """Let ``items`` wait for their turn; several calls may add to one flow."""
        for item in items:
            number = next(self._sequence)
            start = max(self._virtual_time, item.flow.finish_tag)
            item.flow.finish_tag = start + item.length
            item.key = (item.length, number)
            item.waiting = True
            insort(self._sorted, item, key=_by_key)
            heapq.heappush(self._turns, (start, number, item))
            self.tokens += item.length

    def discard(self, flow: Flow) -> int:
        """Drop what waits for ``flow`` (its caller went away, or failed); returns how many items that were."""
        dropped = [item for item in self._sorted if item.flow is flow]
        if dropped:
            self._sorted = [item for item in self._sorted if item.flow is not flow]
            for item in dropped:
                item.waiting = False
                self.tokens -= item.length
        return len(dropped)

    def cut(self) -> list[Item]:
        """The next batch, by rising length; empty when nothing waits."""
        anchor = self._next_turn()
        if anchor is None:
            return []
        low, high = self._widen(bisect_left(self._sorted, anchor.key, key=_by_key))
        batch = self._sorted[low:high]
        del self._sorted[low:high]
        for item in batch:
            item.waiting = False
            self.tokens -= item.length
        if not self._sorted:
            self._turns.clear()
        return batch

    def _next_turn(self) -> Item | None:
        while self._turns:
            start, _, item = heapq.heappop(self._turns)
            if item.waiting:
                self._virtual_time = start
                return item
        return None

    def _budget(self) -> int:
        """Tokens for the next batch: an even share of what waits, so that no worker idles while another has it all."""
        share = self.max_padding - (-self.tokens // self.workers)
        return min(self.max_tokens, max(self.min_tokens, share))

    def _widen(self, at: int) -> tuple[int, int]:
        """Grow the range ``[at, at + 1)`` over the sorted items, always by the neighbour that pads less."""
        items, budget = self._sorted, self._budget()
        low, high = at, at + 1
        longest = total = items[at].length
        while high - low < self.max_items:
            size = high - low + 1
            choices = []
            if low > 0:
                choices.append((longest, items[low - 1].length, -1))
            if high < len(items):
                choices.append((items[high].length, items[high].length, 1))
            if not choices:
                break
            # The longer rectangle decides the cost, whichever side it came from.
            padding, wide, length, side = min((w * size - total - n, w, n, side) for w, n, side in choices)
            if padding > self.max_padding or wide * size > budget:
                break
            longest, total = wide, total + length
            low, high = (low - 1, high) if side < 0 else (low, high + 1)
        return low, high
