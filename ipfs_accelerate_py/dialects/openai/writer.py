"""The serving half of OpenAI's format, streams: chunks of another format as OpenAI's events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.answers import image_part, signed, usage_object
from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.types import Chunk, Operation, ToolCall, Usage

__all__ = ["DONE", "StreamEncoder"]

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class StreamEncoder:
    """Chunks of another format as the events of OpenAI's chat or completion stream."""

    def __init__(self, operation: Operation, model: str, identity: str, created: int, *, usage_wanted: bool) -> None:
        if operation not in (Operation.CHAT, Operation.COMPLETION):
            raise UnsupportedOperation(f"the model {model!r} is served by a backend that does not stream {operation}")
        self._chat = operation is Operation.CHAT
        self._head = {
            "id": identity,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": created,
            "model": model,
        }
        self._usage_wanted = usage_wanted
        #: Whether events name the model that chunks name: an alias may be answered by one after another.
        self.follows = False
        self._usage = Usage()
        self._begun: set[int] = set()
        self._counts: dict[tuple[int, str], int] = {}

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        """The events of these chunks, joined; maybe none."""
        return b"".join([event for chunk in chunks if (event := self._event(chunk))])

    def end(self) -> bytes:
        """The counts, where they were asked for, and the terminator."""
        counts = (
            _frame({**self._head, "choices": [], "usage": usage_object(self._usage)}) if self._usage_wanted else b""
        )
        return counts + DONE

    def _event(self, chunk: Chunk) -> bytes:
        if chunk.usage is not None:
            self._usage = chunk.usage
        if self.follows and chunk.model:
            self._head["model"] = chunk.model
        choice: dict[str, Any]
        if self._chat:
            delta = self._delta(chunk)
            if not delta and chunk.finish_reason is None:
                return b""
            choice = {"index": chunk.index, "delta": delta, "logprobs": None, "finish_reason": chunk.finish_reason}
        elif chunk.text or chunk.finish_reason is not None:
            choice = {"index": chunk.index, "text": chunk.text, "logprobs": None, "finish_reason": chunk.finish_reason}
        else:
            return b""
        return _frame({**self._head, "choices": [choice]})

    def _delta(self, chunk: Chunk) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if chunk.index not in self._begun:
            self._begun.add(chunk.index)
            delta["role"] = "assistant"
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.thinking_blocks:
            delta["thinking_blocks"] = self._numbered(chunk, "thinking_blocks", chunk.thinking_blocks)
        if chunk.refusal:
            delta["refusal"] = chunk.refusal
        if chunk.images:
            delta["images"] = self._numbered(chunk, "images", map(image_part, chunk.images))
        if chunk.tool_calls:
            delta["tool_calls"] = [_piece(call) for call in chunk.tool_calls]
        return delta

    def _numbered(self, chunk: Chunk, name: str, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Members of a list that comes in pieces: OpenAI's own client tells them apart by their ``index``."""
        first = self._counts.get((chunk.index, name), 0)
        made = [{"index": index, **item} for index, item in enumerate(items, first)]
        self._counts[chunk.index, name] = first + len(made)
        return made


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: " + _encode(event) + b"\n\n"


def _piece(call: ToolCall) -> dict[str, Any]:
    """A piece of a tool call; id, type and name are in its first piece only."""
    function: dict[str, Any] = {"arguments": call.arguments}
    if call.name:
        function["name"] = call.name
    piece: dict[str, Any] = {"index": call.index, "function": function}
    if call.id:
        piece |= {"id": call.id, "type": call.type}
    if call.signature:
        piece["extra_content"] = signed(call.signature)
    return piece
