"""Anthropic's format as a server speaks it: the `Ingress` that the gateway answers Anthropic's clients by. Pure.

Source: Anthropic's API reference ("Messages", "Count tokens", "Models", "Errors").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.anthropic.errors import STATUS
from ipfs_accelerate_py.dialects.anthropic.server import decode_body
from ipfs_accelerate_py.dialects.anthropic.writer import (
    MessageWriter,
    stop_reason,
    tool_use_id,
    usage_object,
)
from ipfs_accelerate_py.dialects.openai.answers import image_text
from ipfs_accelerate_py.dialects.serving import (
    Answer,
    ErrorAnswer,
    ServedRequest,
    StreamWriter,
    is_final,
    retry_after_of,
    status_of,
)
from ipfs_accelerate_py.errors import AccelerateError, BackendError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import ModelInfo, Operation, Reply, ToolCall

__all__ = ["AnthropicIngress"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_TYPES = {status: kind for kind, status in STATUS.items()} | {405: "invalid_request_error", 503: "overloaded_error"}


class AnthropicIngress:
    """See `Ingress`."""

    name = "anthropic"
    stream_type = "text/event-stream; charset=utf-8"

    def decode(
        self, operation: Operation, body: bytes, content_type: str, path: Mapping[str, str], *, stream: bool | None
    ) -> ServedRequest:
        return decode_body(operation, body)

    def encode(self, request: ServedRequest, reply: Reply, model: str, created: int) -> Answer:
        if request.operation is Operation.COUNT:
            return Answer(_encode({"input_tokens": reply.usage.input_tokens}))
        identity = reply.id if reply.id.startswith("msg_") else _identity(reply.request_id)
        return Answer(
            _encode(
                {
                    "id": identity,
                    "type": "message",
                    "role": "assistant",
                    "model": reply.model or model,
                    "content": _blocks(reply, identity),
                    "stop_reason": stop_reason(reply.finish_reason),
                    "stop_sequence": None,
                    "usage": usage_object(reply.usage),
                }
            )
        )

    def writer(self, request: ServedRequest, model: str, request_id: str, created: int) -> StreamWriter:
        if request.operation is not Operation.CHAT:
            raise UnsupportedOperation(f"Anthropic's format does not stream {request.operation}")
        return MessageWriter(model, _identity(request_id))

    def error(self, error: AccelerateError, request_id: str = "") -> ErrorAnswer:
        status = status_of(error)
        return ErrorAnswer(
            status,
            _encode(_object(error, status, request_id)),
            retry_after_of(error, status),
            final=is_final(error, status),
            code=error.code,
        )

    def failure(self, status: int, message: str, code: str, request_id: str = "") -> ErrorAnswer:
        fields = {
            "type": "error",
            "error": {"type": _type(status), "message": message},
            "request_id": request_id or None,
        }
        return ErrorAnswer(status, _encode(fields), code=code)

    def error_event(self, error: AccelerateError, operation: Operation, request_id: str = "") -> bytes:
        return b"event: error\ndata: " + _encode(_object(error, status_of(error), request_id)) + b"\n\n"

    def models(self, models: Iterable[ModelInfo]) -> bytes:
        data = [_model(model) for model in models]
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return _encode({"data": data, "has_more": False, "first_id": first, "last_id": last})

    def model(self, model: ModelInfo) -> bytes:
        return _encode(_model(model))


def _identity(request_id: str) -> str:
    """An id in the manner of Anthropic's, for answers of backends that give none."""
    return f"msg_{request_id.removeprefix('req_')}"


def _blocks(reply: Reply, identity: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = list(reply.thinking_blocks)
    if reply.reasoning and not blocks:
        blocks.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
    blocks += [{"type": "text", "text": text} for text in _texts(reply) if text]
    blocks += [
        {"type": "tool_use", "id": tool_use_id(call, identity), "name": call.name, "input": _input(call)}
        for call in reply.tool_calls
    ]
    return blocks


def _texts(reply: Reply) -> tuple[str, ...]:
    return reply.text, reply.refusal, *map(image_text, reply.images)


def _input(call: ToolCall) -> dict[str, Any]:
    try:
        given = _decode(call.arguments) if call.arguments.strip() else {}
    except msgspec.DecodeError:
        given = None
    if not isinstance(given, dict):
        raise ProtocolError(f"the model called {call.name!r} with arguments that are not a JSON object")
    return given


def _object(error: AccelerateError, status: int, request_id: str) -> dict[str, Any]:
    """``request_id`` is that of the answer's header; where there is none, the upstream's."""
    kind, identity = None, request_id or None
    if isinstance(error, BackendError):
        kind, identity = error.type, identity or error.request_id
    if STATUS.get(kind or "") != status:  # another format's word, or an upstream's failure told as ours
        kind = _type(status)
    return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": identity}


def _type(status: int) -> str:
    return _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def _model(model: ModelInfo) -> dict[str, Any]:
    if model.raw.get("type") == "model" and "display_name" in model.raw:
        return {**model.raw, "id": model.id}
    at = datetime.fromtimestamp(model.created, UTC)
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": at.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
