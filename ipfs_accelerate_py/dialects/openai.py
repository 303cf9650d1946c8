"""OpenAI's wire format: chat, completions, responses, embeddings, models.

Source: OpenAI's API specification (openai.openapi.yaml). Groq, vLLM, llama.cpp and many others speak it too, with
liberties: counts missing, content as a list of parts, errors in other shapes. What can be read is read.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.headers import rate_limits
from ipfs_accelerate_py.dialects.openai_errors import error_from_body, error_from_status
from ipfs_accelerate_py.dialects.openai_stream import ChatStreamDecoder, ResponseStreamDecoder
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    CompletionRequest,
    EmbedRequest,
    ModelInfo,
    Operation,
    RateLimits,
    RawRequest,
    Reply,
    ResponseRequest,
    ToolCall,
    Usage,
)

__all__ = ["OpenAIDialect", "response_usage", "usage_from"]

_decode = msgspec.json.Decoder().decode


def _plain(value: Any) -> Any:
    # numpy scalars and arrays and pydantic models arrive in options and inputs; none of them is imported for it.
    for method in ("tolist", "model_dump"):
        convert = getattr(value, method, None)
        if convert is not None:
            return convert()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode

PATHS = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETION: "/completions",
    Operation.RESPONSE: "/responses",
    Operation.EMBED: "/embeddings",
    Operation.MODELS: "/models",
}


class OpenAIDialect:
    """The translation. ``stream_usage`` is off for servers that refuse ``stream_options``."""

    name = "openai"
    operations = frozenset(PATHS) | {Operation.RAW}

    def __init__(self, *, stream_usage: bool = True) -> None:
        self._stream_usage = stream_usage

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request = call.request
        if isinstance(request, RawRequest):
            body = None if request.body is None else _json(request.body)
            return WireRequest(request.method, request.path, body)
        path = PATHS[call.operation]
        if call.passthrough is not None:
            return WireRequest("POST", path, call.passthrough.body)
        if call.operation is Operation.MODELS:
            return WireRequest("GET", path, None)
        return WireRequest("POST", path, _json(self._fields(call)))

    def _fields(self, call: Call) -> dict[str, Any]:
        request = call.request
        fields: dict[str, Any]
        if isinstance(request, ChatRequest):
            fields = {"model": request.model, "messages": request.messages, **request.options}
        elif isinstance(request, CompletionRequest):
            fields = {"model": request.model, "prompt": request.prompt, **request.options}
        elif isinstance(request, ResponseRequest):
            fields = {"model": request.model, "input": request.input, **request.options}
        elif isinstance(request, EmbedRequest):
            return {"model": request.model, "input": request.input, **request.options}
        else:
            raise UnsupportedOperation(f"OpenAI's format has no operation {call.operation}")
        if call.operation is Operation.RESPONSE:
            # Always said: some servers stream this operation unless told not to.
            fields["stream"] = call.stream
        elif call.stream:
            fields["stream"] = True
            if self._stream_usage:
                fields["stream_options"] = {"include_usage": True, **(fields.get("stream_options") or {})}
        return fields

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes) -> Reply:
        try:
            raw = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
        if call.operation is Operation.RAW:
            return Reply(raw=raw, usage=usage_from(raw.get("usage")) if isinstance(raw, dict) else Usage())
        if not isinstance(raw, dict):
            raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
        error = raw.get("error")
        if error and "choices" not in raw and "data" not in raw and "output" not in raw:
            raise error_from_body(raw)
        try:
            reply = _READERS[call.operation](raw)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, struct.error) as problem:
            raise ProtocolError(
                f"the upstream's answer is not OpenAI's {call.operation} format: {type(problem).__name__}: {problem}",
                body=raw,
            ) from None
        reply.raw = raw
        if call.passthrough is not None:
            reply.body = body
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.RESPONSE:
            return ResponseStreamDecoder()
        if call.operation in (Operation.CHAT, Operation.COMPLETION):
            count = call.request.options.get("n") or 1
            return ChatStreamDecoder(count if isinstance(count, int) else 1)
        raise UnsupportedOperation(f"OpenAI's format does not stream {call.operation}")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)


def _json(value: Any) -> bytes:
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as problem:
        raise ConfigurationError(f"the request cannot be written as JSON: {problem}") from None


def _beginning(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))


# --- readers, one per operation ----------------------------------------------------------------------------------


def _chat(raw: dict[str, Any]) -> Reply:
    choice = raw["choices"][0]
    message = choice["message"]
    calls = message.get("tool_calls")
    return Reply(
        id=raw.get("id") or "",
        model=raw.get("model") or "",
        text=_text(message.get("content")),
        reasoning=message.get("reasoning_content") or _text(message.get("reasoning")),
        refusal=message.get("refusal") or "",
        tool_calls=[_tool_call(index, call) for index, call in enumerate(calls)] if calls else [],
        finish_reason=choice.get("finish_reason"),
        usage=usage_from(raw.get("usage")),
    )


def _completion(raw: dict[str, Any]) -> Reply:
    choice = raw["choices"][0]
    return Reply(
        id=raw.get("id") or "",
        model=raw.get("model") or "",
        text=choice["text"],
        finish_reason=choice.get("finish_reason"),
        usage=usage_from(raw.get("usage")),
    )


def _response(raw: dict[str, Any]) -> Reply:
    text: list[str] = []
    reasoning: list[str] = []
    refusal: list[str] = []
    calls: list[ToolCall] = []
    for item in raw["output"]:
        kind = item.get("type")
        if kind == "message":
            for part in item["content"]:
                if part.get("type") == "refusal":
                    refusal.append(part["refusal"])
                else:
                    text.append(part.get("text") or "")
        elif kind == "reasoning":
            reasoning.extend(part.get("text") or "" for part in item.get("summary") or [])
        elif kind == "function_call":
            calls.append(ToolCall(item["call_id"], item["name"], item["arguments"], len(calls)))
    return Reply(
        id=raw.get("id") or "",
        model=raw.get("model") or "",
        text="".join(text),
        reasoning="".join(reasoning),
        refusal="".join(refusal),
        tool_calls=calls,
        finish_reason=response_finish(raw, bool(calls)),
        usage=response_usage(raw.get("usage")),
    )


def _embed(raw: dict[str, Any]) -> Reply:
    items = sorted(raw["data"], key=lambda item: item.get("index", 0))
    return Reply(
        model=raw.get("model") or "",
        vectors=[_vector(item["embedding"]) for item in items],
        usage=usage_from(raw.get("usage")),
    )


def _models(raw: dict[str, Any]) -> Reply:
    return Reply(
        models=[
            ModelInfo(item["id"], str(item.get("owned_by") or ""), int(item.get("created") or 0), item)
            for item in raw["data"]
        ]
    )


_READERS = {
    Operation.CHAT: _chat,
    Operation.COMPLETION: _completion,
    Operation.RESPONSE: _response,
    Operation.EMBED: _embed,
    Operation.MODELS: _models,
}


# --- parts -------------------------------------------------------------------------------------------------------


def _text(content: Any) -> str:
    """Content as text; some servers (Mistral's reasoning models) send a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content if isinstance(part, dict) and part.get("type") == "text")


def _tool_call(index: int, call: dict[str, Any]) -> ToolCall:
    function = call.get("function") or call.get("custom") or {}
    arguments = function.get("arguments", function.get("input", ""))
    if not isinstance(arguments, str):  # some servers send the object itself
        arguments = _encode(arguments).decode()
    return ToolCall(call.get("id") or "", function.get("name") or "", arguments, index, call.get("type") or "function")


def _vector(value: list[float] | str) -> list[float]:
    """A vector as floats, or as base64 of little-endian float32 (what OpenAI's own client asks for)."""
    if isinstance(value, str):
        data = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return value


def usage_from(raw: Any) -> Usage:
    """Counts of chat, completions and embeddings."""
    if not isinstance(raw, dict):
        return Usage()
    usage = Usage(int(raw.get("prompt_tokens") or 0), int(raw.get("completion_tokens") or 0), reported=True)
    details = raw.get("prompt_tokens_details")
    if isinstance(details, dict):
        usage.cached_tokens = int(details.get("cached_tokens") or 0)
        usage.input_audio_tokens = int(details.get("audio_tokens") or 0)
    details = raw.get("completion_tokens_details")
    if isinstance(details, dict):
        usage.reasoning_tokens = int(details.get("reasoning_tokens") or 0)
        usage.output_audio_tokens = int(details.get("audio_tokens") or 0)
    if not raw.get("prompt_tokens") and "input_tokens" in raw:
        return response_usage(raw)
    return usage


def response_usage(raw: Any) -> Usage:
    """Counts of the Responses API."""
    if not isinstance(raw, dict):
        return Usage()
    usage = Usage(int(raw.get("input_tokens") or 0), int(raw.get("output_tokens") or 0), reported=True)
    details = raw.get("input_tokens_details")
    if isinstance(details, dict):
        usage.cached_tokens = int(details.get("cached_tokens") or 0)
    details = raw.get("output_tokens_details")
    if isinstance(details, dict):
        usage.reasoning_tokens = int(details.get("reasoning_tokens") or 0)
    return usage


def response_finish(raw: Mapping[str, Any], called: bool) -> str | None:
    """A Responses answer's end in the words of chat."""
    if raw.get("status") == "incomplete":
        reason = (raw.get("incomplete_details") or {}).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    if raw.get("status") in ("completed", None):
        return "tool_calls" if called else "stop"
    return str(raw.get("status"))
