"""Ollama's own wire format: chat, generate, embed, tags.

Source: Ollama's API description (ollama.openapi.yaml) and docs/api. It streams JSON lines, and unless told not to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.headers import rate_limits
from ipfs_accelerate_py.dialects.ollama.errors import error_from_status, error_in_answer
from ipfs_accelerate_py.dialects.ollama.requests import request_fields
from ipfs_accelerate_py.dialects.ollama.stream import (
    OllamaStreamDecoder,
    RawLinesDecoder,
    ToolReader,
    finish_reason,
    images,
    usage,
)
from ipfs_accelerate_py.dialects.raw import as_json, raw_reply, raw_request
from ipfs_accelerate_py.dialects.reading import content, name, part
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    CompletionRequest,
    EmbedRequest,
    ModelInfo,
    Operation,
    RateLimits,
    RawRequest,
    Reply,
)

__all__ = ["OllamaDialect"]

_decode = msgspec.json.Decoder().decode

_PATHS = {
    Operation.CHAT: "/chat",
    Operation.COMPLETION: "/generate",
    Operation.EMBED: "/embed",
    Operation.MODELS: "/tags",
}


class OllamaDialect:
    """The translation. ``model`` is asked where a call names none."""

    name = "ollama"
    operations = frozenset(_PATHS) | {Operation.RAW}

    def __init__(self, *, model: str | None = None) -> None:
        self.model = model

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request = call.request
        if isinstance(request, RawRequest):
            return raw_request(request)
        path = _PATHS.get(call.operation)
        if path is None:
            raise UnsupportedOperation(f"Ollama's format has no operation {call.operation}")
        if call.passthrough is not None:
            # A client's /generate is a chat of one turn for other formats, and stays what it is for this one.
            if isinstance(request, CompletionRequest):
                path = _PATHS[Operation.COMPLETION]
            return WireRequest("POST", path, call.passthrough.body)
        if call.operation is Operation.MODELS:
            return WireRequest("GET", path, None)
        if call.stream and call.operation is Operation.EMBED:
            raise UnsupportedOperation(f"Ollama's format does not stream {call.operation}")
        fields, ignored = request_fields(call, self._model(request.model))
        return WireRequest("POST", path, as_json(fields), ignored=ignored)

    def _model(self, named: str) -> str:
        model = named or self.model
        if not model:
            raise ConfigurationError("no model: name one, or set OLLAMA_MODEL to the one to ask by default")
        return model

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        if call.operation is Operation.RAW:
            return _raw(body, headers)
        raw = _object(body)
        if raw.get("error"):
            raise error_in_answer(raw)
        if call.passthrough is not None:
            return Reply(model=name(raw.get("model")), usage=usage(raw), body=body)
        try:
            reply = _READERS[call.operation](raw, call)
        except BackendError:
            raise
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as problem:
            raise ProtocolError(
                f"the upstream's answer is not Ollama's {call.operation} format: {type(problem).__name__}: {problem}",
                body=raw,
            ) from None
        reply.raw = raw
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.RAW:
            return RawLinesDecoder()
        if call.operation in (Operation.CHAT, Operation.COMPLETION):
            return OllamaStreamDecoder(call)
        raise UnsupportedOperation(f"Ollama's format does not stream {call.operation}")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return rate_limits(headers)  # Ollama sends none; a proxy in front of it may


def _object(body: bytes) -> dict[str, Any]:
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        beginning = repr(body[:80].decode("utf-8", "replace"))
        raise ProtocolError(f"the upstream's answer is not JSON; it begins with {beginning}") from None
    if not isinstance(raw, dict):
        raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
    return raw


def _raw(body: bytes, headers: Mapping[str, str]) -> Reply:
    """Any answer. JSON lines (the server streams unless told not to) are a list; the error among them is raised."""
    kind = headers.get("content-type") or ""
    if "ndjson" in kind:
        decoder = RawLinesDecoder()
        lines = [*decoder.feed(body), *decoder.end()]
        return Reply(raw=[_decode(line.data) for line in lines], body=body, content_type=kind)
    reply = raw_reply(body, headers)
    if isinstance(reply.raw, dict):
        reply.usage = usage(reply.raw)
    return reply


# --- readers, one per operation ----------------------------------------------------------------------------------


def _chat(raw: dict[str, Any], call: Call) -> Reply:
    _check_done(raw)
    message = part(raw["message"])
    calls = ToolReader(call).read(message.get("tool_calls"))
    return Reply(
        model=name(raw.get("model")),
        text=content(message.get("content")),
        reasoning=content(message.get("thinking")),
        tool_calls=calls,
        images=images(message),
        finish_reason=finish_reason(raw, bool(calls)),
        usage=usage(raw),
    )


def _completion(raw: dict[str, Any], call: Call) -> Reply:
    _check_done(raw)
    return Reply(
        model=name(raw.get("model")),
        text=content(raw["response"]),
        reasoning=content(raw.get("thinking")),
        finish_reason=finish_reason(raw, called=False),
        usage=usage(raw),
    )


def _check_done(raw: dict[str, Any]) -> None:
    if raw.get("done") is False:
        raise ProtocolError("the upstream's answer says of itself that it is not the whole")


def _embed(raw: dict[str, Any], call: Call) -> Reply:
    vectors = msgspec.convert(raw["embeddings"], list[list[float]])
    request = call.request
    # Vectors belong to inputs by position: one too few would shift all that follow.
    if isinstance(request, EmbedRequest) and len(vectors) != len(request.input):
        raise ProtocolError(
            f"{len(request.input)} inputs were sent and the upstream answered with {len(vectors)} vectors"
        )
    return Reply(model=name(raw.get("model")), vectors=vectors, usage=usage(raw))


def _models(raw: dict[str, Any], call: Call) -> Reply:
    return Reply(
        models=[
            ModelInfo(str(item.get("model") or item["name"]), "", _seconds(item.get("modified_at")), item)
            for item in raw["models"] or ()
        ]
    )


def _seconds(value: Any) -> int:
    """Seconds since 1970 of an ISO 8601 time; 0 for what is none."""
    from datetime import datetime

    try:
        return max(0, int(datetime.fromisoformat(value).timestamp()))
    except (TypeError, ValueError, OverflowError):
        return 0


_READERS = {
    Operation.CHAT: _chat,
    Operation.COMPLETION: _completion,
    Operation.EMBED: _embed,
    Operation.MODELS: _models,
}
