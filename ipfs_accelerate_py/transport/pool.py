"""The connections of one event loop: those in use, those kept, those being made."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.deadlines import Deadlines
from ipfs_accelerate_py.errors import BackendError, TransportError
from ipfs_accelerate_py.transport.connecting import establish
from ipfs_accelerate_py.transport.failures import no_time_to_connect
from ipfs_accelerate_py.transport.http1 import Connection
from ipfs_accelerate_py.transport.seam import Limits
from ipfs_accelerate_py.transport.urls import Origin

__all__ = ["Pool"]

_CLOSED = "the client was closed before the upstream had answered"


class Pool:
    """Sets no limit to their number: admission does. Refers to no transport, so that one can be collected."""

    def __init__(self, loop: asyncio.AbstractEventLoop, keepalive: float, most_head: int) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.fork = forks.generation()
        self.deadlines = Deadlines(loop)
        self.busy: set[Connection] = set()
        #: The last one used is used first: the others may then be seen to be superfluous.
        self.idle: dict[Origin, list[Connection]] = {}
        self.connecting: set[asyncio.Timeout] = set()
        self.closed = False
        self._keepalive = keepalive
        self._most_head = most_head
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, origin: Origin) -> Connection | None:
        """A kept connection that is alive as far as we know."""
        kept = self.idle.get(origin)
        while kept:
            connection = kept.pop()
            transport = connection.transport
            if transport is None or transport.is_closing():
                continue
            if connection.idle_since + self._keepalive < time.monotonic():
                connection.drop()
                continue
            self.busy.add(connection)
            return connection
        return None

    def keep(self, connection: Connection) -> None:
        """Its exchange is over, and it can be used again."""
        self.busy.discard(connection)
        transport = connection.transport
        if self.closed or transport is None or transport.is_closing():
            connection.drop()
            return
        connection.fresh = False
        connection.idle_since = time.monotonic()
        kept = self.idle.get(connection.origin)
        if kept is None:
            self.idle[connection.origin] = [connection]
        else:
            kept.append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(self._keepalive, self._swept)

    def gone(self, connection: Connection) -> None:
        """A connection nobody was using is closed."""
        kept = self.idle.get(connection.origin)
        if kept is not None and connection in kept:
            kept.remove(connection)

    def _swept(self) -> None:
        self._sweep = None
        now = time.monotonic()
        oldest: float | None = None
        for origin, kept in list(self.idle.items()):
            old = [each for each in kept if each.idle_since + self._keepalive <= now]
            kept[:] = [each for each in kept if each.idle_since + self._keepalive > now]
            for connection in old:
                connection.drop()
            if not kept:
                del self.idle[origin]
            elif oldest is None or kept[0].idle_since < oldest:
                oldest = kept[0].idle_since
        if oldest is not None:
            self._sweep = self.loop.call_later(max(0.0, oldest + self._keepalive - now), self._swept)

    async def connect(self, origin: Origin, limits: Limits, context: ssl.SSLContext | None) -> Connection:
        """A new connection, in use. Raises `ConnectFailed`, and `TransportError` where the pool is closed meanwhile."""
        limit, left = limits.connect, limits.connect
        if limits.deadline is not None:
            rest = max(0.0, limits.deadline - time.monotonic())
            if left is None or rest < left:
                limit, left = None, rest
        connection = Connection(self, origin, self._most_head)
        timeout = asyncio.timeout(left)
        self.connecting.add(timeout)
        failure: BackendError | None = None
        try:
            async with timeout:
                await establish(self.loop, origin, connection, context)
        except TimeoutError:
            failure = no_time_to_connect(limit)
        except BackendError as error:
            failure = error
        finally:
            self.connecting.discard(timeout)
        if self.closed:
            connection.drop()
            failure = TransportError(_CLOSED)
        elif failure is None and connection.transport is None:
            failure = TransportError("the upstream closed the connection without an answer")
        if failure is None:
            self.busy.add(connection)
            return connection
        try:
            raise failure  # out here, so that what ended the attempt is not dragged along
        finally:
            del failure

    def close(self) -> None:
        """Close all connections; whoever waits for an answer hears of it."""
        self.closed = True
        self._stop()
        for timeout in self.connecting:
            if not timeout.expired():
                timeout.reschedule(0.0)
        for connection in list(self.busy):
            if connection.answer is not None:
                connection.answer.client_closed()
            connection.drop()
        self.busy.clear()
        for kept in self.idle.values():
            for connection in kept:
                connection.drop()
        self.idle.clear()

    def leave(self) -> None:
        """Let go of what belongs to a loop that is closed: nothing can be waited for or announced there."""
        self.closed = True
        self._stop()
        for connection in [*self.busy, *(each for kept in self.idle.values() for each in kept)]:
            connection.answer = None
            transport, connection.transport = connection.transport, None
            # asyncio's transports would complain that nobody closed them, and can no longer close themselves.
            transport = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
            lost = getattr(transport, "_call_connection_lost", None)
            if lost is not None:
                with contextlib.suppress(Exception):
                    lost(None)
        self.busy.clear()
        self.idle.clear()

    def _stop(self) -> None:
        self.deadlines.close()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
