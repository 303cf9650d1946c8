"""How far the loading of a model is: told by whatever is busy with it, heard by whoever asked for it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator

__all__ = ["tell", "telling"]

#: Phase, and how many of how many bytes (0 of 0 where that says nothing).
Told = Callable[[str, int, int], None]

_listener: contextvars.ContextVar[Told | None] = contextvars.ContextVar("progress", default=None)


def tell(phase: str, done: int = 0, total: int = 0) -> None:
    """Say what is being done now (``loading``, ``exporting``, ``quantising``, ``warming``); nothing where nobody
    listens."""
    listener = _listener.get()
    if listener is not None:
        listener(phase, done, total)


@contextlib.contextmanager
def telling(listener: Told | None) -> Iterator[None]:
    """Let ``listener`` hear what is told inside, in this thread and in those that copy its context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
