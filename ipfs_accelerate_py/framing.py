"""Where one message ends and the next begins: server-sent events and JSON lines. Pure: bytes in, messages out.

Payloads stay bytes, because the JSON decoder above wants bytes. A decoder belongs to one response; feed it what the
socket gave, split anywhere, and it hands back what is complete.

Source: WHATWG HTML Living Standard, "Server-sent events", section "Interpreting an event stream".
"""

from __future__ import annotations

import re

import msgspec

from .errors import ProtocolError

__all__ = ["JSONLinesDecoder", "SSEDecoder", "SSEvent"]

DEFAULT_MAX_LINE = 1 << 20
DEFAULT_MAX_EVENT = 8 << 20

# As numbers: ``10 in data`` is one memchr, while ``b"\n" in data`` first tries to read its left side as one.
_LF = 0x0A
_CR = 0x0D
_BOM = b"\xef\xbb\xbf"
# A line's end, and at once another one. Atomic, so that a CRLF is never read as CR and then an empty line.
_BLANK_LINE = re.compile(rb"(?>(\r\n|\n|\r))(?>\r\n|\n|\r)")
_NEWLINES = re.compile(rb"[\r\n]*")
# int() refuses digit strings that go on for ever; nobody asks for a wait of 10**18 ms.
_MAX_RETRY_DIGITS = 18


