"""Streaming answers of ``streamGenerateContent?alt=sse``: each event is a whole `GenerateContentResponse`.

There is no terminator: a stream ends after the event with each candidate's ``finishReason``. Counts come with every
event, and grow.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.gemini.answers import Parts, candidates_of, finish, usage_of
from ipfs_accelerate_py.dialects.gemini.errors import error_from_body
from ipfs_accelerate_py.dialects.reading import count, name
from ipfs_accelerate_py.dialects.streaming import EventStream
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.types import Chunk, Usage

__all__ = ["GeminiStream", "RawStream"]

_decode = msgspec.json.Decoder().decode
_MARKS = (b'"parts"', b'"content"', b'"candidates"', b'"text"', b'"functionCall"')


class GeminiStream(EventStream):
    """A chat answer. ``candidates`` is how many were asked for."""

    format = "Google's format"
    content_marks = _MARKS

    def __init__(self, candidates: int = 1) -> None:
        super().__init__()
        self._wanted = candidates
        self._calls: dict[int, int] = {}
        self._ended: set[int] = set()

    def end(self) -> list[Any]:
        # Fewer candidates may come than were asked for.
        if self._ended and self._ended == self._calls.keys():
            self.complete = True
        return super().end()

    def _read(self, event: SSEvent) -> list[Chunk]:
        data = event.data
        if data == b"[DONE]":  # not Google's, but proxies add it to anything
            self.finished = self.complete
            return []
        try:
            raw = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unreadable(data)
            return []
        if isinstance(raw, list) and len(raw) == 1:
            raw = raw[0]
        if not isinstance(raw, dict):
            self._unreadable(data)
            return []
        if raw.get("error"):
            raise error_from_body(raw)
        candidates = candidates_of(raw)
        usage: Usage | None = None
        if isinstance(raw.get("usageMetadata"), dict):
            usage = self.usage = usage_of(raw["usageMetadata"])
        self.model = name(raw.get("modelVersion")) or self.model
        if not candidates:
            return [Chunk(usage=usage, model=self.model, data=data)]
        return [self._chunk(candidate, usage, data) for candidate in candidates]

    def _chunk(self, candidate: dict[str, Any], usage: Usage | None, data: bytes) -> Chunk:
        index = count(candidate.get("index"))
        before = self._calls.get(index, 0)
        parts = Parts.read(candidate, before)
        called = self._calls[index] = before + len(parts.calls)
        ended = finish(candidate.get("finishReason"), called > 0)
        if parts.seen:
            self.content_seen = True
        if ended is not None:
            self.finish_reason = self.finish_reason or ended
            self._ended.add(index)
            self.complete = len(self._ended) >= self._wanted
        return Chunk(
            parts.text,
            parts.reasoning,
            tool_calls=parts.calls,
            finish_reason=ended,
            usage=usage if ended is not None else None,
            model=self.model,
            index=index,
            data=data,
            images=parts.images,
        )


class RawStream(EventStream):
    """Events as they come, of any kind; the body's end is theirs."""

    format = "server-sent events"
    content_marks = ()

    def end(self) -> list[Any]:
        self.complete = self.error is None
        return super().end()

    def _read(self, event: SSEvent) -> list[Chunk]:
        self.content_seen = True
        chunk = Chunk(event=event.event, data=event.data)
        try:
            raw = _decode(event.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raw = None  # it is for whoever asked to read it
        if isinstance(raw, dict):
            if raw.get("error"):
                raise error_from_body(raw)
            if isinstance(raw.get("usageMetadata"), dict):
                self.usage = chunk.usage = usage_of(raw["usageMetadata"])
            self.model = chunk.model = name(raw.get("modelVersion")) or self.model
        return [chunk]
