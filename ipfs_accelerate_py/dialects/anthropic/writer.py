"""The serving half of Anthropic's format, streams: chunks of another format as Anthropic's events. Pure.

A message's blocks follow one another: one is ended before the next begins. Calls of tools whose pieces come mixed are
put in order; what has to wait for that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.anthropic.stream import STOP
from ipfs_accelerate_py.dialects.openai.answers import image_text
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import Chunk, ToolCall, Usage

__all__ = ["MessageWriter", "stop_reason", "tool_use_id", "usage_object"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_REASONS = {
    None: "end_turn",
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def stop_reason(finish: str | None) -> str:
    """The end of a chat in Anthropic's words; words that are nobody's but the provider's stay as they are."""
    return _REASONS.get(finish) or finish or "end_turn"


def tool_use_id(call: ToolCall, identity: str) -> str:
    """A call's id, made up of the message's where the provider gave none."""
    return call.id or f"toolu_{identity.removeprefix('msg_')}_{call.index}"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Counts: what was read from the cache or written to it is not part of ``input_tokens`` here."""
    cached = usage.cached_tokens
    made: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - cached - usage.cache_write_tokens),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        made["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return made


class MessageWriter:
    """See `StreamWriter`. Of several choices the first is written: a message has one."""

    def __init__(self, model: str, identity: str) -> None:
        self._model = model
        self._identity = identity
        self._begun = False
        self._index = -1
        self._open: str | None = None  # the kind of the block that is open
        self._call = -1  # whose arguments are being written
        self._arguments: list[str] = []
        self._waiting: dict[int, ToolCall] = {}
        self._written: set[int] = set()
        self._finish: str | None = None
        self._usage = Usage()

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        out: list[bytes] = []
        for chunk in chunks:
            if chunk.usage is not None:
                self._usage = chunk.usage
            if chunk.index != 0:
                continue
            if not self._begun:
                self._begin(out)
            self._write(chunk, out)
            self._finish = chunk.finish_reason or self._finish
        return b"".join(out)

    def end(self) -> bytes:
        out: list[bytes] = []
        if not self._begun:
            self._begin(out)
        self._close(out)
        for call in [self._waiting[index] for index in sorted(self._waiting)]:
            self._start_call(call, out)
            self._close(out)
        delta = {"stop_reason": stop_reason(self._finish), "stop_sequence": None}
        self._event(out, "message_delta", delta=delta, usage=usage_object(self._usage))
        out.append(STOP)
        return b"".join(out)

    # --- blocks --------------------------------------------------------------------------------------------------

    def _write(self, chunk: Chunk, out: list[bytes]) -> None:
        if chunk.reasoning:
            self._in("thinking", {"thinking": "", "signature": ""}, out)
            self._delta("thinking_delta", out, thinking=chunk.reasoning)
        for block in chunk.thinking_blocks:
            self._signed(block, out)
        for text in (chunk.text, chunk.refusal, *map(image_text, chunk.images)):
            if text:
                self._in("text", {"text": ""}, out)
                self._delta("text_delta", out, text=text)
        for call in chunk.tool_calls:
            self._piece(call, out)

    def _signed(self, block: dict[str, Any], out: list[bytes]) -> None:
        """A block of reasoning that is whole now; its text has mostly been written already."""
        if block.get("type") != "thinking":
            self._close(out)
            self._start(block, out)
            self._close(out)
            return
        if self._open != "thinking":
            self._in("thinking", {"thinking": "", "signature": ""}, out)
            if block.get("thinking"):
                self._delta("thinking_delta", out, thinking=block["thinking"])
        self._delta("signature_delta", out, signature=block.get("signature") or "")
        self._close(out)

    def _piece(self, call: ToolCall, out: list[bytes]) -> None:
        if self._open == "tool_use" and self._call == call.index:
            if call.arguments:
                self._arguments.append(call.arguments)
                self._delta("input_json_delta", out, partial_json=call.arguments)
            return
        waiting = self._waiting.get(call.index)
        if waiting is not None:
            waiting.arguments += call.arguments
            return
        if call.index in self._written:
            if call.arguments.strip():
                raise ProtocolError("the upstream went on with a call of a tool that was whole already")
            return
        if self._open == "tool_use" and not self._whole():
            self._waiting[call.index] = ToolCall(call.id, call.name, call.arguments, call.index)
            return
        self._start_call(call, out)

    def _whole(self) -> bool:
        """Whether the call being written has all its arguments: only then may another begin."""
        try:
            return isinstance(_decode("".join(self._arguments)), dict)
        except msgspec.DecodeError:
            return False

    def _start_call(self, call: ToolCall, out: list[bytes]) -> None:
        self._close(out)
        self._call = call.index
        self._written.add(call.index)
        self._arguments = [call.arguments]
        identity = tool_use_id(call, self._identity)
        self._start({"type": "tool_use", "id": identity, "name": call.name, "input": {}}, out)
        if call.arguments:
            self._delta("input_json_delta", out, partial_json=call.arguments)

    # --- events --------------------------------------------------------------------------------------------------

    def _begin(self, out: list[bytes]) -> None:
        self._begun = True
        message: dict[str, Any] = {
            "id": self._identity,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_object(self._usage),  # the input is counted at the end, by most
        }
        self._event(out, "message_start", message=message)

    def _in(self, kind: str, empty: dict[str, Any], out: list[bytes]) -> None:
        if self._open != kind:
            self._close(out)
            self._start({"type": kind, **empty}, out)

    def _start(self, block: dict[str, Any], out: list[bytes]) -> None:
        self._index += 1
        self._open = block["type"]
        self._event(out, "content_block_start", index=self._index, content_block=block)

    def _delta(self, kind: str, out: list[bytes], **fields: Any) -> None:
        self._event(out, "content_block_delta", index=self._index, delta={"type": kind, **fields})

    def _close(self, out: list[bytes]) -> None:
        if self._open is not None:
            self._open = None
            self._event(out, "content_block_stop", index=self._index)

    def _event(self, out: list[bytes], kind: str, **fields: Any) -> None:
        out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields})))
