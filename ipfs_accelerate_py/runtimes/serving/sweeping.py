"""A thread that looks now and then whether a model has been idle for too long."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["Sweeper"]


class Sweeper:
    """Calls ``sweep`` every so often from when it is first started until it is closed or nobody has ``sweep`` any more.

    Args:
        sweep: a weak reference to what is called, or the manager would never be collected.
        lock: of the manager; starting and closing happen under it.
    """

    def __init__(self, sweep: weakref.WeakMethod[Callable[[], Any]], lock: threading.Condition) -> None:
        self._sweep = sweep
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, limit: float) -> None:
        """Sweep from now on, so often that nothing is idle for much longer than ``limit`` seconds."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=_run, args=(self._sweep, self._end, max(0.05, limit / 4)), name="idle_models", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


def _run(sweep: weakref.WeakMethod[Callable[[], Any]], end: threading.Event, pause: float) -> None:
    while not end.wait(pause):
        found = sweep()
        if found is None:
            return
        found()
        del found
