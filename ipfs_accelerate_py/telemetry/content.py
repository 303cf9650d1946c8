"""What was asked and answered, as the conventions write it down: only for those who asked for it.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ : messages are lists of parts. Attributes are texts, so
they are JSON. Images and recordings are named and left out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    CompletionRequest,
    CountRequest,
    EmbedRequest,
    Reply,
    ResponseRequest,
    ToolCall,
)

__all__ = ["MOST_CONTENT", "Collecting", "answered", "asked"]

#: Characters of one attribute; what is longer is cut, and then it is no JSON any more.
MOST_CONTENT = 65_536


def asked(call: Call) -> dict[str, str]:
    """``gen_ai.input.messages``, and ``gen_ai.system_instructions`` where they stand apart."""
    request = call.request
    given: Any = None
    system: Any = None
    if call.passthrough is not None:
        try:
            body = msgspec.json.decode(call.passthrough.body)
        except msgspec.DecodeError:
            return {}
        if isinstance(body, dict):
            given = next((body[name] for name in ("messages", "input", "prompt") if name in body), None)
            system = body.get("system") or body.get("instructions")
    elif isinstance(request, ChatRequest | CountRequest):
        given = request.messages
    elif isinstance(request, CompletionRequest):
        given = request.prompt
    elif isinstance(request, ResponseRequest):
        given, system = request.input, request.options.get("instructions")
    elif isinstance(request, EmbedRequest):
        given = request.input
    found = {}
    if given is not None:
        messages = given if isinstance(given, list) else [given]
        found["gen_ai.input.messages"] = _json([_message(message) for message in messages])
    if system:
        found["gen_ai.system_instructions"] = _json(_parts(system))
    return found


def answered(reply: Reply) -> dict[str, str]:
    """``gen_ai.output.messages``. Nothing of an answer that is forwarded as it came and was never decoded."""
    parts: list[dict[str, Any]] = []
    if reply.reasoning:
        parts.append({"type": "reasoning", "content": reply.reasoning})
    if reply.text or reply.refusal:
        parts.append({"type": "text", "content": reply.text or reply.refusal})
    parts += [_tool_call(call) for call in reply.tool_calls]
    if not parts:
        return {}
    message = {"role": "assistant", "parts": parts, "finish_reason": reply.finish_reason or ""}
    return {"gen_ai.output.messages": _json([message])}


class Collecting:
    """Listens to a stream (`Stream.tap`), and tells what its chunks add up to."""

    def __init__(self) -> None:
        self._collector = Collector()

    def __call__(self, items: list[Any]) -> None:
        for item in items:
            if isinstance(item, Chunk):  # and not bytes that are forwarded as they came
                self._collector.add(item)

    def answered(self) -> dict[str, str]:
        """`answered`, of what has come so far."""
        return answered(self._collector.reply())


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {"role": "user", "parts": _parts(message)}
    role = str(message.get("role") or message.get("type") or "user")
    if role == "tool":
        part = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message.get("content")}
        return {"role": role, "parts": [part]}
    parts = _parts(message.get("content"))
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            made = ToolCall(str(call.get("id", "")), str(function.get("name", "")), str(function.get("arguments", "")))
            parts.append(_tool_call(made))
    return {"role": role, "parts": parts}


def _parts(content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    found = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            found.append({"type": "text", "content": part})
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            found.append({"type": "text", "content": part["text"]})
        else:
            kind = part.get("type") if isinstance(part, dict) else None
            found.append({"type": str(kind or type(part).__name__)})
    return found


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=lambda other: f"({type(other).__name__})").decode()[:MOST_CONTENT]
    except (TypeError, ValueError, RecursionError):
        return '"(it cannot be written as JSON)"'  # a call never fails because somebody watches it