class SSEvent(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event.

    Attributes:
        data: the data lines joined by LF, as the bytes that came (UTF-8 is not checked here).
        event: the event's type; empty means the standard's default, ``message``.
        id: the stream's last event id at this event; it persists from event to event.
        retry: the reconnection time in milliseconds, if this event's own block set one.
    """

    data: bytes
    event: str = ""
    id: str = ""
    retry: int | None = None


class SSEDecoder:
    """Incremental decoder of one ``text/event-stream`` body.

    Obeys the standard: LF, CR and CRLF in any mixture, one leading byte order mark, comments, several data lines, one
    space after the colon dropped, an event without data not dispatched, an unterminated last event discarded.

    Args:
        max_line: longest line accepted, in bytes without its end.
        max_event: longest event accepted, in bytes on the wire up to its blank line, comments included.

    Beyond either limit ``feed`` and ``split`` raise :class:`ProtocolError`; the decoder is of no use after that. Limits
    depend on the bytes alone, never on how they were split into reads.

    Attributes:
        last_event_id: the stream's last event id.
        retry: the stream's latest reconnection time in milliseconds, also where it came without data.
    """

    __slots__ = (
        "_at_start",
        "_buffer",
        "_clean",
        "_limit",
        "_open_line",
        "last_event_id",
        "max_event",
        "max_line",
        "retry",
    )

    def __init__(self, *, max_line: int = DEFAULT_MAX_LINE, max_event: int = DEFAULT_MAX_EVENT) -> None:
        if max_line < 1 or max_event < 1:
            raise ValueError("max_line and max_event must be positive")
        self.max_line = max_line
        self.max_event = max_event
        self.last_event_id = ""
        self.retry: int | None = None
        #: Below this many bytes in hand, no limit can have been passed.
        self._limit = min(max_line, max_event)
        #: The raw bytes of the event that is not complete. Never begins with a newline.
        self._buffer = bytearray()
        #: Length of the last, unterminated line in the buffer.
        self._open_line = 0
        self._at_start = True
        #: Nothing buffered and past the start: a read that ends in a blank line needs no bookkeeping at all.
        self._clean = False

    def feed(self, data: bytes) -> list[SSEvent]:
        """Take the bytes of one read and return the events they complete."""
        if self._clean and data[-2:] == b"\n\n" and len(data) <= self._limit and _CR not in data:
            return self._decode(data)
        return self._advance(data)[1]

    def split(self, data: bytes) -> tuple[bytes, list[SSEvent]]:
        """Like :meth:`feed`, and also return the bytes of what is complete, verbatim, to be passed on as they are.

        The bytes include comments, byte order mark and line ends exactly as received: the concatenation over all calls
        is the body up to its last blank line.
        """
        if self._clean and data[-2:] == b"\n\n" and len(data) <= self._limit and _CR not in data:
            return data, self._decode(data)
        return self._advance(data)

    @property
    def pending(self) -> bool:
        """Whether part of an event is waiting for its end. True at the end of the body: it broke off in mid-event."""
        if not self._buffer:
            return False
        rest = bytes(self._buffer)
        if self._at_start:
            rest = rest.removeprefix(_BOM)
        return any(line and not line.startswith(b":") for line in _to_lf(rest).split(b"\n"))

    def flush(self) -> None:
        """The body has ended: discard an unterminated event, as the standard says. Read ``pending`` first."""
        self._buffer.clear()
        self._open_line = 0
        self._clean = not self._at_start

    def _advance(self, data: bytes) -> tuple[bytes, list[SSEvent]]:
        """The general way: any line ends, any split. Returns the complete bytes and their events."""
        if not data:
            return b"", []
        if self._clean and data[-4:] == b"\r\n\r\n" and len(data) <= self._limit:
            return data, self._decode(_to_lf(data))
        buffer = self._buffer
        held = len(buffer)
        if held:
            buffer += data
            end = _last_boundary(buffer, held - 1)
        else:
            end = _last_boundary(data, 0)
            if not end and data[0] in b"\r\n":
                # An empty line between events, or the LF of the CRLF whose CR ended the last one: nothing to wait for.
                end = 2 if data.startswith(b"\r\n") else 1
        if held + len(data) > self._limit:
            self._check_lines(data)

        if not end:
            complete = b""
            if not held:
                buffer += data
        elif held:
            complete = bytes(memoryview(buffer)[:end])
            del buffer[:end]
        else:
            complete = data[:end]
            buffer += data[end:]

        if len(buffer) > self.max_event:
            raise _event_too_long(self.max_event)
        if len(complete) > self.max_event:
            self._check_events(complete)
        if buffer:
            newline = max(data.rfind(_LF), data.rfind(_CR))
            self._open_line = len(data) - newline - 1 if newline >= 0 else self._open_line + len(data)
        else:
            self._open_line = 0
        if not complete:
            self._clean = False
            return b"", []

        body = complete
        if self._at_start:
            self._at_start = False
            body = body.removeprefix(_BOM)
        self._clean = not buffer
        return complete, self._decode(_to_lf(body))

    def _decode(self, body: bytes) -> list[SSEvent]:
        """Decode whole events with LF line ends. ``body`` ends in a blank line."""
        # Nearly every read of nearly every provider is a run of events of one shape. These are cut in C; a piece that
        # still holds a newline betrays another shape, and then the loop below takes them all.
        if body[:6] == b"data: " and not self.last_event_id:
            if body.find(_LF) == len(body) - 2:
                return [SSEvent(body[6:-2])]
            pieces = body[6:-2].split(b"\n\ndata: ")
            if _LF not in b"".join(pieces):
                return list(map(SSEvent, pieces))
        elif body[:7] == b"event: ":
            events = self._decode_named(body[7:-2].split(b"\n\nevent: "))
            if events is not None:
                return events

        events = []
        for block in body.split(b"\n\n"):
            if block[:6] == b"data: " and _LF not in block:
                events.append(SSEvent(block[6:], "", self.last_event_id))
            elif block:
                event = self._interpret(block)
                if event is not None:
                    events.append(event)
        return events

    def _decode_named(self, pieces: list[bytes]) -> list[SSEvent] | None:
        """Decode ``<type> LF data: <payload>`` pieces; None as soon as one is of another shape."""
        last_event_id = self.last_event_id
        events: list[SSEvent] = []
        for piece in pieces:
            cut = piece.find(_LF)
            data = piece[cut + 7 :]
            if cut < 0 or piece[cut + 1 : cut + 7] != b"data: " or _LF in data:
                return None
            events.append(SSEvent(data, piece[:cut].decode("utf-8", "replace"), last_event_id))
        return events

    def _interpret(self, block: bytes) -> SSEvent | None:
        """Process one block's lines, field by field, as the standard does."""
        data: list[bytes] = []
        kind = b""
        retry: int | None = None
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            if value.startswith(b" "):
                value = value[1:]
            if name == b"data":
                data.append(value)
            elif name == b"event":
                kind = value
            elif name == b"id":
                if b"\0" not in value:
                    self.last_event_id = value.decode("utf-8", "replace")
            elif name == b"retry" and value.isdigit() and len(digits := value.lstrip(b"0")) <= _MAX_RETRY_DIGITS:
                self.retry = retry = int(digits or b"0")
        if not data:
            return None
        return SSEvent(b"\n".join(data), kind.decode("utf-8", "replace"), self.last_event_id, retry)

    def _check_lines(self, data: bytes) -> None:
        lengths = [len(line) for line in data.replace(b"\r", b"\n").split(b"\n")]
        lengths[0] += self._open_line
        if max(lengths) > self.max_line:
            raise ProtocolError(f"the event stream holds a line of more than {self.max_line} bytes")

    def _check_events(self, complete: bytes) -> None:
        start = _skip_newlines(complete, 0)
        for blank in _BLANK_LINE.finditer(complete):
            if blank.end(1) - start > self.max_event:
                raise _event_too_long(self.max_event)
            start = _skip_newlines(complete, blank.end())


class JSONLinesDecoder:
    """Incremental decoder of a JSON-lines (NDJSON) body: one message a line, ended by LF or CRLF.

    Lines come back without their end and without white space around them; blank ones are skipped.

    Args:
        max_line: longest line accepted, in bytes without its end. A line is a whole message, so the default is that of
            an event; ``feed`` raises :class:`ProtocolError` beyond it.
    """

    __slots__ = ("_buffer", "max_line")

    def __init__(self, *, max_line: int = DEFAULT_MAX_EVENT) -> None:
        if max_line < 1:
            raise ValueError("max_line must be positive")
        self.max_line = max_line
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the bytes of one read and return the lines they complete."""
        buffer = self._buffer
        lines = data.split(b"\n")
        if (
            len(buffer) + len(data) > self.max_line
            and max(len(buffer) + len(lines[0]), *map(len, lines)) > self.max_line
        ):
            raise ProtocolError(f"the stream holds a line of more than {self.max_line} bytes")
        rest = lines.pop()
        if buffer and lines:
            lines[0] = bytes(buffer) + lines[0]
            buffer.clear()
        buffer += rest
        return [line for raw in lines if (line := raw.strip(b" \t\r"))]

    @property
    def pending(self) -> bool:
        """Whether an unterminated line is held."""
        return bool(self._buffer.strip(b" \t\r"))

    def flush(self) -> list[bytes]:
        """The body has ended: return its last line if that had no line end, else nothing."""
        line = bytes(self._buffer.strip(b" \t\r"))
        self._buffer.clear()
        return [line] if line else []


def _to_lf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if _CR in data else data


def _last_boundary(data: bytes | bytearray, start: int) -> int:
    """Offset just after the last blank line that ends at or after ``start``; 0 where there is none.

    Of two newline bytes side by side only CR LF is one line end; every other pair closes a line and an empty line.
    """
    pair = data.rfind(b"\n\n", start)
    if data.find(_CR, start) >= 0:
        pair = max(pair, data.rfind(b"\n\r", start), data.rfind(b"\r\r", start))
    if pair < 0:
        return 0
    end = pair + 2
    return end + 1 if data[end - 1 : end + 1] == b"\r\n" else end


def _skip_newlines(data: bytes, start: int) -> int:
    match = _NEWLINES.match(data, start)
    return match.end() if match else start


def _event_too_long(limit: int) -> ProtocolError:
    return ProtocolError(f"the event stream holds an event of more than {limit} bytes")
