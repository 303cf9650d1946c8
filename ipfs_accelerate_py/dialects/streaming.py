"""What streams of every format have in common: framing, unreadable events, what is forwarded, the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeVar

from ipfs_accelerate_py.errors import BackendError, ProtocolError, StreamCut
from ipfs_accelerate_py.framing import JSONLinesDecoder, SSEDecoder, SSEvent
from ipfs_accelerate_py.types import Chunk, Usage

__all__ = ["EventStream", "Lines"]

T = TypeVar("T")

#: Images and sound come as base64 in one event.
MOST_EVENT_BYTES = 32 << 20


class Framing(Protocol):
    """Cuts a body into events."""

    def feed(self, data: bytes) -> list[SSEvent]: ...

    def split(self, data: bytes) -> tuple[bytes, list[SSEvent]]:
        """The same, with the bytes of what is complete, verbatim."""
        ...

    def rest(self) -> list[SSEvent]:
        """The body has ended: what was complete but for its end."""
        ...

    def without(self, whole: bytes, events: list[SSEvent]) -> bytes:
        """Verbatim bytes without some of their events."""
        ...


class EventStream(ABC):
    """A `StreamDecoder` but for what an event means, which `_read` says. Server-sent events unless told otherwise.

    An event that cannot be read is skipped and counted, unless it held a piece of the answer (one of
    ``content_marks`` is in it): then skipping it would leave a gap in the text that nobody could see.
    """

    #: How the format's name is said in errors.
    format: ClassVar[str] = "OpenAI's format"
    content_marks: ClassVar[tuple[bytes, ...]]

    def __init__(self, framing: Framing | None = None) -> None:
        self._framing: Framing = framing or _Events()
        self._forwarding = False
        self.model = ""
        self.usage = Usage()
        self.finish_reason: str | None = None
        self.content_seen = False
        self.complete = False
        self.finished = False
        self.skipped = 0
        self.error: BackendError | None = None

    @abstractmethod
    def _read(self, event: SSEvent) -> list[Chunk]:
        """An event as chunks; the state (``content_seen``, ``complete``, ``finished``, ...) is brought up to date."""

    def _look(self, event: SSEvent) -> bool:
        """Bring the state up to date, and tell whether the event held nothing but the usage."""
        self._read(event)
        return False

    def _terminator(self) -> bytes:
        """What ends a forwarded stream whose server left its terminator out."""
        return b""

    def feed(self, data: bytes) -> list[Chunk]:
        return self._chunks(self._framing.feed(data))

    def _chunks(self, events: list[SSEvent]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for event in events:
            try:
                chunks += self._guarded(self._read, event)
            except BackendError as error:
                if not chunks:
                    raise
                self.error = error
                break
        return chunks

    def forward(self, data: bytes, hide_usage: bool = False) -> list[bytes]:
        self._forwarding = True
        whole, events = self._framing.split(data)
        for position, event in enumerate(events):
            skipped = self.skipped
            try:
                only_usage = self._guarded(self._look, event)
            except BackendError as error:
                if position == 0:
                    raise
                self.error = error
                whole = self._framing.without(whole, events[position:])
                break
            if self.skipped > skipped or (hide_usage and only_usage):
                whole = self._framing.without(whole, [event])
        return [whole] if whole else []

    def end(self) -> list[Any]:
        """The body has ended: what is left of it, as chunks, or as bytes where it is forwarded."""
        if self.error is not None:
            raise self.error
        left: list[Any] = []
        rest = self._framing.rest()
        if rest and not self.finished:
            chunks = self._chunks(rest)
            left = [b"".join(event.data + b"\n" for event in rest)] if self._forwarding else list(chunks)
        if self.finished:
            return left
        if not self.complete:
            raise StreamCut("the upstream's stream broke off before its end; what came so far is not the whole answer")
        self.finished = True
        if self._forwarding and (last := self._terminator()):
            left.append(last)
        return left

    def _guarded(self, read: Callable[[SSEvent], T], event: SSEvent) -> T:
        try:
            return read(event)
        except BackendError:
            raise
        except (TypeError, AttributeError, KeyError, IndexError, ValueError) as problem:
            raise ProtocolError(
                f"an event of the upstream's stream is not of {self.format}: {type(problem).__name__}: {problem}"
            ) from None

    def _unreadable(self, data: bytes) -> None:
        if any(mark in data for mark in self.content_marks):
            raise ProtocolError(
                "an event of the upstream's stream cannot be read and held a piece of the answer, "
                "which is therefore not whole"
            )
        self.skipped += 1


class _Events:
    """Server-sent events."""

    def __init__(self) -> None:
        decoder = SSEDecoder(max_line=MOST_EVENT_BYTES, max_event=MOST_EVENT_BYTES)
        self.feed = decoder.feed
        self.split = decoder.split

    def rest(self) -> list[SSEvent]:
        return []  # the standard discards an unterminated event

    def without(self, whole: bytes, events: list[SSEvent]) -> bytes:
        for event in reversed(events):
            block = _frame(event)
            at = whole.rfind(block)
            if at > 0 and whole[at - 1 : at] != b"\n":
                at = -1
            if at < 0:  # not framed in the usual way: the rest is framed anew
                decoder = SSEDecoder(max_line=MOST_EVENT_BYTES, max_event=MOST_EVENT_BYTES)
                whole = b"".join(_frame(each) for each in decoder.feed(whole) if each.data != event.data)
                continue
            whole = whole[:at] + whole[at + len(block) :]
        return whole


class Lines:
    """JSON lines; each is an event without a name."""

    def __init__(self) -> None:
        self._decoder = JSONLinesDecoder(max_line=MOST_EVENT_BYTES)

    def feed(self, data: bytes) -> list[SSEvent]:
        return list(map(SSEvent, self._decoder.feed(data)))

    def split(self, data: bytes) -> tuple[bytes, list[SSEvent]]:
        events = self.feed(data)
        return b"".join([event.data + b"\n" for event in events]), events

    def rest(self) -> list[SSEvent]:
        return list(map(SSEvent, self._decoder.flush()))

    def without(self, whole: bytes, events: list[SSEvent]) -> bytes:
        left = whole.split(b"\n")
        for event in reversed(events):
            if event.data in left:
                del left[len(left) - 1 - left[::-1].index(event.data)]
        return b"\n".join(left)


def _frame(event: SSEvent) -> bytes:
    named = b"event: " + event.event.encode() + b"\n" if event.event else b""
    return named + b"".join(b"data: " + line + b"\n" for line in event.data.split(b"\n")) + b"\n"
