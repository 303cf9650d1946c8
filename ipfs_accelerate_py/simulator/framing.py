"""An answer as bytes: HTTP/1.1 heads and bodies, SSE events."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from .wire import Answer, Event, Raw, Request, Sleep, WireItem

__all__ = ["body_items", "frame", "head", "http_date", "sized", "sse", "whole"]

_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_date: tuple[int, bytes] = (0, b"")


def http_date(when: float) -> str:
    """A time since the epoch as an HTTP date (RFC 9110, 5.6.7). Not ``strftime``, whose names follow the locale."""
    at = time.gmtime(when)
    day = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year}"
    return f"{day} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} GMT"


def _date_line() -> bytes:
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, f"date: {http_date(now)}\r\n".encode())
    return _date[1]


@lru_cache(maxsize=256)
def _opening(status: int, content_type: str) -> bytes:
    # Not every format has a field in which an answer could say that no model made it.
    line = b"HTTP/1.1 %d %b\r\nx-simulator: ipfs_accelerate_py\r\n" % (status, _REASONS.get(status, b"Unknown"))
    return line + b"content-type: %b\r\n" % content_type.encode() if content_type else line


def sse(event: Event) -> bytes:
    """An event in server-sent-events framing (HTML standard, 9.2)."""
    if event.name:
        return b"event: %b\ndata: %b\n\n" % (event.name.encode(), event.data)
    return b"data: %b\n\n" % event.data


def head(answer: Answer, *, length: int | None, chunked: bool, close: bool) -> bytes:
    """Status line and headers. ``length`` None and not ``chunked`` means that the connection's end ends the body."""
    lines = [_opening(answer.status, answer.content_type), _date_line()]
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    elif chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if close:
        lines.append(b"connection: close\r\n")
    if answer.headers:
        lines.append("".join([f"{name}: {value}\r\n" for name, value in answer.headers]).encode("latin-1", "replace"))
    lines.append(b"\r\n")
    return b"".join(lines)


def whole(answer: Answer, body: bytes, *, close: bool, head_only: bool = False) -> bytes:
    """A unary answer in one piece."""
    start = head(answer, length=len(body), chunked=False, close=close)
    return start if head_only else start + body


def sized(answer: Answer) -> bool:
    """Whether the length of the body is known before it is sent."""
    return answer.events is None and (isinstance(answer.body, bytes) or answer.length is not None)


def body_items(answer: Answer, request: Request, interval: float = 0.0) -> Iterator[WireItem]:
    """The body's pieces, before HTTP framing.

    Events are counted in the request as they are produced, and ``interval`` seconds lie between those with tokens.
    """
    if answer.events is None:
        if isinstance(answer.body, bytes):
            yield answer.body
        else:
            yield from answer.body
        return
    encode = answer.encode or sse
    pause: Sleep | None = None
    for item in answer.events:
        if isinstance(item, Event):
            if item.tokens and interval:
                if pause is not None:
                    yield pause
                pause = Sleep(interval)
            if not item.last:
                request.streamed_chunks += 1
                request.streamed_tokens += item.tokens
            yield encode(item)
        elif isinstance(item, Raw):
            yield item.data
        else:
            yield item


def frame(
    answer: Answer, request: Request, items: Iterable[WireItem], *, chunked: bool, close: bool, head_only: bool
) -> Iterator[WireItem]:
    """Head and body as they go over the wire. Each piece of a body of unknown length becomes one HTTP chunk.

    The status is put into the request when the head is made, so that a fault that keeps it back leaves it at 0.
    """
    request.status = answer.status
    if sized(answer):
        length = len(answer.body) if isinstance(answer.body, bytes) else answer.length
        yield head(answer, length=length, chunked=False, close=close)
        if not head_only:
            yield from items
        return
    yield head(answer, length=None, chunked=chunked, close=close)
    if head_only:
        return
    for item in items:
        if chunked and isinstance(item, bytes):
            if item:  # an empty chunk would end the body
                yield b"%x\r\n%b\r\n" % (len(item), item)
        else:
            yield item
    if chunked:
        yield b"0\r\n\r\n"
