"""One at a time, in the order of asking, whatever event loops those who ask are on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future

__all__ = ["Alone"]


class Alone:
    """``async with alone.turn(): ...``"""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: deque[Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn, and hold it."""
        with self._lock:
            mine: Future[None] | None = Future() if self._busy else None
            self._busy = True
            if mine is not None:
                self._waiting.append(mine)
        if mine is not None:
            try:
                await asyncio.wrap_future(mine)
            except BaseException:
                # Left while waiting; or just then it was given the turn, which the next one must have.
                mine.add_done_callback(lambda done: None if done.cancelled() else self._next())
                raise
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._busy = False
                    return
                following = self._waiting.popleft()
            if following.set_running_or_notify_cancel():
                following.set_result(None)
                return
