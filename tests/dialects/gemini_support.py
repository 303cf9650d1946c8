"""Google's format by hand: calls, answers, streams; and Google's own protobuf to judge bodies by."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.gemini.dialect import GeminiDialect
from ipfs_accelerate_py.types import Call, ChatRequest, CountRequest, EmbedRequest, Operation, Reply, Request

DIALECT = GeminiDialect()
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
OTHER = {"type": "function", "function": {"name": "get_time"}}


def call(operation: Operation, request: Request, *, stream: bool = False) -> Call:
    return Call(operation=operation, request=request, request_id="r", stream=stream)


def chat(messages: Any = "Hello", *, model: str = "gemini-2.5-flash", stream: bool = False, **options: Any) -> Call:
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    return call(Operation.CHAT, ChatRequest(model, messages, options), stream=stream)


def embed(*inputs: Any, model: str = "gemini-embedding-001", **options: Any) -> Call:
    return call(Operation.EMBED, EmbedRequest(model, list(inputs), options))


def count(messages: Any, **options: Any) -> Call:
    return call(Operation.COUNT, CountRequest("gemini-2.5-flash", messages, options))


def sent(made: Call) -> dict[str, Any]:
    body = DIALECT.encode(made).body
    assert body is not None
    fields: dict[str, Any] = json.loads(body)
    return fields


def judged(fields: dict[str, Any], message: str = "GenerateContentRequest") -> Any:
    """The body as Google's protobuf, which refuses every name and type that it does not have."""
    library = pytest.importorskip("google.ai.generativelanguage_v1beta")
    json_format: Any = pytest.importorskip("google.protobuf.json_format")
    made = getattr(library, message).pb()()
    json_format.ParseDict(fields, made, ignore_unknown_fields=False)
    return made


def answer(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "x", **more}


def read(made: Call, raw: Any, **headers: str) -> Reply:
    body = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return DIALECT.decode(made, body, headers)


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)
