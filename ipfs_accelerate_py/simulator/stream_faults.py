"""Faults in the middle of an answer: cuts, silences, and events that are wrong or oddly framed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from .faults import Fault, register
from .framing import sse
from .wire import Answer, Close, Event, Flush, Problem, Raw, Request, Service, Sleep, StreamItem, WireItem

__all__: list[str] = []

#: What never ends does end here, should the client have the patience.
ENDLESS: Final = 64 * 1024 * 1024


def _after(
    items: Iterator[StreamItem], tokens: int, then: Callable[[Iterator[StreamItem]], Iterable[StreamItem]]
) -> Iterator[StreamItem]:
    """The stream until it has had so many tokens, or its terminator is next; from there what ``then`` makes of it."""
    seen = 0
    while seen < tokens:
        item = next(items, None)
        if item is None:
            break
        if isinstance(item, Event):
            if item.last:
                items = itertools.chain((item,), items)
                break
            seen += item.tokens
        yield item
    yield from then(items)


def _halved(answer: Answer, *between: WireItem, rest: bool) -> Answer:
    """A unary answer with something happening in the middle of its body, whose length is still announced in full."""
    if not isinstance(answer.body, bytes):
        return answer
    middle = len(answer.body) // 2
    pieces: tuple[WireItem, ...] = (answer.body[:middle], *between)
    if rest:
        pieces += (answer.body[middle:],)
    return replace(answer, body=pieces, length=len(answer.body))


@register
@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """The connection ends after this many tokens, with FIN or with RST; a unary answer's in the middle of its body."""

    word: ClassVar[str] = "cut"
    after: int = 0
    rst: bool = False

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        end = Close(self.rst)
        if answer.events is None:
            return _halved(answer, end, rest=False)
        return replace(answer, events=_after(answer.events, self.after, lambda rest: (end,)))


@register
@dataclass(frozen=True, slots=True)
class Utf8Cut(Fault):
    """The connection ends in the middle of a multi-byte character, after this many tokens.

    With ``complete`` the answer ends there in good order, as though it were whole.
    """

    word: ClassVar[str] = "utf8_cut"
    after: int = 0
    complete: bool = False

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is None:
            if isinstance(answer.body, bytes):
                broken = _broken_character(answer.body)
                if self.complete:
                    return replace(answer, body=broken)
                return replace(answer, body=(broken, Close()), length=max(len(answer.body), len(broken) + 1))
            return answer
        encode = answer.encode or sse
        return replace(answer, events=_after(answer.events, self.after, lambda rest: self._break(rest, encode)))

    def _break(self, items: Iterator[StreamItem], encode: Callable[[Event], bytes]) -> Iterator[StreamItem]:
        for item in items:
            if not isinstance(item, Event):
                yield item
            elif item.last or not item.data.isascii():
                yield Raw(_broken_character(encode(item)))
                break
            else:
                yield item
        if not self.complete:
            yield Close()


