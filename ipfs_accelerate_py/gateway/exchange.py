"""One request and its answer, as ASGI's ``receive`` and ``send``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.dialects.openai.ingress import error_body

if TYPE_CHECKING:
    from ipfs_accelerate_py.gateway.http1 import HttpProtocol

__all__ = ["Exchange"]

logger = logging.getLogger(__name__)

#: Of a request's body, this much is held for an application that does not read; then the client has to wait.
_HIGH_WATER = 256 * 1024
#: A body up to this size is joined with its head; a larger one is not copied for it.
_JOIN = 64 * 1024

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_NO_BODY = frozenset({204, 304})


class Exchange:
    """Made when a request's head is here; lives until its answer is written or its client has left."""

    __slots__ = (
        "_chunked",
        "_complete",
        "_done",
        "_expect_continue",
        "_head",
        "_head_only",
        "_http11",
        "_left",
        "_on_disconnect",
        "_parts",
        "_protocol",
        "_remaining",
        "_size",
        "_task",
        "_told",
        "_waiter",
        "keep_alive",
        "scope",
        "started",
    )

    def __init__(
        self, protocol: HttpProtocol, method: str, http11: bool, keep_alive: bool, expect_continue: bool
    ) -> None:
        self.scope: MutableMapping[str, Any] = {}
        self.keep_alive = keep_alive
        #: Whether anything of the answer has been written.
        self.started = False
        self._protocol = protocol
        self._http11 = http11
        self._head_only = method == "HEAD"
        self._expect_continue = expect_continue
        # The request's body.
        self._parts: list[bytes] = []
        self._size = 0
        self._complete = False
        self._told = False
        self._waiter: asyncio.Future[None] | None = None
        # The answer.
        self._head = b""
        self._chunked = False
        self._remaining: int | None = None
        self._done = False
        self._left = False
        self._task: asyncio.Task[None] | None = None
        self._on_disconnect: Callable[[], object] | None = None

    def start(self) -> None:
        """Run the application."""
        task = self._task = self._protocol.loop.create_task(self._run())
        self._protocol.tasks.add(task)

    async def _run(self) -> None:
        protocol = self._protocol
        try:
            await protocol.app(self.scope, self.receive, self.send)
            if not self._done and not self._left and not protocol.transport.is_closing():
                raise RuntimeError("the application returned before its answer was complete")
        except asyncio.CancelledError:
            self._broken_off()
        except Exception:
            logger.exception("the application failed")
            if self._left:
                return
            if self.started:
                self._broken_off()
            else:
                await self._internal_error()
        finally:
            task, self._task = self._task, None
            self.scope = {}  # it holds this object by `on_disconnect`, and so neither would go without the collector
            assert task is not None
            protocol.tasks.discard(task)

    async def _internal_error(self) -> None:
        body = error_body(500, "The gateway failed in a way that nobody foresaw; its log says how.", "internal_error")
        self._head = b""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _broken_off(self) -> None:
        """An answer that will not be completed must not look complete."""
        if not self._done and not self._left:
            self._protocol.transport.abort()

    # --- the client leaves ---------------------------------------------------------------------------------------

    def on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call back once when the client leaves before the answer is complete; at once, where it has left."""
        if self._left:
            callback()
        else:
            self._on_disconnect = callback

    def client_left(self) -> None:
        """The connection is gone (called by the protocol)."""
        if self._done or self._left:
            return
        self._left = True
        self._parts.clear()
        self._wake()
        callback, self._on_disconnect = self._on_disconnect, None
        if callback is not None:
            callback()

    # --- the request's body --------------------------------------------------------------------------------------

    def feed(self, body: bytes) -> None:
        """More of the body (called by the protocol)."""
        if self._done or self._left:
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > _HIGH_WATER:
            self._protocol.pause_reading()
        self._wake()

    def feed_end(self) -> None:
        """The body is complete (called by the protocol)."""
        self._complete = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """ASGI's ``receive``."""
        if self._expect_continue and not self.started and not self._left:
            self._expect_continue = False
            self._protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            if self._left or self._done:
                return {"type": "http.disconnect"}
            if self._parts or (self._complete and not self._told):
                parts, self._parts = self._parts, []
                self._size = 0
                self._told = self._complete
                self._protocol.resume_reading()
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                return {"type": "http.request", "body": body, "more_body": not self._complete}
            self._waiter = self._protocol.loop.create_future()
            await self._waiter

    # --- the answer ----------------------------------------------------------------------------------------------

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's ``send``. What is sent to a client that has left goes nowhere."""
        if self._left or self._protocol.transport.is_closing():
            return
        kind = message["type"]
        if kind == "http.response.body":
            self._send_body(message.get("body", b""), bool(message.get("more_body", False)))
            writable = self._protocol.writable
            if writable is not None and not self._left:
                await asyncio.shield(writable)
        elif kind == "http.response.start":
            self._send_head(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"an HTTP answer has no message {kind!r}")

    def _send_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self.started or self._head:
            raise RuntimeError("the answer has begun already")
        self._expect_continue = False
        protocol = self._protocol
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, protocol.default_headers]
        length: int | None = None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            if b"\n" in value or b"\r" in value:
                raise RuntimeError(f"the header {name!r} holds a line break")
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._head_only or status in _NO_BODY:
            length = 0
        elif length is None:
            self._chunked = self._http11
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False
        if not self._complete or protocol.closing_after_this:
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._remaining = length
        self._head = b"".join(lines)
        if length is None:
            # It goes with the first piece of the body. Who sends a stream may take its time for that one, and the
            # client is to know that the answer has begun.
            self._protocol.loop.call_soon(self._flush_head)

    def _flush_head(self) -> None:
        head, self._head = self._head, b""
        if head and not self._left and not self._protocol.transport.is_closing():
            self.started = True
            self._protocol.transport.write(head)

    def _send_body(self, body: bytes, more: bool) -> None:
        if self._done or not (self.started or self._head):
            raise RuntimeError("a body must come after the answer's start and before its end")
        if self._head_only:
            body = b""
        if self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more):
                raise RuntimeError("the answer's body is not as long as its content-length says")
        elif self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += b"0\r\n\r\n"
        transport = self._protocol.transport
        if self._head:
            if len(body) <= _JOIN:
                body = self._head + body
                self._head = b""
                self.started = True
            else:
                self._flush_head()
        if body:
            transport.write(body)
        if not more:
            self._done = True
            self._on_disconnect = None
            self._wake()
            self._protocol.answered(self)
