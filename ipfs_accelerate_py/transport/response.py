"""One answer, as it comes and as it is read."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ipfs_accelerate_py.deadlines import Deadlines
from ipfs_accelerate_py.errors import BackendError, ProtocolError, ReadTimeout, StreamCut, TransportError
from ipfs_accelerate_py.transport.compression import Inflater, inflater
from ipfs_accelerate_py.transport.seam import Limits

if TYPE_CHECKING:
    from ipfs_accelerate_py.transport.http1 import Connection

__all__ = ["OVERSIZE", "Answer"]

OVERSIZE = "the upstream's answer is larger than max_body_bytes allows"
_DEADLINE = "the upstream's answer did not end within the call's limit of time"
_NO_HEADERS: Mapping[str, str] = {}


class Answer:
    """An `HttpResponse`. The connection puts in what comes; one task at a time waits for it.

    There is no task for an exchange and no timer: a wait is a future, and a limit of time ends it by setting down
    what is wrong and waking whoever waits.
    """

    # Defaults stand here: an instance holds only what differs, and costs less to make.
    status: int = 0
    headers: Mapping[str, str] = _NO_HEADERS
    #: The whole body is here.
    done: bool = False
    #: A kept connection turned out dead before a byte of this answer had come.
    stale: bool = False
    #: Bytes in ``parts`` that nobody has taken yet, about.
    held: int = 0
    #: Whoever waits wants the whole body at once, and is not woken for less.
    whole: bool = False
    waiter: asyncio.Future[None] | None = None
    connection: Connection | None = None
    until: float = math.inf
    _broken: tuple[type[BackendError], str] | None = None
    _inflate: Inflater | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines, limits: Limits) -> None:
        self._loop = loop
        self._deadlines = deadlines
        self._limits = limits
        self._idle = limits.idle
        self._deadline = limits.deadline
        self.parts: list[bytes] = []
        #: Bytes that the body may still have.
        self.left = limits.max_body

    # --- for the transport ---------------------------------------------------------------------------------------

    async def wait(self, most: float | None) -> None:
        """Until something more is here, or is known to be wrong: for ``most`` seconds, and not beyond the deadline."""
        until = self._deadline
        if most is not None:
            limit = time.monotonic() + most
            if until is None or limit < until:
                until = limit
        self.waiter = waiter = self._loop.create_future()
        if until is not None:
            self.until = until
            self._deadlines.add(self)
        try:
            await waiter
        except BaseException:
            self.waiter = None
            self.abort()
            raise
        finally:
            self._deadlines.discard(self)

    def failure(self) -> BackendError | None:
        """What is wrong with it so far: made anew for each who asks, so that no error is kept alive by its trace."""
        if self._broken is None:
            return None
        kind, words = self._broken
        return kind(words, status=self.status or None)

    def prepare(self) -> None:
        """Look at how the body is packed. Raises `ProtocolError`, and gives the answer up."""
        encoding = self.headers.get("content-encoding")
        if encoding is not None:
            try:
                self._inflate = inflater(encoding, self._limits.max_body, self.status)
            except ProtocolError:
                self.abort()
                raise

    # --- for the connection --------------------------------------------------------------------------------------

    def wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def touch(self) -> None:
        """Something came, and more is waited for."""
        if self._idle is not None:
            limit = time.monotonic() + self._idle
            deadline = self._deadline
            self.until = limit if deadline is None or limit < deadline else deadline

    def fail(self, kind: type[BackendError], words: str) -> None:
        """It will not end well. What has come before is still handed out."""
        if self.done or self._broken is not None:
            return
        self._broken = kind, words
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.let_go()
        self.wake()

    def expire(self) -> None:
        """The limit of the present wait has come."""
        at_deadline = self.until == self._deadline
        if self.status:
            words = f"the upstream fell silent in the middle of its answer for {self._idle or 0:g} s (idle_timeout)"
            self.fail(ReadTimeout, _DEADLINE if at_deadline else words)
        elif at_deadline:
            self.fail(ReadTimeout, "the upstream did not answer before the call's deadline")
        else:
            limit = self._limits.first_byte or 0
            self.fail(ReadTimeout, f"the upstream did not begin to answer within first_byte_timeout ({limit:g} s)")

    def client_closed(self) -> None:
        """The pool is being closed: whoever waits here must hear of it."""
        if self.status:
            self.fail(StreamCut, "the client was closed before the upstream's answer had ended")
        else:
            self.fail(TransportError, "the client was closed before the upstream had answered")

    # --- for the reader ------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        if not self.done and self._broken is None:
            length = self.headers.get("content-length")
            if length is not None and int(length) > self._limits.max_body:
                self.fail(ProtocolError, OVERSIZE)
            else:
                self.whole = True
                if self.connection is not None:
                    self.connection.resume()
                await self.wait(self._idle)
        if self._broken is not None:
            raise self._error()
        parts = self.parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.parts = []
        return data if self._inflate is None else self._inflated(self._inflate, data)

    async def read_some(self) -> bytes:
        while True:
            parts = self.parts
            if not parts:
                if self.done:
                    return b""
                if self._broken is not None:
                    raise self._error()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                # Also where there is always something to hand out, and so no wait that could end.
                self.abort()
                raise ReadTimeout(_DEADLINE, status=self.status)
            if parts:
                data = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                self.held = 0
                if self.connection is not None:
                    self.connection.resume()
                if self._inflate is not None:
                    data = self._inflated(self._inflate, data)
                if data:
                    return data
            else:
                await self.wait(self._idle)

    def wait_at_most(self, idle: float | None, until: float | None) -> None:
        self._idle = idle
        self._deadline = until

    def abort(self) -> None:
        if not self.done:
            self.fail(StreamCut, "the answer was given up before its end")
            self.parts.clear()

    # --- inside --------------------------------------------------------------------------------------------------

    def _error(self) -> BackendError:
        found = self.failure()
        assert found is not None
        return found

    def _inflated(self, inflate: Inflater, data: bytes) -> bytes:
        try:
            return inflate(data)
        except ProtocolError:
            self.abort()
            raise
