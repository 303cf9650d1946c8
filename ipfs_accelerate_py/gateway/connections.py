"""What all connections of one server share: their limits, one timer, and the date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

__all__ = ["ConnectionLimits", "Connections", "Watched", "head_bytes"]


class ConnectionLimits(msgspec.Struct, frozen=True):
    """Limits of one connection: bytes of a request's head, and seconds.

    ``header`` and ``body`` are for the whole of each, so that a sender of one byte a minute gains nothing by it;
    ``keep_alive`` is the wait for the next request; ``write`` how long a client may leave an answer unread.
    """

    head_bytes: int = 32 * 1024
    header: float = 10.0
    body: float = 60.0
    keep_alive: float = 75.0
    write: float = 120.0


class Watched(Protocol):
    """A connection, as far as its deadline goes."""

    loop: asyncio.AbstractEventLoop
    deadline: float

    def expired(self, now: float) -> None:
        """The deadline has passed."""
        ...


class Connections:
    """Looks at all connections' deadlines now and then: one timer, where a timer each would be set for every wait."""

    def __init__(self, limits: ConnectionLimits, refused: Callable[[int], None]) -> None:
        """``refused`` is told the status of what the HTTP layer refuses and the application never sees."""
        self.limits = limits
        self.refused = refused
        self._interval = min(1.0, min(limits.header, limits.body, limits.keep_alive, limits.write) / 4)
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._default_headers: Any = None
        self._default_head = b""

    def watch(self, connection: Watched) -> None:
        self._watched.add(connection)
        if self._timer is None:
            self._arm(connection.loop)

    def forget(self, connection: Watched) -> None:
        self._watched.discard(connection)
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def default_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's headers for every answer (the date) as they are written; it makes a new list every second."""
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_head = head_bytes(headers)
        return self._default_head

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._interval, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._arm(loop)
        now = loop.time()
        for connection in [each for each in self._watched if each.deadline <= now]:
            connection.expired(now)


def head_bytes(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are written."""
    return b"".join([b"%b: %b\r\n" % each for each in headers])