def _broken_character(data: bytes) -> bytes:
    """The data up to the middle of its first multi-byte character, or its first half and the start of one."""
    for position, byte in enumerate(data):
        if byte >= 0xC0:
            return data[: position + 1]
    return data[: len(data) // 2] + "é".encode()[:1]


@register
@dataclass(frozen=True, slots=True)
class Silence(Fault):
    """Nothing comes for ``seconds`` (or for ever) after this many tokens, and the connection stays open.

    A unary answer is silent in the middle of its body.
    """

    word: ClassVar[str] = "silence"
    after: int = 0
    seconds: float | None = None

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        pause = Sleep(self.seconds)
        if answer.events is None:
            return _halved(answer, pause, rest=True)
        return replace(answer, events=_after(answer.events, self.after, lambda rest: itertools.chain((pause,), rest)))


@register
@dataclass(frozen=True, slots=True)
class BadJson(Fault):
    """An event of invalid JSON after ``at`` tokens: one more, or in place of the next piece of content.

    A unary answer is cut short in its JSON, with a length to match.
    """

    word: ClassVar[str] = "bad_json"
    at: int = 0
    replace: bool = False
    data: str = '{"choices":[{"delta":{"content":'

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is None:
            if isinstance(answer.body, bytes):
                answer.body = answer.body[: len(answer.body) // 2]
            return answer
        answer.events = _after(answer.events, self.at, self._spoil)
        return answer

    def _spoil(self, items: Iterator[StreamItem]) -> Iterator[StreamItem]:
        if not self.replace:
            yield Event(self.data.encode())
            yield from items
            return
        for item in items:
            if isinstance(item, Event) and item.tokens:
                yield item._replace(data=self.data.encode(), tokens=0)
                break
            yield item
        yield from items


@register
@dataclass(frozen=True, slots=True)
class ErrorEvent(Fault):
    """An error in band after ``at`` tokens, and then the stream's end, or the rest of it where ``ends`` is false.

    Only streams have it.
    """

    word: ClassVar[str] = "error_event"
    at: int = 0
    message: str = "The server had an error while processing your request."
    type: str = "server_error"
    error_code: str | None = None
    ends: bool = True

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is None:
            return answer

        def fail(rest: Iterator[StreamItem]) -> Iterator[StreamItem]:
            # Made only when its time has come: some formats number their events.
            yield service.error_event(Problem(500, self.message, self.type, self.error_code), request)
            if not self.ends:
                yield from rest

        return replace(answer, events=_after(answer.events, self.at, fail))


@register
@dataclass(frozen=True, slots=True)
class NoDone(Fault):
    """A complete stream without its terminator (``[DONE]``); with ``hold`` the connection then stays open, silent."""

    word: ClassVar[str] = "no_done"
    hold: bool = False

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is None:
            return answer
        return replace(answer, events=self._without(answer.events))

    def _without(self, items: Iterator[StreamItem]) -> Iterator[StreamItem]:
        for item in items:
            if not (isinstance(item, Event) and item.last):
                yield item
        if self.hold:
            yield Sleep(None)


@register
@dataclass(frozen=True, slots=True)
class EndlessLine(Fault):
    """A line that never ends after this many tokens (up to 64 MiB); a unary body's JSON string does the same."""

    word: ClassVar[str] = "endless_line"
    after: int = 0

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is None:
            return replace(answer, body=_endless(b'{"id":"'), length=None)
        return replace(answer, events=_after(answer.events, self.after, lambda rest: map(Raw, _endless(b'data: {"'))))


def _endless(start: bytes) -> Iterator[bytes]:
    yield start
    block = b"x" * 65536
    for _ in range(ENDLESS // len(block)):
        yield block


@register
@dataclass(frozen=True, slots=True)
class Messy(Fault):
    """A stream that obeys the SSE standard and looks unlike anyone's: line ends, BOM, comments, many data lines.

    ``newline`` is ``lf``, ``cr``, ``crlf`` or ``mixed``.
    """

    word: ClassVar[str] = "messy"
    newline: str = "mixed"
    bom: bool = True
    comments: bool = True
    multiline: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        if self.newline not in ("lf", "cr", "crlf", "mixed"):
            raise ValueError(f"messy: newline must be lf, cr, crlf or mixed; got {self.newline!r}")

    def edit(self, answer: Answer, request: Request, service: Service) -> Answer:
        if answer.events is None or answer.encode is not None:  # another framing than SSE, or one spoilt already
            return answer
        rng = random.Random(self.seed)
        start = [b"\xef\xbb\xbf"] if self.bom else []
        return replace(answer, encode=lambda event: (start.pop() if start else b"") + self._encode(event, rng))

    def _encode(self, event: Event, rng: random.Random) -> bytes:
        lines: list[bytes] = []
        if self.comments and rng.random() < 0.5:
            lines += [b": keep-alive", b":", b"id: 1", b"retry: 1000", b"unknown: field"]
        if event.name:
            lines.append(b"event:" + event.name.encode())
        data = event.data
        space = rng.choice((b"", b" "))
        if self.multiline and data[:1] == b"{" and rng.random() < 0.5:
            # A line end is white space between JSON tokens, so the event's data is the same JSON.
            lines += [b"data:" + space + b"{", b"data:" + space + data[1:]]
        else:
            lines.append(b"data:" + space + data)
        lines.append(b"")
        out = bytearray()
        for line in lines:
            ends = {"lf": b"\n", "cr": b"\r", "crlf": b"\r\n"}.get(self.newline) or rng.choice((b"\n", b"\r", b"\r\n"))
            if not line and ends == b"\n" and out[-1:] == b"\r":
                ends = b"\r"  # after a CR, a lone LF would be its second half and not an empty line
            out += line + ends
        return bytes(out)


@register
@dataclass(frozen=True, slots=True)
class Split(Fault):
    """The body in pieces of ``size`` bytes, each in its own packet; size 0 makes the sizes random, from the seed."""

    word: ClassVar[str] = "split"
    least: ClassVar[dict[str, int]] = {"most": 1}
    size: int = 1
    most: int = 40
    seed: int = 0

    def payload(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        rng = random.Random(self.seed)
        for item in items:
            if not isinstance(item, bytes):
                yield item
                continue
            at = 0
            while at < len(item):
                size = self.size or rng.randint(1, self.most)
                yield item[at : at + size]
                yield Flush()
                at += size
