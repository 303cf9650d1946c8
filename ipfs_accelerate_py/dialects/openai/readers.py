"""Answers of OpenAI's text operations: chat, completions, responses, embeddings, models."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.dialects.reading import (
    arguments,
    chat_usage,
    content,
    count,
    ended,
    name,
    part,
    response_finish,
    response_usage,
)
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import Call, EmbedRequest, ModelInfo, Reply, ToolCall

__all__ = ["read_chat", "read_completion", "read_embeddings", "read_models", "read_response", "signature"]


def read_chat(raw: dict[str, Any], call: Call) -> Reply:
    choice = raw["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls")
    return Reply(
        id=name(raw.get("id")),
        model=name(raw.get("model")),
        text=content(message.get("content")),
        reasoning=content(message.get("reasoning_content")) or content(message.get("reasoning")),
        refusal=content(message.get("refusal")),
        tool_calls=[_tool_call(index, call) for index, call in enumerate(calls)] if calls else [],
        finish_reason=ended(name(choice.get("finish_reason")) or None, bool(calls)),
        usage=chat_usage(raw.get("usage"), raw.get("service_tier")),
        thinking_blocks=[part(block) for block in message.get("thinking_blocks") or ()],
    )


def read_completion(raw: dict[str, Any], call: Call) -> Reply:
    choice = raw["choices"][0]
    return Reply(
        id=name(raw.get("id")),
        model=name(raw.get("model")),
        text=content(choice["text"]),
        finish_reason=name(choice.get("finish_reason")) or None,
        usage=chat_usage(raw.get("usage")),
    )


def read_response(raw: dict[str, Any], call: Call) -> Reply:
    if raw.get("status") == "failed" or (raw.get("error") and not raw["output"]):
        raise error_from_body(raw)
    text: list[str] = []
    reasoning: list[str] = []
    refusal: list[str] = []
    calls: list[ToolCall] = []
    for item in raw["output"]:
        kind = item.get("type")
        if kind == "message":
            for piece in item["content"]:
                if piece.get("type") == "refusal":
                    refusal.append(content(piece["refusal"]))
                else:
                    text.append(content(piece.get("text")))
        elif kind == "reasoning":
            reasoning.extend(content(piece.get("text")) for piece in item.get("summary") or [])
        elif kind == "function_call":
            calls.append(ToolCall(name(item["call_id"]), name(item["name"]), arguments(item["arguments"]), len(calls)))
    return Reply(
        id=name(raw.get("id")),
        model=name(raw.get("model")),
        text="".join(text),
        reasoning="".join(reasoning),
        refusal="".join(refusal),
        tool_calls=calls,
        finish_reason=response_finish(raw, bool(calls)),
        usage=response_usage(raw.get("usage"), raw.get("service_tier")),
    )


def read_embeddings(raw: dict[str, Any], call: Call) -> Reply:
    items = raw["data"]
    request = call.request
    if isinstance(request, EmbedRequest):
        # Vectors belong to inputs by position: one too few would shift all that follow.
        indices = [item.get("index", position) for position, item in enumerate(items)]
        if sorted(indices) != list(range(len(request.input))):
            raise ProtocolError(
                f"{len(request.input)} inputs were sent and the upstream answered with vectors for {indices[:20]}"
            )
        items = (
            [items[indices.index(position)] for position in range(len(items))] if indices != sorted(indices) else items
        )
    return Reply(
        model=name(raw.get("model")),
        vectors=[_vector(item["embedding"]) for item in items],
        usage=chat_usage(raw.get("usage")),
    )


def read_models(raw: dict[str, Any], call: Call) -> Reply:
    return Reply(
        models=[
            ModelInfo(str(item["id"]), name(item.get("owned_by")), count(item.get("created")), item)
            for item in raw["data"]
        ]
    )


# --- parts -------------------------------------------------------------------------------------------------------


def _tool_call(index: int, call: dict[str, Any]) -> ToolCall:
    function = call.get("function") or call.get("custom") or {}
    given = function.get("arguments", function.get("input"))
    return ToolCall(
        name(call.get("id")),
        name(function.get("name")),
        arguments(given),
        index,
        name(call.get("type")) or "function",
        signature(call.get("extra_content")),
    )


def signature(extra: Any) -> str:
    """What Gemini wants back with a tool call, where a server of OpenAI's format sends it along."""
    google = extra.get("google") if isinstance(extra, dict) else None
    return name(google.get("thought_signature")) if isinstance(google, dict) else ""


def _vector(value: Any) -> list[float]:
    """A vector as floats, or as base64 of little-endian float32 (what OpenAI's own client asks for)."""
    if isinstance(value, str):
        data = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return msgspec.convert(value, list[float])
