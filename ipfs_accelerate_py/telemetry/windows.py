"""What happened in the last so many seconds: counts and latencies, in as little memory however much it was."""

from __future__ import annotations

import math
from bisect import bisect_left

__all__ = ["Window"]

#: A window is cut into so many slots; the oldest is dropped whole, so it is a 30th more or less than it says.
SLOTS = 30
#: Upper bounds of latencies in seconds: from a millisecond on, each 10 % more than the last; quantiles are as exact.
BOUNDS = tuple(0.001 * 1.1**n for n in range(140))


class _Slot:
    __slots__ = ("calls", "cost", "failures", "latencies", "limited", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = self.failures = self.limited = 0
        self.cost = 0.0
        self.latencies: dict[int, int] = {}


class Window:
    """Sums over the last ``seconds``. The caller has the clock, which must not go back."""

    def __init__(self, seconds: float) -> None:
        self._width = seconds / SLOTS
        self._seconds = seconds
        self._slots: list[_Slot] = []

    def add(self, now: float, *, failed: bool, limited: bool, latency: float | None, cost: float) -> None:
        """One call. ``latency`` is None where it tells nothing (of a failure)."""
        number = int(now / self._width)
        slots = self._slots
        if not slots or slots[-1].number != number:
            self._drop(number)
            slots.append(_Slot(number))
        slot = slots[-1]
        slot.calls += 1
        slot.failures += failed
        slot.limited += limited
        slot.cost += cost
        if latency is not None:
            index = bisect_left(BOUNDS, latency)
            slot.latencies[index] = slot.latencies.get(index, 0) + 1

    def calls(self, now: float) -> int:
        """How many there were."""
        self._drop(int(now / self._width))
        return sum(slot.calls for slot in self._slots)

    def failure_share(self, now: float) -> float:
        """Failures by calls, from 0 to 1."""
        calls = self.calls(now)
        return sum(slot.failures for slot in self._slots) / calls if calls else 0.0

    def limited_share(self, now: float) -> float:
        """Calls that ended in a rate limit, by calls, from 0 to 1."""
        calls = self.calls(now)
        return sum(slot.limited for slot in self._slots) / calls if calls else 0.0

    def cost_per_hour(self, now: float) -> float:
        """US dollars an hour, at the rate of this window."""
        self.calls(now)
        return sum(slot.cost for slot in self._slots) / self._seconds * 3600

    def latency(self, now: float, share: float) -> float:
        """Seconds within which this share of the answers came, to within 10 %; 0 where there were none."""
        self.calls(now)
        counts: dict[int, int] = {}
        for slot in self._slots:
            for index, count in slot.latencies.items():
                counts[index] = counts.get(index, 0) + count
        rank = math.ceil(share * sum(counts.values()))
        for index in sorted(counts):
            rank -= counts[index]
            if rank <= 0:
                return BOUNDS[min(index, len(BOUNDS) - 1)]
        return 0.0

    def _drop(self, number: int) -> None:
        slots = self._slots
        while slots and slots[0].number <= number - SLOTS:
            del slots[0]
