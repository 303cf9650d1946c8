"""Which waiting items to run together: arithmetic only, no threads, no clock, no torch.

A batch costs what its padded rectangle costs: number of items times the longest of them. The cutter keeps waiting
items sorted by length and cuts a batch around the item whose turn it is, so that neighbours in a batch are of nearly
equal length. Only items of equal *group* and of one priority share a batch.

Whose turn it is, among those of one priority, follows start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996), with
a caller's request as the flow and tokens as the cost: within a request items keep their order, a request that arrives
while a request of ten thousand texts is being worked off is served next, and nothing waits for ever. Priorities go
before one another, but age: see `Turns`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable
from itertools import count
from typing import Any

from .turns import PRIORITIES, Turns

__all__ = ["BatchCutter", "Flow", "Item"]

# After so many batches that went well below a limit which lack of memory has set, a higher one is tried again.
_PATIENCE = 256


class Flow:
    """One caller's share of the queue; subclass it to hang the request itself on it. Priority 0 goes first."""

    __slots__ = ("finish_tag", "priority")

    def __init__(self, priority: int = 1) -> None:
        self.finish_tag = 0.0
        self.priority = min(max(priority, 0), PRIORITIES - 1)


class Item:
    """Something to run.

    Attributes:
        flow: the request it belongs to.
        index: its place in that request.
        length: tokens, at least 1.
        payload: what the forward step needs; the cutter does not look at it.
        group: only items of equal group run together.
        part: which part of the request's input number ``index`` it is.
    """

    __slots__ = ("flow", "group", "index", "key", "length", "part", "payload", "waiting")

    def __init__(
        self, flow: Flow, index: int, length: int, payload: Any = None, group: Hashable = None, part: int = 0
    ) -> None:
        self.flow = flow
        self.index = index
        self.length = max(1, length)
        self.payload = payload
        self.group = group
        self.part = part
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
        #: Waiting items, and their tokens, by priority.
        self.waiting = [0] * PRIORITIES
        self.weights = [0] * PRIORITIES
        self._most = max_tokens
        self._calm = 0
        # By priority and group, sorted by length. One that is empty is dropped: groups may be as many as inputs.
        self._rows: dict[tuple[int, Hashable], list[Item]] = {}
        self._turns = Turns(patience=8 * max_tokens)
        self._sequence = count()

    def __len__(self) -> int:
        return sum(self.waiting)

    @property
    def tokens(self) -> int:
        """Tokens of all that waits."""
        return sum(self.weights)

    def add(self, items: Iterable[Item]) -> None:
        """Let ``items`` wait for their turn; several calls may add to one flow."""
        for item in items:
            number = next(self._sequence)
            item.key = (item.length, number)
            item.waiting = True
            priority = item.flow.priority
            insort(self._rows.setdefault((priority, item.group), []), item, key=_by_key)
            self._turns.add(item, number)
            self.waiting[priority] += 1
            self.weights[priority] += item.length

    def discard(self, flow: Flow) -> int:
        """Drop what waits for ``flow`` (its caller went away, or failed); returns how many items that were."""
        dropped: list[Item] = []
        for at, row in list(self._rows.items()):
            if at[0] != flow.priority or not (gone := [item for item in row if item.flow is flow]):
                continue
            dropped += gone
            self._keep(at, [item for item in row if item.flow is not flow])
        self._left(dropped)
        return len(dropped)

    def cut(self) -> list[Item]:
        """The next batch, by rising length; empty when nothing waits."""
        anchor = self._turns.take()
        if anchor is None:
            return []
        at = (anchor.flow.priority, anchor.group)
        row = self._rows[at]
        low, high = self._widen(row, bisect_left(row, anchor.key, key=_by_key))
        batch = row[low:high]
        del row[low:high]
        self._keep(at, row)
        self._left(batch)
        self._turns.served(anchor.flow.priority, sum(item.length for item in batch), self.waiting)
        return batch

    def shrink(self, batch: list[Item]) -> None:
        """A batch as large as this one finds no memory: cut smaller ones."""
        self.max_tokens = max(1, min(self.max_tokens, len(batch) * max(item.length for item in batch) // 2))
        self._calm = 0

    def went_well(self) -> None:
        """A batch ran: after enough of them the limit that `shrink` has set is raised again."""
        if self.max_tokens < self._most:
            self._calm += 1
            if self._calm >= _PATIENCE:
                self._calm = 0
                self.max_tokens = min(self._most, 2 * self.max_tokens)

    def _keep(self, at: tuple[int, Hashable], row: list[Item]) -> None:
        if row:
            self._rows[at] = row
        else:
            del self._rows[at]

    def _left(self, items: list[Item]) -> None:
        for item in items:
            item.waiting = False
            self.waiting[item.flow.priority] -= 1
            self.weights[item.flow.priority] -= item.length
        if not self._rows:
            self._turns.clear()

    def _budget(self) -> int:
        """Tokens for the next batch: an even share of what waits, so that no worker idles while another has it all."""
        share = self.max_padding - (-self.tokens // self.workers)
        return min(self.max_tokens, max(self.min_tokens, share))

    def _widen(self, items: list[Item], at: int) -> tuple[int, int]:
        """Grow the range ``[at, at + 1)`` over the sorted items, always by the neighbour that pads less."""
        budget = self._budget()
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
