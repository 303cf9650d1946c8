"""Streaming answers of TGI: its own tokens, and the chat it serves in OpenAI's format."""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.stream import ChatStreamDecoder
from ipfs_accelerate_py.dialects.reading import content, count, ended, name, part
from ipfs_accelerate_py.dialects.streaming import EventStream
from ipfs_accelerate_py.dialects.tgi.errors import error_from_body
from ipfs_accelerate_py.errors import BackendError, ProtocolError
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.types import Chunk, Usage

__all__ = ["TgiChatStreamDecoder", "TgiStreamDecoder", "finish"]

_FINISHES = {"eos_token": "stop", "stop_sequence": "stop"}
_decode = msgspec.json.Decoder().decode


def finish(reason: Any) -> str | None:
    """TGI's reason to end (``length``, ``eos_token``, ``stop_sequence``) in the words of chat."""
    said = name(reason)
    return _FINISHES.get(said, said) or None


class TgiStreamDecoder(EventStream):
    """One event a token; the last has ``generated_text``, and ``details`` with the reason and the counts.

    Special tokens (the end of text among them) are no text. Events are numbered, so a token that could not be read is
    missed by its number.
    """

    format = "TGI's format"
    content_marks = (b'"token"', b'"generated_text"')

    def __init__(self, model: str = "") -> None:
        super().__init__()
        self.model = model
        self._last: int | None = None
        self._skipped = 0

    def _read(self, event: SSEvent) -> list[Chunk]:
        data = event.data
        if data == b"[DONE]":  # proxies add it to anything
            self.finished = self.complete
            return []
        try:
            raw = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unreadable(data)
            return []
        if not isinstance(raw, dict):
            self._unreadable(data)
            return []
        if raw.get("error") is not None:
            raise error_from_body(raw)
        if "token" not in raw:
            return [Chunk(model=self.model, data=data)]
        self._number(raw.get("index"))
        token = part(raw["token"])
        chunk = Chunk("" if token.get("special") is True else content(token.get("text")), model=self.model, data=data)
        if chunk.text:
            self.content_seen = True
        if raw.get("generated_text") is not None:
            self._end(raw, chunk)
        return [chunk]

    def _number(self, index: Any) -> None:
        if isinstance(index, bool) or not isinstance(index, int):
            return
        missed, self._skipped = self.skipped > self._skipped, self.skipped
        if missed and self._last is not None and index > self._last + 1:
            raise ProtocolError(
                f"an event of the upstream's stream could not be read, and token {self._last + 1} is missing since: "
                "the answer is not whole"
            )
        self._last = index

    def _end(self, raw: dict[str, Any], chunk: Chunk) -> None:
        details = part(raw.get("details"))
        if details:
            self.usage = chunk.usage = Usage(
                count(details.get("input_length")), count(details.get("generated_tokens")), reported=True
            )
        self.finish_reason = chunk.finish_reason = finish(details.get("finish_reason"))
        self.complete = self.finished = True


class TgiChatStreamDecoder(ChatStreamDecoder):
    """OpenAI's chunks with TGI's reasons to end and TGI's errors."""

    def _read(self, event: SSEvent) -> list[Chunk]:
        try:
            chunks = super()._read(_listed(event))
        except BackendError as error:
            raise self._said(error) from None
        for chunk in chunks:
            chunk.finish_reason = ended(finish(chunk.finish_reason), chunk.index in self._called)
        self.finish_reason = ended(finish(self.finish_reason), bool(self._called))
        return chunks

    def _look(self, event: SSEvent) -> bool:
        try:
            only_usage = super()._look(_listed(event))
        except BackendError as error:
            raise self._said(error) from None
        self.finish_reason = ended(finish(self.finish_reason), bool(self._called))
        return only_usage

    @staticmethod
    def _said(error: BackendError) -> BackendError:
        return error_from_body(error.body) if isinstance(error.body, dict) else error


def _listed(event: SSEvent) -> SSEvent:
    """The event with its tool call in a list, which TGI before 3.1 leaves out."""
    if b'"tool_calls"' not in event.data:
        return event
    try:
        raw = _decode(event.data)
        deltas = [choice["delta"] for choice in raw["choices"] if isinstance(choice["delta"].get("tool_calls"), dict)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        return event  # for the reader of such events to judge
    for delta in deltas:
        delta["tool_calls"] = [delta["tool_calls"]]
    return SSEvent(msgspec.json.encode(raw), event.event) if deltas else event
