"""What is kept of an answer, and how it is given again: data in, data out.

An answer is kept as bytes (msgpack), so what a caller does to the one that he was given changes no other, and a store
knows to the byte what it holds. A whole answer and a stream's are the same thing kept: either is given again as either.
Kept apart are answers that are forwarded as they came, in the caller's format, and those of which a stream shows what a
whole answer does not (several choices, probabilities, the events of the Responses API): see `sharable`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.pipeline.cache.replay import Replay, chunks_of
from ipfs_accelerate_py.results import Image, Label, Moderation, Ranked, Segment, Tensor
from ipfs_accelerate_py.stream import Collector, Stream, unheld
from ipfs_accelerate_py.types import Call, Chunk, Cost, Operation, Reply, ToolCall, Usage

__all__ = ["Recorder", "complete", "pack", "sharable", "unpack"]

#: Counts what is incompatible in how answers are written; others are not read.
VERSION = 1
#: Operations whose answers are kept. Not: what changes something, lists, which change, and tasks of
#: models on this machine, whose typed results the caches' format does not know and nobody pays for.
OPERATIONS = frozenset(
    {
        Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE, Operation.EMBED, Operation.RERANK,
        Operation.CLASSIFY, Operation.COUNT, Operation.TRANSCRIBE, Operation.SPEAK, Operation.IMAGE,
        Operation.MODERATE, Operation.INFER,
    }
)  # fmt: skip
_TEXTS = frozenset({Operation.CHAT, Operation.COMPLETION})
_GOOD = frozenset({"stop", "length", "tool_calls", "function_call"})
#: How the formats whose bodies are forwarded call a good end.
_GOOD_VERBATIM = frozenset(
    {b"stop", b"length", b"tool_calls", b"function_call", b"end_turn", b"max_tokens", b"stop_sequence", b"tool_use",
     b"STOP", b"MAX_TOKENS", b"completed"}
)  # fmt: skip
#: Inside a text quotes have a backslash before them, so this finds fields and nothing that somebody wrote.
_ENDS = re.compile(rb'"(?:finish_reason|stop_reason|finishReason|done_reason|blockReason|status)"\s*:\s*"(\w+)"')
#: Options under which a stream's chunks hold what no whole `Reply` does, or the other way round.
_UNLIKE = ("logprobs", "top_logprobs", "audio", "best_of", "echo")
_encode = msgspec.msgpack.Encoder().encode


class _Kept(msgspec.Struct, array_like=True, omit_defaults=True):
    """An answer at rest. The version comes first; new fields go to the end, with defaults."""

    version: int
    backend: str = ""
    id: str = ""
    model: str = ""
    target_model: str = ""
    usage: Usage = msgspec.field(default_factory=Usage)
    finish_reason: str | None = None
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolCall] = []
    thinking_blocks: list[dict[str, Any]] = []
    images: list[Image] = []
    raw: Any = None
    body: bytes = b""
    content_type: str = "application/json"
    verbatim: bool = False
    items: list[Any] = []
    ignored: list[str] = []
    ranking: list[Ranked] = []
    labels: list[list[Label]] = []
    segments: list[Segment] = []
    moderations: list[Moderation] = []
    tensors: list[Tensor] = []
    vectors: list[list[float]] = []


_decode = msgspec.msgpack.Decoder(_Kept).decode
_decode_chunks = msgspec.msgpack.Decoder(list[Chunk]).decode
_SAME = (
    "backend", "id", "model", "target_model", "finish_reason", "text", "reasoning", "refusal", "tool_calls",
    "thinking_blocks", "images", "raw", "body", "content_type", "verbatim", "ignored", "ranking", "labels", "segments",
    "moderations", "tensors", "vectors",
)  # fmt: skip


def sharable(call: Call) -> bool:
    """Whether a whole answer to this call and a stream's are one and the same thing to keep."""
    if call.passthrough is not None or call.variants is not None or call.operation not in _TEXTS:
        return False
    options = call.request.options
    return options.get("n") in (None, 1) and not any(options.get(name) for name in _UNLIKE)


def complete(call: Call, reply: Reply) -> bool:
    """Whether a whole answer is worth keeping: it ended well, was not filtered or refused, and says something."""
    if reply.verbatim:
        ends = _ENDS.findall(reply.body)
        return bool(reply.body) and all(end in _GOOD_VERBATIM for end in ends)
    if reply.finish_reason is not None and reply.finish_reason not in _GOOD:
        return False
    if call.operation in _TEXTS:
        return bool(reply.text or reply.tool_calls or reply.images) and not reply.refusal
    if call.operation is Operation.RESPONSE and isinstance(reply.raw, dict):
        return bool(reply.raw.get("status", "completed") == "completed")
    # An address of an image ends before any cache does.
    return not any(image.url and not image.data for image in reply.images)


