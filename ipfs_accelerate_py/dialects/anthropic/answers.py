"""Answers in Anthropic's format as replies: a message, a count of tokens, the list of models.

Source: Anthropic's API reference ("Messages", "Count tokens", "Models"). Blocks of kinds that are not known here (the
service's own tools and their results, citations) are in ``Reply.raw``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ipfs_accelerate_py.dialects.reading import arguments, content, count, name, part
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import ModelInfo, Reply, ToolCall, Usage

__all__ = ["SIGNED", "finish_reason", "read_count", "read_message", "read_models", "refusal", "usage"]

#: Blocks of reasoning that go back as they are.
SIGNED = ("thinking", "redacted_thinking")

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def finish_reason(reason: Any) -> str | None:
    """A ``stop_reason`` in the words of chat; ``pause_turn`` and what is new keep their own."""
    word = name(reason)
    return _FINISH.get(word, word) or None


def refusal(details: Any) -> str:
    """The explanation of a refusal, where ``stop_details`` has one."""
    return name(details.get("explanation")) if isinstance(details, dict) else ""


def usage(raw: Any) -> Usage:
    """Counts. ``input_tokens`` of the service leaves out what was read from the cache or written to it; ours do not."""
    if not isinstance(raw, Mapping):
        return Usage()
    read, written = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    made = count(raw.get("output_tokens"))
    details = raw.get("output_tokens_details")
    thought = count(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    kept = raw.get("cache_creation")
    tier = name(raw.get("speed")) if raw.get("speed") == "fast" else name(raw.get("service_tier"))
    return Usage(
        count(raw.get("input_tokens")) + read + written,
        made,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=min(thought, made),
        reported=True,
        cache_write_1h_tokens=count(kept.get("ephemeral_1h_input_tokens")) if isinstance(kept, dict) else 0,
        tier="" if tier == "standard" else tier,
    )


def read_message(raw: dict[str, Any]) -> Reply:
    """One message."""
    blocks = raw["content"]
    if not isinstance(blocks, list):
        raise ProtocolError(f"the content of the upstream's message is not a list but a {type(blocks).__name__}")
    text: list[str] = []
    reasoning: list[str] = []
    signed: list[dict[str, Any]] = []
    calls: list[ToolCall] = []
    for block in map(part, blocks):
        kind = block.get("type")
        if kind == "text":
            text.append(content(block["text"]))
        elif kind in SIGNED:
            reasoning.append(content(block.get("thinking")))
            signed.append(block)
        elif kind == "tool_use":
            calls.append(
                ToolCall(name(block.get("id")), name(block.get("name")), arguments(block["input"]), len(calls))
            )
    return Reply(
        id=name(raw.get("id")),
        model=name(raw.get("model")),
        text="".join(text),
        reasoning="".join(reasoning),
        refusal=refusal(raw.get("stop_details")),
        tool_calls=calls,
        thinking_blocks=signed,
        finish_reason=finish_reason(raw.get("stop_reason")),
        usage=usage(raw.get("usage")),
    )


def read_count(raw: dict[str, Any]) -> Reply:
    """A count of tokens."""
    counted = raw["input_tokens"]
    if isinstance(counted, bool) or not isinstance(counted, int):
        raise ProtocolError(f"the upstream's count of tokens is no number but a {type(counted).__name__}")
    return Reply(usage=Usage(count(counted), reported=True))


def read_models(raw: dict[str, Any]) -> Reply:
    """One page of models; ``has_more`` and ``last_id`` in ``Reply.raw`` tell whether and where the next begins."""
    return Reply(
        models=[ModelInfo(str(item["id"]), "anthropic", _created(item.get("created_at")), item) for item in raw["data"]]
    )


def _created(value: Any) -> int:
    try:
        return max(0, int(datetime.fromisoformat(value).timestamp()))
    except (TypeError, ValueError, OverflowError, OSError):
        return 0
