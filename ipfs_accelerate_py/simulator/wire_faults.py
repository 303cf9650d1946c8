"""Faults of the connection: what happens to the bytes, whatever they say."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from .faults import Fault, register
from .stream_faults import ENDLESS
from .wire import Close, Down, Flush, Sleep, WireItem

__all__: list[str] = []


@register
@dataclass(frozen=True, slots=True)
class Latency(Fault):
    """The whole answer comes so many seconds later."""

    word: ClassVar[str] = "latency"
    seconds: float = 1.0

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        return itertools.chain((Sleep(self.seconds),), items)


@register
@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection is reset (RST) before any byte of an answer."""

    word: ClassVar[str] = "reset"

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield Close(rst=True)


@register
@dataclass(frozen=True, slots=True)
class CloseUnanswered(Fault):
    """The connection is closed (FIN) before any byte of an answer."""

    word: ClassVar[str] = "close"

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield Close()


@register
@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """The request is taken and never answered."""

    word: ClassVar[str] = "hang"

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield Sleep(None)


@register
@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """The headers come at once and nothing after them for ``seconds``, or for ever."""

    word: ClassVar[str] = "stall"
    seconds: float | None = None

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield next(items)
        yield Flush()
        yield Sleep(self.seconds)
        yield from items


@register
@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """The answer, headers too, comes in ``size`` bytes every ``interval`` seconds."""

    word: ClassVar[str] = "drip"
    size: int = 1
    interval: float = 0.05

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        for item in items:
            if isinstance(item, bytes):
                for at in range(0, len(item), self.size):
                    yield item[at : at + self.size]
                    yield Flush()
                    yield Sleep(self.interval)
            else:
                yield item


@register
@dataclass(frozen=True, slots=True)
class Malformed(Fault):
    """Bytes that are not HTTP; ``kind`` is ``status_line``, ``header``, ``lengths``, ``chunk`` or ``garbage``."""

    word: ClassVar[str] = "malformed"
    kind: str = "status_line"

    def __post_init__(self) -> None:
        if self.kind not in _MALFORMED:
            raise ValueError(f"malformed: kind must be one of {', '.join(_MALFORMED)}; got {self.kind!r}")

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield _MALFORMED[self.kind]
        yield Close()


_MALFORMED = {
    "status_line": b"HTTP/1.1 OK 200\r\ncontent-length: 2\r\n\r\n{}",
    "header": b"HTTP/1.1 200 OK\r\ncontent-type application/json\r\ncontent-length: 2\r\n\r\n{}",
    "lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 7\r\n\r\n{}",
    "chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is not HTTP\r\n\r\n",
}


@register
@dataclass(frozen=True, slots=True)
class EndlessChunk(Fault):
    """The line with a chunk's size never ends (up to 64 MiB of chunk extension)."""

    word: ClassVar[str] = "endless_chunk"

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1;"
        block = b"x" * 65536
        for _ in range(ENDLESS // len(block)):
            yield block
        yield Close()


@register
@dataclass(frozen=True, slots=True)
class GoDown(Fault):
    """The server goes down: connections are reset, and refused for ``seconds`` (or until told to come up again)."""

    word: ClassVar[str] = "down"
    seconds: float | None = None

    def wire(self, items: Iterator[WireItem]) -> Iterator[WireItem]:
        yield Down(self.seconds)