def pack(reply: Reply, usage: Usage | None = None, items: Sequence[Any] = ()) -> bytes | None:
    """An answer as bytes; ``items`` are those of a stream that is kept as it was. None for what cannot be written."""
    kept = _Kept(VERSION, usage=usage or reply.usage, items=list(items))
    for name in _SAME:
        setattr(kept, name, getattr(reply, name))
    try:
        return _encode(kept)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None  # a number beyond 64 bits in a provider's own object, say


def unpack(call: Call, data: bytes) -> Reply | None:
    """The answer to this call, as it wants it; None for what cannot be read (any more)."""
    try:
        kept = _decode(data)
        if kept.version != VERSION:
            return None
        items: list[Any] = kept.items
        if items and not kept.verbatim:
            items = _decode_chunks(_encode(items))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    reply = Reply(usage=kept.usage, attempts=0, cost=Cost(0.0))
    if not call.stream:
        if items:
            return None
        for name in _SAME:
            setattr(reply, name, getattr(kept, name))
        return reply
    if kept.verbatim and not items:
        return None
    for name in ("backend", "id", "model", "target_model", "ignored", "verbatim", "content_type"):
        setattr(reply, name, getattr(kept, name))
    if not items:
        reply.content_type = "text/event-stream"
        items = chunks_of(
            kept.text, kept.reasoning, kept.refusal, kept.thinking_blocks, kept.images, kept.tool_calls,
            kept.finish_reason, kept.usage, kept.model,
        )  # fmt: skip
    source = Replay(items, kept.model, kept.usage, kept.finish_reason)
    reply.stream = Stream(source, source.begin())
    reply.usage = Usage()
    return reply


class Recorder:
    """Hears a stream's items as they pass, and makes of a complete one what is kept; at most ``most`` bytes of it."""

    def __init__(self, call: Call, reply: Reply, most: int) -> None:
        self._call = call
        self._reply = unheld(reply)
        self._left = most
        self._size = 0
        self._as_it_was = reply.verbatim or not sharable(call)
        self._items: list[Any] = []
        self._collector = Collector()

    def __call__(self, items: list[Any]) -> None:
        if self._left <= 0:
            return
        for item in items:
            if isinstance(item, bytes):
                self._left -= len(item)
                if self._items and len(self._items[-1]) + len(item) < 2048:
                    self._items[-1] += item  # pieces of a network's making are not worth keeping apart
                else:
                    self._items.append(item)
                continue
            self._left -= 64 + len(item.text) + len(item.reasoning) + len(item.data)
            for piece in item.tool_calls:
                self._left -= len(piece.arguments)
            for image in item.images:
                self._left -= len(image.data)
            self._add(item)
        if self._left <= 0:
            self._items = []
            self._collector = Collector()

    def _add(self, chunk: Chunk) -> None:
        """As it is now: whoever reads the stream may do with its chunks what he likes."""
        if not self._as_it_was:
            self._collector.add(copy.deepcopy(chunk) if chunk.thinking_blocks or chunk.images else chunk)
            return
        try:
            self._items.append(msgspec.Raw(_encode(chunk)))
        except (TypeError, ValueError, OverflowError, RecursionError):
            self._left = 0

    def packed(self, stream: Stream) -> bytes | None:
        """The whole of a stream that is complete; None where it was too large, or not good."""
        if self._left <= 0 or (stream.finish_reason is not None and stream.finish_reason not in _GOOD):
            return None
        begun = self._reply()
        if self._as_it_was:
            whole = Reply(finish_reason=stream.finish_reason, verbatim=begun.verbatim)
            for name in ("backend", "id", "model", "target_model", "content_type"):
                setattr(whole, name, getattr(begun, name))
            whole.model = stream.model or whole.model
            return pack(whole, stream.usage, self._items) if self._items else None
        whole = self._collector.reply(begun)
        whole.id, whole.target_model = begun.id, begun.target_model
        whole.model = whole.model or stream.model or begun.model
        whole.finish_reason = whole.finish_reason or stream.finish_reason
        return pack(whole, stream.usage) if complete(self._call, whole) else None
