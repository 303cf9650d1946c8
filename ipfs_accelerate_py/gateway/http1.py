"""HTTP/1.1 for the gateway: what stands between the socket and the ASGI application.

A protocol class for uvicorn, on httptools, in the place of uvicorn's own: a gateway on the open network needs limits
that uvicorn has not (size of the head, slow senders, readers who do not read), refusals in OpenAI's error shape, and it
must hear at once that a client has left. It is leaner too: head and body of an answer are one write, and nothing is
checked that this package has just written.

Beside ASGI's own keys a scope has the extension ``ipfs_accelerate.disconnect``: a function that takes a callback to be
called when the client leaves before its answer is complete. An application that registers one needs no task that waits
in ``receive()``.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast

import httptools

from ipfs_accelerate_py.dialects.openai.ingress import error_body
from ipfs_accelerate_py.gateway.connections import Connections, head_bytes
from ipfs_accelerate_py.gateway.exchange import Exchange
from ipfs_accelerate_py.gateway.heads import NOTABLE, Refusal, check_head, split_target, too_large
from ipfs_accelerate_py.types import new_request_id

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

__all__ = ["DISCONNECT", "HttpProtocol"]

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

#: Name of the extension in ``scope["extensions"]``.
DISCONNECT = "ipfs_accelerate.disconnect"

#: After an answer that came before the end of its request, what is still sent is read and dropped for this long
#: (seconds) and up to this size (bytes): to close at once would reset the connection, and the answer be lost with it.
LINGER_SECONDS = 5.0
LINGER_BYTES = 16 * 1024 * 1024

_NEVER = math.inf
_ASGI = {"version": "3.0", "spec_version": "2.3"}


class HttpProtocol(asyncio.Protocol):
    """One connection. Requests that come before the last one is answered wait their turn, and are answered in order."""

    def __init__(
        self,
        connections: Connections,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """``connections`` is shared by all of a server; the rest is what uvicorn gives to its protocol classes."""
        self.loop = _loop or asyncio.get_running_loop()
        self.app: App = cast(App, config.loaded_app)
        self.tasks = server_state.tasks
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        #: Instant of the loop's clock from which this connection has had its time; `expired` says for what.
        self.deadline = _NEVER
        self._state = server_state
        self._app_state = app_state
        self._connections = connections
        self._limits = connections.limits
        self._parser: Any = httptools.HttpRequestParser(self)
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        # The request being read.
        self._in_head = False
        self._in_body = False
        self._head_size = 0
        self._read_size = 0
        self._mid_read = False
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._notable: dict[bytes, bytes] = {}
        self._upgrade = False
        self._incoming: Exchange | None = None
        self._refusal: Refusal | None = None
        # What is answered.
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._last = False  # no further request is read
        self._lingering = False
        self._dropped = 0
        self._reading_paused = False
        self._writable: asyncio.Future[None] | None = None

    # --- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._state.connections.add(cast(Any, self))
        self.deadline = self.loop.time() + self._limits.keep_alive
        self._connections.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.forget(self)
        self._state.connections.discard(cast(Any, self))
        self.deadline = _NEVER
        self._last = True
        self.resume_writing()
        exchanges = [self._current, self._incoming, *self._waiting]
        self._current = self._incoming = None
        self._waiting.clear()
        for exchange in exchanges:
            if exchange is not None:
                exchange.client_left()
        self._parser = None  # it holds this object, and this object held it

    def data_received(self, data: bytes) -> None:
        if self._last and self._incoming is None:
            if self._lingering:
                self._dropped += len(data)
                if self._dropped > LINGER_BYTES:
                    self.transport.abort()
            return
        self._read_size = len(data)
        self._head_size += self._read_size
        self._mid_read = self._in_head or self._in_body
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._unreadable(error)
            return
        if self._in_head:
            if self._head_size > self._limits.head_bytes:
                self.refuse(too_large(self._limits.head_bytes))
            elif self.deadline == _NEVER:
                self.deadline = self.loop.time() + self._limits.header
        elif self._in_body and self.deadline == _NEVER:
            self.deadline = self.loop.time() + self._limits.body

    def eof_received(self) -> bool:
        return False  # a client that has shut its sending side has left, for all that a server can tell

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self.loop.create_future()
            self.deadline = self.loop.time() + self._limits.write

    def resume_writing(self) -> None:
        waiter, self._writable = self._writable, None
        if waiter is not None:
            self.deadline = self.loop.time() + LINGER_SECONDS if self._lingering else _NEVER
            if not waiter.done():
                waiter.set_result(None)

    def shutdown(self) -> None:
        """The server stops: close when idle, and else after the answers under way (uvicorn calls this)."""
        self._last = True
        if self._current is None and not self._lingering:
            self._close()

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._in_head = True
        # Behind another request's end in the same read, nobody can tell where it begins; it is counted from the next.
        self._head_size = 0 if self._mid_read else self._read_size
        self._mid_read = True
        self._url = b""
        self._headers = []
        self._notable = {}
        if self._writable is None:
            self.deadline = _NEVER

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nobody here has a use for it, and it must not change a head that was judged already
        name = name.lower()
        if name in NOTABLE:
            if name in self._notable:
                self._refusal = Refusal(
                    400, f"The request has more than one {name.decode()!r} header.", "invalid_request"
                )
                raise self._refusal
            self._notable[name] = value
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        try:
            self._begin()
        except Refusal as refusal:
            self._refusal = refusal  # the parser hides what its callbacks raise
            raise

    def _begin(self) -> None:
        """The head is complete: judge it, and begin to answer."""
        most = self._limits.head_bytes
        if (self._read_size > most or self._head_size > most) and self._exact_head_size() > most:
            raise too_large(most)
        parser = self._parser
        version: str = parser.get_http_version()
        check_head(version, self._notable)
        if parser.should_upgrade():
            self._upgrade = True  # no upgrade is offered here, and a client may not insist: see _without_upgrade
            return
        method: str = parser.get_method().decode("ascii")
        path, raw_path, query = split_target(self._url)
        keep_alive = version == "1.1" and parser.should_keep_alive()
        exchange = Exchange(self, method, version == "1.1", keep_alive, self._notable.get(b"expect") is not None)
        exchange.scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
            "state": self._app_state.copy(),
            "extensions": {DISCONNECT: exchange.on_disconnect},
        }
        self._incoming = exchange
        self._in_body = True
        if self._current is None:
            self._current = exchange
            exchange.start()
        else:
            self._waiting.append(exchange)
            self.pause_reading()

    def _exact_head_size(self) -> int:
        return len(self._url) + sum([len(name) + len(value) + 4 for name, value in self._headers])

    def on_body(self, body: bytes) -> None:
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._writable is None:
            self.deadline = _NEVER
        exchange, self._incoming = self._incoming, None
        if exchange is not None:
            exchange.feed_end()
            if not exchange.keep_alive:
                self._last = True

    # --- for the exchange ----------------------------------------------------------------------------------------

    @property
    def default_headers(self) -> bytes:
        """The headers that uvicorn gives to every answer (the date), as they are written."""
        return self._connections.default_head(self._state.default_headers)

    @property
    def closing_after_this(self) -> bool:
        return self._last and self._incoming is None and not self._waiting

    def pause_reading(self) -> None:
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    @property
    def writable(self) -> asyncio.Future[None] | None:
        """What to wait for before more is written, or None."""
        return self._writable

    def answered(self, exchange: Exchange) -> None:
        """The answer of the current exchange has been written."""
        self._state.total_requests += 1
        self._current = None
        if self.transport.is_closing():
            return
        if self._incoming is exchange:
            self._incoming = None
            self._linger()
        elif not exchange.keep_alive or (self._last and not self._waiting):
            self._close()
        elif self._waiting:
            self._current = self._waiting.popleft()
            self._current.start()
            if self._incoming is not None:
                self.resume_reading()  # the rest of its body
        else:
            if not self._in_head:
                self.deadline = self.loop.time() + self._limits.keep_alive
            self.resume_reading()

    # --- refusals ------------------------------------------------------------------------------------------------

    def expired(self, now: float) -> None:
        """The deadline has passed; the watchdog calls this."""
        limits = self._limits
        if self._lingering or self._writable is not None or self.transport.is_closing():
            self.transport.abort()
        elif self._in_head:
            self.refuse(Refusal(408, f"The request's head was not here after {limits.header:g} s.", "request_timeout"))
        elif self._incoming is not None and self._reading_paused:
            self.deadline = now + limits.body  # the wait is ours
        elif self._incoming is not None:
            self.refuse(Refusal(408, f"The request's body was not here after {limits.body:g} s.", "request_timeout"))
        elif self._current is None:
            self._close()
        else:
            self.deadline = _NEVER

    def refuse(self, refusal: Refusal) -> None:
        """Read no more, say why as soon as that can be said, and close."""
        self._last = True
        self._in_head = False
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming is self._current and not incoming.started:
            # The application waits for the rest of this request, which will not come.
            self._current = None
            incoming.client_left()
        elif incoming is not None and incoming is not self._current:
            self._waiting.remove(incoming)
        if self._current is not None:
            # An answer is being written, and nothing may come in between: the connection ends with it, without a word.
            if incoming is self._current:
                self.transport.abort()
            return
        self._connections.refused(refusal.status)
        body = error_body(refusal.status, refusal.message, refusal.code)
        self.transport.write(
            b"HTTP/1.1 %d \r\n%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n"
            b"x-request-id: %b\r\n\r\n%b"
            % (refusal.status, self.default_headers, len(body), new_request_id().encode(), body)
        )
        self._linger()

    def _linger(self) -> None:
        """The answer is written; read what the client may still be sending, then close."""
        self._last = self._lingering = True
        self.resume_reading()
        self.deadline = self.loop.time() + LINGER_SECONDS
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        """Close when everything is written; a client that does not read does not hold the connection for ever."""
        self.deadline = self.loop.time() + self._limits.write
        self.transport.close()

    def _unreadable(self, error: Exception) -> None:
        refusal, self._refusal = self._refusal, None
        if refusal is None and self._last:
            return  # bytes after a request that said it was the last one
        if refusal is None:
            refusal = Refusal(400, f"The request is not valid HTTP: {error}.", "invalid_http")
        self.refuse(refusal)

    def _without_upgrade(self, rest: bytes) -> None:
        """Take a request that offers an upgrade as the plain one that it also is (RFC 9110, 7.8).

        The parser stops after the head of such a request, so another one is given the head without the offer.
        """
        if not self._upgrade:
            self.refuse(Refusal(400, "The request is not valid HTTP.", "invalid_http"))
            return
        self._upgrade = False
        method: bytes = self._parser.get_method()
        version = self._parser.get_http_version().encode()
        if method == b"CONNECT":
            self.refuse(Refusal(405, "The method CONNECT is not allowed here.", "method_not_allowed"))
            return
        kept = [each for each in self._headers if each[0] not in (b"connection", b"upgrade", b"http2-settings")]
        self._parser = httptools.HttpRequestParser(self)
        line = b"%b %b HTTP/%b\r\n" % (method, self._url, version)
        self.data_received(line + head_bytes(kept) + b"\r\n" + rest)


def _address(value: Any) -> tuple[str, int] | None:
    """Host and port of a socket's name; a Unix socket's has neither."""
    return (str(value[0]), int(value[1])) if isinstance(value, tuple) and len(value) >= 2 else None
