"""One connection of HTTP/1.1: bytes out, bytes in, one exchange at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpResponseParser

from ipfs_accelerate_py.errors import ProtocolError, StreamCut, TransportError
from ipfs_accelerate_py.transport.heads import Head, fields
from ipfs_accelerate_py.transport.response import OVERSIZE, Answer
from ipfs_accelerate_py.transport.urls import Origin

if TYPE_CHECKING:
    from ipfs_accelerate_py.transport.pool import Pool

__all__ = ["Connection"]

#: A body up to this size goes out in one piece with its head; a larger one in such pieces, as fast as they leave.
PIECE = 256 * 1024
#: More of an answer than this is not read from the socket before somebody has taken what is here.
HIGH_WATER = 256 * 1024


class Connection(asyncio.Protocol):
    """Feeds the parser and the answer that is under way; keeps itself for the next one where both sides allow it."""

    def __init__(self, pool: Pool, origin: Origin, most_head: int) -> None:
        self._pool = pool
        self.origin = origin
        self.transport: asyncio.Transport | None = None
        #: The exchange under way.
        self.answer: Answer | None = None
        #: Whether it has served no exchange yet.
        self.fresh = True
        #: When it was put by, as `time.monotonic` has it.
        self.idle_since = 0.0
        # The parser notes header fields by itself, which costs half of what a method would. First values win.
        self._raw: dict[bytes, bytes] = {}
        self.on_header = self._raw.setdefault
        self._most_head = most_head
        #: Bytes that the head may still have; or, after it, those that may come without any of the body.
        self._room = 0
        self._bodiless = False
        self._keep = False
        self._complete = False
        self._paused = False
        self._unsent: memoryview | None = None
        self._large = False
        self._full = False
        self._parser: Any = HttpResponseParser(self)
        # As servers in the wild write it; nothing here makes two readings of one message possible.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    # --- out -----------------------------------------------------------------------------------------------------

    def ask(self, answer: Answer, head: Head, body: bytes | None) -> None:
        """Send a request; what comes from now on is its answer's."""
        transport = self.transport
        assert transport is not None
        self.answer = answer
        answer.connection = self
        self._raw.clear()
        self._room = self._most_head
        self._complete = False
        self._keep = not head.closes
        self._bodiless = head.bodiless
        if body is None:
            transport.write(head.prefix + (b"Content-Length: 0\r\n\r\n" if head.sized else b"\r\n"))
        elif len(body) <= PIECE:
            transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head.prefix, len(body), body))
        else:
            transport.write(b"%bContent-Length: %d\r\n\r\n" % (head.prefix, len(body)))
            self._large = True
            self._unsent = memoryview(body)
            self._send_on()

    def _send_on(self) -> None:
        # Nobody waits for this: what the server says meanwhile (that it is too much, for one) is heard at once.
        while self._unsent is not None and not self._full and self.transport is not None:
            piece, rest = self._unsent[:PIECE], self._unsent[PIECE:]
            self._unsent = rest if len(rest) else None
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._unsent is not None:
            self._send_on()

    # --- in ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:
            self.drop()  # nobody asked for this
            return
        before = answer.left
        try:
            if answer.status:
                self._parser.feed_data(data)
            elif not self._head_received(answer, data):
                return
        except HttpParserError as error:
            if not self._complete:
                answer.fail(ProtocolError, f"the upstream's answer is not HTTP that can be read: {error}")
                return
            self._keep = False
        came = before - answer.left
        if answer.left < 0:
            answer.fail(ProtocolError, OVERSIZE)
        elif self._complete:
            self._end(answer)
        elif came:
            self._room = self._most_head
            answer.held += came
            if answer.whole:
                answer.touch()
                return
            answer.wake()
            if answer.held > HIGH_WATER and not self._paused and self.transport is not None:
                self._paused = True
                self.transport.pause_reading()
        else:
            # A chunk's size, or what follows the last one: it must not go on for ever.
            self._room -= len(data)
            if self._room < 0:
                answer.fail(ProtocolError, "the upstream frames its answer with more than max_header_bytes allows")
            elif not answer.whole:
                answer.wake()

    def _head_received(self, answer: Answer, data: bytes) -> bool:
        """Feed what may hold the end of the head; whether there is more to be done about it."""
        room = self._room
        size = len(data)
        self._room = room - size
        if size <= room:
            self._parser.feed_data(data)
        else:
            self._parser.feed_data(data[:room])
            if not answer.status:
                answer.fail(ProtocolError, "the upstream's headers are larger than max_header_bytes allows")
                return False
            self._parser.feed_data(data[room:])
        if not answer.status:
            return False
        self._room = self._most_head + size
        return self.answer is answer

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep = False  # a second answer to one request

    def on_headers_complete(self) -> None:
        answer = self.answer
        status: int = self._parser.get_status_code()
        if answer is None or self._complete:
            return
        if status < 200:
            if status == 101 or status < 100:
                answer.fail(ProtocolError, f"the upstream answered with HTTP {status}, which was not asked for")
            return
        answer.status = status
        answer.headers = fields(self._raw)
        if not self._parser.should_keep_alive():
            self._keep = False
        if self._bodiless:
            self._complete, self._keep = True, False

    def on_body(self, data: bytes) -> None:
        answer = self.answer
        if answer is not None and not self._complete:
            answer.parts.append(data)
            answer.left -= len(data)

    def on_message_complete(self) -> None:
        answer = self.answer
        if answer is None or not answer.status:
            self._raw.clear()  # a hint before the answer
        else:
            self._complete = True

    # --- the end -------------------------------------------------------------------------------------------------

    def _end(self, answer: Answer) -> None:
        """The answer is here."""
        self.answer = None
        answer.connection = None
        answer.done = True
        answer.wake()
        if self._large:
            self._large = False
            transport = self.transport
            if self._unsent is not None or transport is None or transport.get_write_buffer_size():
                self._keep = False  # answered before it had heard us out
                self._unsent = None
        if self._keep:
            self.resume()
            self._pool.keep(self)
        else:
            self._pool.busy.discard(self)
            self.drop()

    def _to_the_end(self) -> bool:
        """Whether the body under way ends with the connection, and so has ended well where that was closed."""
        answer = self.answer
        if answer is None or not answer.status:
            return False
        known = answer.headers
        return "content-length" not in known and not known.get("transfer-encoding", "").lower().endswith("chunked")

    def eof_received(self) -> None:
        answer = self.answer
        if answer is not None and self._to_the_end():
            self._keep = False
            self._end(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = self._unsent = None
        answer = self.answer
        if answer is None:
            self._pool.gone(self)
        elif error is None and self._to_the_end():
            self._keep = False
            self._end(answer)
        elif answer.status:
            cut = "the upstream's answer broke off before its end"
            answer.fail(
                StreamCut, cut if error is None else "the connection broke in the middle of the upstream's answer"
            )
        else:
            # A server may close a kept connection in the moment we use it (many do right after a 500). That says
            # nothing of its health, and the request was never answered.
            answer.stale = not self.fresh and self._room == self._most_head
            answer.fail(TransportError, "the upstream closed the connection without an answer")
        self._parser = None  # it refers to us

    def let_go(self) -> None:
        """The answer under way is given up, and the connection with it."""
        self.answer = None
        self._pool.busy.discard(self)
        self.drop()

    def drop(self) -> None:
        """Close it, without a farewell: none that anybody would wait for."""
        transport, self.transport = self.transport, None
        self._unsent = None
        if transport is not None:
            transport.abort()

    def resume(self) -> None:
        """Read on, where reading was stopped because nobody took what came."""
        if self._paused:
            self._paused = False
            if self.transport is not None:
                self.transport.resume_reading()
