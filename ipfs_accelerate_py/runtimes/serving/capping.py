"""Ends a worker that stands at the limit of its memory.

What Python asks for beyond the limit is refused, and fails the call. Native code takes a refusal less well: it may
abort, which is an end like any other, or wait for ever for a lock that it holds itself. Such a worker stays where it
is, at the limit, and that is seen from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout

from .memory import data_memory
from .nursery import Child

__all__ = ["watch"]

# Seconds between two looks, and how many of them in a row must find it there: a call that fails is gone sooner.
_LOOK = 0.5
_ROW = 2

# So many bytes below the limit is at the limit: the C library asks for about a megabyte at a time.
_NEAR = 4 << 20


def watch(
    child: Child, limit: int, *, look: Callable[[int], int] = data_memory, pause: float = _LOOK
) -> threading.Thread:
    """Begin to watch a worker that may have ``limit`` bytes, in a thread that ends with it; it sets ``child.capped``
    where it ends the worker itself.

    Args:
        look: bytes that a process has of what the limit is of.
        pause: seconds between two looks.
    """
    thread = threading.Thread(target=_watch, args=(child, limit, look, pause), name=f"cap{child.pid}", daemon=True)
    thread.start()
    return thread


def _watch(child: Child, limit: int, look: Callable[[int], int], pause: float) -> None:
    row = 0
    while row < _ROW:
        try:
            child.ended.result(pause)
        except FutureTimeout:
            row = row + 1 if look(child.pid) >= limit - _NEAR else 0
        else:
            return
    child.capped = True
    child.kill()
