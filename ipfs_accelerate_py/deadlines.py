"""Limits of time for many waits, with one timer.

Setting and cancelling a timer for each call costs more than the rest of the bookkeeping around it, and nearly all
limits are lifted long before they are due. So waits are only noted, and one timer runs for the earliest of them: a
later wait with the same limit is due later, and does not touch it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Deadlines", "Limited"]


class Limited(Protocol):
    """A wait with a limit."""

    until: float
    """The instant of `time.monotonic` when it is due. It may be moved later at any time, without telling anybody."""

    def expire(self) -> None:
        """The instant has come; the wait is not noted any more."""
        ...


class Deadlines:
    """The limits of one event loop's waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limits: set[Limited] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        #: Lifts a limit before it is due. Harmless where there is none.
        self.discard = self._limits.discard

    def __len__(self) -> int:
        """How many waits are noted."""
        return len(self._limits)

    def add(self, limited: Limited) -> None:
        """Call ``limited.expire()`` at ``limited.until``, unless it is discarded before that."""
        self._limits.add(limited)
        until = limited.until
        if self._timer is None or until < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._set(until)

    def _set(self, until: float) -> None:
        self._due = until
        self._timer = self._loop.call_later(max(0.0, until - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = time.monotonic()
        earliest: float | None = None
        for limited in list(self._limits):
            if limited not in self._limits:
                continue  # lifted by what another one's end brought about
            until = limited.until
            if until <= now:
                self._limits.discard(limited)
                limited.expire()
            elif earliest is None or until < earliest:
                earliest = until
        if earliest is not None and (self._timer is None or earliest < self._due):
            if self._timer is not None:
                self._timer.cancel()
            self._set(earliest)

    def close(self) -> None:
        """Forget the timer and all waits (the loop is closing, or gone)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._limits.clear()
