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
from ipfs_accelerate_py.dialects.reading import (
    arguments,
    chat_usage,
    content,
    count,
    name,
    response_finish,
    response_usage,
)
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

__all__ = ["OpenAIDialect"]

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
        self.stream_usage = stream_usage

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
            if self.stream_usage:
                fields["stream_options"] = {"include_usage": True, **(fields.get("stream_options") or {})}
        return fields

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes) -> Reply:
        if call.operation is Operation.RAW and not body:
            return Reply()
        if call.passthrough is not None:
            return _passed(call, body)
        try:
            raw = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
        if call.operation is Operation.RAW:
            return Reply(raw=raw, usage=chat_usage(raw.get("usage")) if isinstance(raw, dict) else Usage())
        if not isinstance(raw, dict):
            raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
        error = raw.get("error")
        if error and "choices" not in raw and "data" not in raw and "output" not in raw:
            raise error_from_body(raw)
        try:
            reply = _READERS[call.operation](raw, call)
        except BackendError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, struct.error) as problem:
            raise ProtocolError(
                f"the upstream's answer is not OpenAI's {call.operation} format: {type(problem).__name__}: {problem}",
                body=raw,
            ) from None
        reply.raw = raw
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


# --- passthrough -------------------------------------------------------------------------------------------------


class _Passed(msgspec.Struct):
    """What is read of an answer whose bytes are forwarded; the rest is only checked to be JSON."""

    model: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    choices: msgspec.Raw = msgspec.Raw(b"null")
    output: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")


_decode_passed = msgspec.json.Decoder(_Passed).decode
_MARKS = {
    Operation.CHAT: "choices",
    Operation.COMPLETION: "choices",
    Operation.RESPONSE: "output",
    Operation.EMBED: "data",
}


def _passed(call: Call, body: bytes) -> Reply:
    try:
        passed = _decode_passed(body)
    except msgspec.ValidationError:
        raise ProtocolError(f"the upstream's answer is not a JSON object; it begins with {_beginning(body)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
    mark = getattr(passed, _MARKS[call.operation])
    if bytes(mark) == b"null":
        if bytes(passed.error) != b"null":
            raise error_from_body(_decode(body))
        raise ProtocolError(
            f"the upstream's answer is not OpenAI's {call.operation} format: it has no {_MARKS[call.operation]!r}"
        )
    counts = _decode(passed.usage)
    usage = response_usage(counts) if call.operation is Operation.RESPONSE else chat_usage(counts)
    return Reply(model=name(_decode(passed.model)), usage=usage, body=body)


# --- readers, one per operation ----------------------------------------------------------------------------------


def _chat(raw: dict[str, Any], call: Call) -> Reply:
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
        finish_reason=name(choice.get("finish_reason")) or None,
        usage=chat_usage(raw.get("usage")),
    )


def _completion(raw: dict[str, Any], call: Call) -> Reply:
    choice = raw["choices"][0]
    return Reply(
        id=name(raw.get("id")),
        model=name(raw.get("model")),
        text=content(choice["text"]),
        finish_reason=name(choice.get("finish_reason")) or None,
        usage=chat_usage(raw.get("usage")),
    )


def _response(raw: dict[str, Any], call: Call) -> Reply:
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
        usage=response_usage(raw.get("usage")),
    )


def _embed(raw: dict[str, Any], call: Call) -> Reply:
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


def _models(raw: dict[str, Any], call: Call) -> Reply:
    return Reply(
        models=[
            ModelInfo(str(item["id"]), name(item.get("owned_by")), count(item.get("created")), item)
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


def _tool_call(index: int, call: dict[str, Any]) -> ToolCall:
    function = call.get("function") or call.get("custom") or {}
    given = function.get("arguments", function.get("input"))
    return ToolCall(
        name(call.get("id")), name(function.get("name")), arguments(given), index, name(call.get("type")) or "function"
    )


def _vector(value: Any) -> list[float]:
    """A vector as floats, or as base64 of little-endian float32 (what OpenAI's own client asks for)."""
    if isinstance(value, str):
        data = base64.b64decode(value, validate=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return msgspec.convert(value, list[float])
