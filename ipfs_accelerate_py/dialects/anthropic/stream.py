"""Streaming answers in Anthropic's format: named events, a block at a time.

Source: Anthropic's API reference ("Streaming messages"). ``message_start`` begins a message and has the input's counts;
each block has a start, deltas and a stop; ``message_delta`` has the reason of the end and the final counts, and
``message_stop`` ends it. Between them may be ``ping``, ``error``, and events and deltas that are not known yet.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.anthropic.answers import finish_reason, refusal, usage
from ipfs_accelerate_py.dialects.anthropic.errors import error_from_body
from ipfs_accelerate_py.dialects.reading import content, count, name, part
from ipfs_accelerate_py.dialects.streaming import EventStream
from ipfs_accelerate_py.framing import SSEvent
from ipfs_accelerate_py.types import Chunk, ToolCall

__all__ = ["STOP", "MessageStreamDecoder"]

STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_decode = msgspec.json.Decoder().decode


class _Block:
    """A block that has begun. ``call`` is the number of a tool's call; ``begun`` is set with its first argument."""

    __slots__ = ("begun", "call", "input", "raw", "signature", "thinking")

    def __init__(self, raw: dict[str, Any], call: int) -> None:
        self.raw = raw
        self.call = call
        self.input = raw.get("input")
        self.begun = False
        self.thinking: list[str] = []
        self.signature: list[str] = []


class MessageStreamDecoder(EventStream):
    """One message."""

    format = "Anthropic's format"
    content_marks = (b'"delta"', b'"content_block', b'"text"', b'"partial_json"')

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._calls = 0
        self._blocks: dict[int, _Block] = {}
        self._counts: dict[str, Any] = {}

    def _terminator(self) -> bytes:
        return STOP

    def _read(self, event: SSEvent) -> list[Chunk]:
        data = event.data
        try:
            raw = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._unreadable(data)
            return []
        if not isinstance(raw, dict):
            self._unreadable(data)
            return []
        kind = name(raw.get("type")) or event.event
        if kind == "ping":
            return []
        if kind == "error" or (raw.get("error") and kind not in _HANDLERS):
            raise error_from_body(raw)
        chunk = Chunk(event=kind, model=self.model, data=data)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, raw, chunk)
        if chunk.text or chunk.reasoning or chunk.refusal or chunk.tool_calls or chunk.thinking_blocks:
            self.content_seen = True
        return [chunk]

    def _message_start(self, raw: dict[str, Any], chunk: Chunk) -> None:
        message = part(raw.get("message"))
        self._begun = True
        self.model = chunk.model = name(message.get("model")) or self.model
        self._count(message.get("usage"))

    def _block_start(self, raw: dict[str, Any], chunk: Chunk) -> None:
        self._begun = True
        given = part(raw.get("content_block"))
        kind = given.get("type")
        block = self._blocks[count(raw.get("index"))] = _Block(given, self._calls)
        if kind == "text":
            chunk.text = content(given.get("text"))
        elif kind == "thinking":
            self._think(block, given.get("thinking"), chunk)
            block.signature.append(content(given.get("signature")))
        elif kind == "tool_use":
            self._calls += 1
            chunk.tool_calls = [ToolCall(name(given.get("id")), name(given.get("name")), "", block.call)]

    def _block_delta(self, raw: dict[str, Any], chunk: Chunk) -> None:
        block = self._blocks.get(count(raw.get("index")))
        delta = part(raw.get("delta"))
        kind = delta.get("type")
        if kind == "text_delta":
            chunk.text = content(delta.get("text"))
        elif kind == "thinking_delta":
            self._think(block, delta.get("thinking"), chunk)
        elif kind == "signature_delta":
            if block is not None:
                block.signature.append(content(delta.get("signature")))
        elif kind == "input_json_delta" and block is not None and block.raw.get("type") == "tool_use":
            piece = content(delta.get("partial_json"))
            if piece:
                block.begun = True
                chunk.tool_calls = [ToolCall(arguments=piece, index=block.call)]

    def _think(self, block: _Block | None, given: Any, chunk: Chunk) -> None:
        chunk.reasoning = content(given)
        if block is not None:
            block.thinking.append(chunk.reasoning)

    def _block_stop(self, raw: dict[str, Any], chunk: Chunk) -> None:
        block = self._blocks.pop(count(raw.get("index")), None)
        kind = None if block is None else block.raw.get("type")
        if block is None:
            return
        if kind == "thinking":
            whole = {"thinking": "".join(block.thinking), "signature": "".join(block.signature)}
            chunk.thinking_blocks = [{**block.raw, **whole}]
        elif kind == "redacted_thinking":
            chunk.thinking_blocks = [block.raw]
        elif kind == "tool_use" and not block.begun:
            # All of its input came with its start, mostly because there is none.
            given = block.input if isinstance(block.input, dict) else {}
            chunk.tool_calls = [ToolCall(arguments=msgspec.json.encode(given).decode(), index=block.call)]

    def _message_delta(self, raw: dict[str, Any], chunk: Chunk) -> None:
        delta = part(raw.get("delta"))
        reason = finish_reason(delta.get("stop_reason"))
        self._count(raw.get("usage"))
        chunk.usage = self.usage
        if reason is not None:
            self.finish_reason = chunk.finish_reason = reason
            chunk.refusal = refusal(delta.get("stop_details"))
            self.complete = True

    def _message_stop(self, raw: dict[str, Any], chunk: Chunk) -> None:
        # Some servers send no reason for the end; but alone this is no answer.
        self.complete = self.finished = self._begun

    def _count(self, given: Any) -> None:
        """Counts are totals so far: a later one takes an earlier one's place, and what it leaves out still holds."""
        if isinstance(given, dict):
            self._counts |= {key: value for key, value in given.items() if value is not None}
            self.usage = usage(self._counts)


_HANDLERS = {
    "message_start": MessageStreamDecoder._message_start,
    "content_block_start": MessageStreamDecoder._block_start,
    "content_block_delta": MessageStreamDecoder._block_delta,
    "content_block_stop": MessageStreamDecoder._block_stop,
    "message_delta": MessageStreamDecoder._message_delta,
    "message_stop": MessageStreamDecoder._message_stop,
}
