"""One client connection: reads requests with httptools, plays answers in the order of their requests."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

import httptools

from . import framing
from .wire import Close, Down, Flush, Problem, Request, Sleep, WireItem

if TYPE_CHECKING:
    from .server import Simulator

__all__ = ["Connection"]

#: More head than this is refused with 431, more body with 413.
MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 64 * 1024 * 1024
#: Requests read ahead on one connection before reading pauses.
MAX_AHEAD: Final = 256
#: Bytes gathered into one write while a stream has nothing to wait for.
BATCH: Final = 16 * 1024
#: A unary answer longer than this is played by a task, so that its client's going away is seen.
LARGE: Final = 64 * 1024


class _Incoming:
    """A request while it is read, and what the connection must know to answer it."""

    __slots__ = ("body", "close", "headers", "http10", "method", "url")

    def __init__(self, url: bytes) -> None:
        self.url = url
        self.method = ""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.close = False
        self.http10 = False


class Connection(asyncio.Protocol):
    """Requests are answered strictly in order, so pipelining is safe; while one is answered, others wait."""

    __slots__ = (
        "_body_size",
        "_broken",
        "_can_write",
        "_expected",
        "_head_size",
        "_in_head",
        "_incoming",
        "_parser",
        "_reading_paused",
        "_ready",
        "_request",
        "_sim",
        "_task",
        "_transport",
    )

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._incoming: _Incoming | None = None
        self._ready: deque[_Incoming] = deque()
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._can_write: asyncio.Future[None] | None = None
        self._broken: Problem | None = None
        self._in_head = True
        self._head_size = 0
        self._body_size = 0
        self._reading_paused = False
        self._expected = False

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._sim.connection_opened(self):
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ready.clear()
        self._sim.connection_closed(self)
        self._client_gone()

    def eof_received(self) -> bool:
        # A client that has shut its sending side has given up on its answer, for all that HTTP servers can tell.
        self._client_gone()
        return False

    def pause_writing(self) -> None:
        if self._can_write is None:
            self._can_write = self._sim.loop.create_future()

    def resume_writing(self) -> None:
        waiter, self._can_write = self._can_write, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            return
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded here: the request is answered as plain HTTP, and what follows it is not read.
            if self._ready:
                self._ready[-1].close = True
        except httptools.HttpParserError:
            if self._broken is None:
                self._broken = Problem(400, "The request is not valid HTTP.", "invalid_request_error")
        if self._broken is None and self._in_head and self._head_size > MAX_HEAD:
            self._broken = Problem(431, "The request's headers are too large.", "invalid_request_error")
        self._pump()

    # --- httptools ----------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        if self._incoming is None:
            self._incoming = _Incoming(url)
        else:
            self._incoming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._incoming is not None
        name = name.lower()
        self._incoming.headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self._expected = True

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        assert incoming is not None
        parser = self._parser
        incoming.method = parser.get_method().decode("ascii")
        incoming.http10 = parser.get_http_version() == "1.0"
        incoming.close = not parser.should_keep_alive()
        self._in_head = False
        self._body_size = 0
        if self._expected:
            self._expected = False
            if self._transport is not None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        assert self._incoming is not None
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            self._broken = Problem(413, f"The request's body is larger than {MAX_BODY} bytes.", "invalid_request_error")
            raise ValueError("body too large")  # stops the parser
        self._incoming.body.append(body)

    def on_message_complete(self) -> None:
        assert self._incoming is not None
        self._ready.append(self._incoming)
        self._incoming = None
        self._in_head = True
        self._head_size = 0

    # --- answering ----------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Answer what is ready, in order, until an answer takes time."""
        while self._request is None and self._transport is not None and not self._transport.is_closing():
            if self._ready:
                self._begin(self._ready.popleft())
            elif self._broken is not None:
                answer = self._sim.service.refuse(self._broken)
                assert isinstance(answer.body, bytes)
                self._transport.write(framing.whole(answer, answer.body, close=True))
                self._transport.close()
            else:
                break
        if self._transport is not None and not self._transport.is_closing():
            if len(self._ready) > MAX_AHEAD and not self._reading_paused:
                self._reading_paused = True
                self._transport.pause_reading()
            elif self._reading_paused and len(self._ready) <= MAX_AHEAD // 2:
                self._reading_paused = False
                self._transport.resume_reading()

    def _begin(self, incoming: _Incoming) -> None:
        transport = self._transport
        assert transport is not None
        body = incoming.body
        raw = body[0] if len(body) == 1 else b"".join(body)
        sim = self._sim
        request, answer, fault, latency = sim.receive(incoming.method, incoming.url, incoming.headers, raw)
        self._request = request
        head_only = incoming.method == "HEAD"
        unary = answer.body
        if fault is None and not latency and answer.events is None and isinstance(unary, bytes) and len(unary) < LARGE:
            request.status = answer.status
            request.complete = True
            transport.write(framing.whole(answer, unary, close=incoming.close, head_only=head_only))
            self._done(incoming.close)
            return
        items = framing.body_items(answer, request, sim.chunk_interval)
        if fault is not None:
            items = fault.payload(items)
        # HTTP/1.0 has no chunked framing: what has no known length ends with the connection.
        close = incoming.close or (incoming.http10 and not framing.sized(answer))
        wire = framing.frame(answer, request, items, chunked=not incoming.http10, close=close, head_only=head_only)
        if fault is not None:
            wire = fault.wire(wire)
        if latency:
            wire = itertools.chain((Sleep(latency),), wire)
        self._task = sim.spawn(self._play(wire, close))

    def _done(self, close: bool) -> None:
        request, self._request = self._request, None
        if request is not None:
            self._sim.finished(request)
        if close and self._transport is not None:
            self._transport.close()

    async def _play(self, items: Iterator[WireItem], close: bool) -> None:
        """Send the items; ends early when the connection does, for then :meth:`_client_gone` cancels it."""
        try:
            await self._send(items, close)
        except Exception:
            self.abort()  # the loop reports what went wrong, and no client waits for the rest
            raise

    async def _send(self, items: Iterator[WireItem], close: bool) -> None:
        sim = self._sim
        gathered: list[bytes] = []
        size = 0
        due = sim.clock()
        for item in items:
            if isinstance(item, bytes):
                gathered.append(item)
                size += len(item)
                if size < BATCH:
                    continue
            self._write(gathered)
            size = 0
            if self._can_write is not None:
                await self._can_write
            if isinstance(item, bytes):
                await asyncio.sleep(0)  # an endless answer must not keep the loop from others
            elif isinstance(item, Sleep):
                if item.seconds is None:
                    await sim.loop.create_future()  # until cancelled
                else:
                    # Paced by due times, so that small delays do not add up over a stream.
                    now = sim.clock()
                    due = max(due + item.seconds, now)
                    await sim.sleep(due - now)
            elif isinstance(item, Flush):
                await self._flushed()
            else:
                await self._flushed()
                if isinstance(item, Down):
                    sim.down(item.seconds)
                rst = isinstance(item, Down) or (isinstance(item, Close) and item.rst)
                self._task = None
                self._done(False)
                if rst:
                    self.reset()
                elif self._transport is not None:
                    self._transport.close()
                return
        self._write(gathered)
        if self._can_write is not None:
            await self._can_write
        self._task = None
        if self._request is not None:
            self._request.complete = True
        self._done(close)
        self._pump()

    def _write(self, gathered: list[bytes]) -> None:
        if gathered and self._transport is not None:
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))
        gathered.clear()

    async def _flushed(self) -> None:
        """Wait until the network has taken everything, so that what follows is seen on its own."""
        transport = self._transport
        if transport is None:
            return
        while transport.get_write_buffer_size():  # noqa: ASYNC110  # transports tell only of crossing a limit
            await asyncio.sleep(0.0005)
        await asyncio.sleep(0)

    # --- ends ---------------------------------------------------------------------------------------------------

    def _client_gone(self) -> None:
        """Stop producing: nobody reads on."""
        if self._request is not None:
            self._request.aborted_by_client = True
            self._done(False)
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self.resume_writing()

    def reset(self) -> None:
        """End the connection with RST: a linger time of zero makes the kernel drop what it has and say so."""
        transport = self._transport
        if transport is None:
            return
        self._done(False)
        sock: Any = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def abort(self) -> None:
        """End the connection at once, without a word."""
        if self._transport is not None:
            self._done(False)
            self._transport.abort()
