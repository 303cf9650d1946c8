"""Streaming answers of Ollama: JSON lines, the last of which has ``"done": true`` and the counts.

Source: ollama.openapi.yaml (ChatStreamEvent, GenerateStreamEvent, StatusEvent) and docs/api/streaming.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.ollama.errors import error_in_answer
from ipfs_accelerate_py.dialects.reading import arguments, content, count, name, part
from ipfs_accelerate_py.dialects.streaming import EventStream, Lines
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, Image, ToolCall, Usage

__all__ = ["OllamaStreamDecoder", "RawLinesDecoder", "ToolReader", "finish_reason", "images", "usage"]

_decode = msgspec.json.Decoder().decode


class ToolReader:
    """Reads tool calls, and names those that have no id (older servers send none).

    Ids follow from the conversation and the call's place, so that the same answer always has the same, and two turns
    never do.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._prefix = ""
        self.count = 0

    def read(self, raw: Any) -> list[ToolCall]:
        """The calls of one message or line; they are numbered on from those before."""
        return [self._one(each) for each in raw or ()]

    def _one(self, raw: Any) -> ToolCall:
        call = part(raw)
        function = part(call.get("function"))
        index, self.count = self.count, self.count + 1
        identity = name(call.get("id")) or self._id(index)
        return ToolCall(identity, name(function.get("name")), arguments(function.get("arguments")) or "{}", index)

    def _id(self, index: int) -> str:
        if not self._prefix:
            from hashlib import blake2b  # loads OpenSSL's bindings, which importing this package need not pay for

            request = self._call.request
            said = request.messages if isinstance(request, ChatRequest) else []
            self._prefix = blake2b(msgspec.json.encode(said, enc_hook=repr, order="sorted"), digest_size=6).hexdigest()
        return f"call_{self._prefix}_{index}"


def finish_reason(raw: Mapping[str, Any], called: bool) -> str:
    """Why it ended, in the words of chat: ``stop`` and ``length`` are the same, ``load`` and ``unload`` its own."""
    reason = name(raw.get("done_reason")) or "stop"
    return "tool_calls" if called and reason == "stop" else reason


def images(message: Mapping[str, Any]) -> list[Image]:
    """Images in an answer, base64 without a type."""
    given = message.get("images") or ()
    try:
        return [Image(data=base64.b64decode(each, validate=True)) for each in given]
    except (TypeError, ValueError):
        raise ProtocolError("an image in the upstream's answer is not base64") from None


def usage(raw: Mapping[str, Any]) -> Usage:
    """Counts; what was thought is among ``eval_count`` and not told apart."""
    if "prompt_eval_count" not in raw and "eval_count" not in raw:
        return Usage()
    return Usage(count(raw.get("prompt_eval_count")), count(raw.get("eval_count")), reported=True)


class OllamaStreamDecoder(EventStream):
    """Lines of ``/chat`` and ``/generate``."""

    format = "Ollama's format"
    content_marks = (b'"message"', b'"response"', b'"content"', b'"thinking"', b'"tool_calls"')

    def __init__(self, call: Call) -> None:
        super().__init__(Lines())
        self._tools = ToolReader(call)

    def _read(self, event: SSEvent) -> list[Chunk]:
        if self.finished:
            return []
        data = event.data
        try:
            raw = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raw = None
        if not isinstance(raw, dict):
            self._unreadable(data)
            return []
        if raw.get("error"):
            raise error_in_answer(raw)
        message = part(raw.get("message"))
        self.model = name(raw.get("model")) or self.model
        chunk = Chunk(
            text=content(message.get("content")) or content(raw.get("response")),
            reasoning=content(message.get("thinking")) or content(raw.get("thinking")),
            tool_calls=self._tools.read(message.get("tool_calls")),
            images=images(message),
            model=self.model,
            data=data,
        )
        if chunk.text or chunk.reasoning or chunk.tool_calls or chunk.images:
            self.content_seen = True
        if raw.get("done"):
            self.usage = chunk.usage = usage(raw)
            self.finish_reason = chunk.finish_reason = finish_reason(raw, self._tools.count > 0)
            self.complete = self.finished = True
        return [chunk]


class RawLinesDecoder(EventStream):
    """Lines of anything else (``/pull``, ``/create``, ``/push``): each is a chunk as it is.

    A line that says ``"status": "success"`` or ``"done": true`` is the last. Where the last one said less than that,
    the stream was cut; where lines say nothing of the kind, the body's end is the end.
    """

    format = "JSON lines"
    content_marks = ()

    def __init__(self) -> None:
        super().__init__(Lines())
        self._whole = False

    def _read(self, event: SSEvent) -> list[Chunk]:
        if self.finished:
            return []
        data = event.data
        try:
            raw = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unreadable(data)
            return []
        self.content_seen = True
        if isinstance(raw, dict):
            if raw.get("error"):
                raise error_in_answer(raw)
            self.finished = self.complete = raw.get("done") is True or raw.get("status") == "success"
            self._whole = self.finished or ("done" not in raw and "status" not in raw)
        else:
            self._whole = True
        return [Chunk(data=data)]

    def end(self) -> list[Any]:
        left = [] if self.error is not None else self._chunks(self._framing.rest())
        self.complete = self.complete or self._whole
        return [*left, *super().end()]
