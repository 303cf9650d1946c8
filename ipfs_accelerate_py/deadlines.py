"""Limits of time for many waits, with one timer.

Setting and cancelling a timer for each call costs more than the rest of the bookkeeping around it, and nearly all
limits are cancelled long before they are due. So waits are only noted, and one timer runs for the earliest of them: a
later wait with the same limit is due later, and does not touch it.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

__all__ = ["Deadlines", "Limit"]


class Deadlines:
    """The limits of one event loop's waits."""

    def __init__(self) -> None:
        self._limits: set[Limit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def limit(self, until: float | None, task: asyncio.Task[Any] | None = None) -> Limit:
        """``with deadlines.limit(until):`` raises `TimeoutError` in this task at that instant of `time.monotonic`.

        ``task`` is the current one, where the caller knows it (to ask for it is a system call, up to Python 3.11).
        """
        task = task or asyncio.current_task()
        assert task is not None  # a coroutine runs in a task
        return Limit(self, until, task)

    def _add(self, limit: Limit, until: float) -> None:
        self._limits.add(limit)
        if self._timer is None or until < self._due:
            loop = asyncio.get_running_loop()
            if self._timer is not None:
                self._timer.cancel()
            self._due = until
            self._timer = loop.call_later(max(0.0, until - time.monotonic()), self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = time.monotonic()
        earliest: float | None = None
        for limit in list(self._limits):
            until = limit.until
            assert until is not None
            if until <= now:
                limit.expire()
            elif earliest is None or until < earliest:
                earliest = until
        if earliest is not None:
            self._due = earliest
            self._timer = asyncio.get_running_loop().call_later(earliest - now, self._fire)

    def close(self) -> None:
        """Forget the timer (its loop is closing or gone)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._limits.clear()


class Limit:
    """One limited wait; the cancellation is told apart from the caller's own as `asyncio.timeout` does it."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "until")

    def __init__(self, deadlines: Deadlines, until: float | None, task: asyncio.Task[Any]) -> None:
        self._deadlines = deadlines
        self.until = until
        self._expired = False
        self._task = task
        self._cancelling = 0

    def __enter__(self) -> None:
        self._cancelling = self._task.cancelling()
        if self.until is not None:
            self._deadlines._add(self, self.until)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines._limits.discard(self)
        if (
            self._expired
            and self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise TimeoutError from error

    def move(self, until: float | None) -> None:
        """Another instant for a wait that is under way."""
        self.until = until
        if until is None:
            self._deadlines._limits.discard(self)
        elif not self._expired:
            self._deadlines._add(self, until)

    def expire(self) -> None:
        """The instant has come."""
        self._deadlines._limits.discard(self)
        self._expired = True
        self._task.cancel()
