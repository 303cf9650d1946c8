"""Text Generation Inference (TGI), on a server of one's own or hosted behind Hugging Face's router.

Completions go to TGI's own ``/generate`` (hosted: to the model's folder), chat to its OpenAI-compatible endpoint,
counts to ``/chat_tokenize``. Sources: TGI's API description (tgi.openapi.json, 3.3) and what its own errors say of each
parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import structs

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.dialects.raw import as_json
from ipfs_accelerate_py.dialects.reading import content, count, ended, part
from ipfs_accelerate_py.dialects.tgi.errors import error_from_body, error_from_status
from ipfs_accelerate_py.dialects.tgi.hosted import check_model, model_path
from ipfs_accelerate_py.dialects.tgi.requests import chat_fields, generate_fields
from ipfs_accelerate_py.dialects.tgi.stream import TgiChatStreamDecoder, TgiStreamDecoder, finish
from ipfs_accelerate_py.errors import BackendError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    CompletionRequest,
    CountRequest,
    ModelInfo,
    Operation,
    RateLimits,
    Reply,
    Usage,
)

__all__ = ["TgiDialect", "decoded"]

_decode = msgspec.json.Decoder().decode


class TgiDialect:
    """The translation.

    Args:
        hosted: the router is asked, and not a server of one's own.
        model: what is asked for where a call names no model. A server of one's own needs none.
    """

    name = "tgi"
    operations = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.COUNT, Operation.MODELS, Operation.RAW})

    def __init__(self, *, hosted: bool = False, model: str = "") -> None:
        self.hosted = hosted
        self._model = model
        self._openai = OpenAIDialect(
            operations={Operation.CHAT, Operation.MODELS, Operation.RAW},
            service="Hugging Face's router",
            extended=False,
        )

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        if call.operation is Operation.RAW:
            return self._openai.encode(call)
        if call.operation is Operation.MODELS:
            return WireRequest("GET", "/v1/models", None)
        encode = self._encode_hosted if self.hosted else self._encode_own
        return encode(call, call.model or self._model)

    def _encode_own(self, call: Call, model: str) -> WireRequest:
        request = call.request
        if isinstance(request, ChatRequest):
            path = "/v1/chat/completions"
        elif isinstance(request, CompletionRequest):
            path = "/generate_stream" if call.stream else "/generate"
        elif isinstance(request, CountRequest):
            path = "/chat_tokenize"
        else:
            raise UnsupportedOperation(f"TGI has no operation {call.operation}; it generates text")
        if call.passthrough is not None:
            return WireRequest("POST", path, call.passthrough.body)
        if isinstance(request, CompletionRequest):
            fields, ignored = generate_fields(request, stream=call.stream)
        else:
            fields, ignored = chat_fields(model, request.messages, request.options, stream=call.stream)
        return WireRequest("POST", path, as_json(fields), ignored=ignored)

    def _encode_hosted(self, call: Call, model: str) -> WireRequest:
        request = call.request
        if isinstance(request, ChatRequest):  # whichever provider serves it, it is OpenAI's format
            check_model(model)
            named = structs.replace(call, request=structs.replace(request, model=model))
            wire = self._openai.encode(named)
            return WireRequest(wire.method, "/v1" + wire.path, wire.body, wire.headers, wire.ignored)
        if not isinstance(request, CompletionRequest):
            raise UnsupportedOperation(
                f"Hugging Face's router has no operation {call.operation} for text generation"
                + ("; a TGI server of your own counts tokens" if call.operation is Operation.COUNT else "")
            )
        path = model_path(model)
        if call.passthrough is not None:
            return WireRequest("POST", path, call.passthrough.body)
        fields, ignored = generate_fields(request, stream=call.stream)
        fields["stream"] = call.stream
        if fields["parameters"]["details"] is False:  # models that are not served by TGI know no such parameter
            del fields["parameters"]["details"]
        return WireRequest("POST", path, as_json(fields), ignored=ignored)

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        operation = call.operation
        if operation is Operation.RAW:
            return self._openai.decode(call, body, headers)
        if operation is Operation.CHAT:
            return self._chat(call, body, headers)
        if call.passthrough is not None:
            return Reply(body=body, usage=_header_usage(headers, {}))
        raw = decoded(body)
        try:
            if operation is Operation.COMPLETION:
                reply = _completion(raw, headers)
                reply.model = call.model
            elif operation is Operation.COUNT:
                reply = Reply(model=call.model, usage=Usage(len(raw["tokenize_response"]), reported=True))
            else:
                reply = _models(raw)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as problem:
            raise ProtocolError(
                f"the upstream's answer is not TGI's {operation} format: {type(problem).__name__}: {problem}", body=raw
            ) from None
        reply.raw = raw
        return reply

    def _chat(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            reply = self._openai.decode(call, body, headers)
        except BackendError as error:
            if isinstance(error.body, dict) and error.body.get("error"):
                raise error_from_body(error.body) from None
            raise
        reply.finish_reason = ended(finish(reply.finish_reason), bool(reply.tool_calls))
        if not reply.usage.input_tokens and (given := _number(headers.get("x-prompt-tokens"))):
            reply.usage.input_tokens = given  # TGI counts the prompt in its answer only where it was asked to show it
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.CHAT:
            number = call.request.options.get("n") or 1
            return TgiChatStreamDecoder(number if isinstance(number, int) else 1)
        if call.operation is Operation.COMPLETION:
            return TgiStreamDecoder(call.model)
        return self._openai.stream_decoder(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return self._openai.rate_limits(headers)


def decoded(body: bytes) -> Any:
    """The JSON of an answer; raises the error that is in it, and `ProtocolError` for what is none."""
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        beginning = body[:80].decode("utf-8", "replace")
        raise ProtocolError(f"the upstream's answer is not JSON; it begins with {beginning!r}") from None
    if isinstance(raw, dict) and raw.get("error") is not None:
        raise error_from_body(raw)
    return raw


def _completion(raw: Any, headers: Mapping[str, str]) -> Reply:
    # `/` and the router answer as the older Inference API did: a list with one answer.
    answer = raw[0] if isinstance(raw, list) else raw
    details = part(answer.get("details"))
    return Reply(
        text=content(answer["generated_text"]),
        finish_reason=finish(details.get("finish_reason")),
        usage=_header_usage(headers, details),
    )


def _header_usage(headers: Mapping[str, str], details: dict[str, Any]) -> Usage:
    """Counts as the headers have them (the prompt's is nowhere else), or else as the details have."""
    given, made = _number(headers.get("x-prompt-tokens")), _number(headers.get("x-generated-tokens"))
    if given is None and details.get("prefill"):
        given = len(details["prefill"])
    if made is None and details:
        made = count(details.get("generated_tokens"))
    if given is None and made is None:
        return Usage()
    return Usage(given or 0, made or 0, reported=True)


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdecimal() and len(value) < 12 else None


def _models(raw: Any) -> Reply:
    # The description says that one model is answered, and the server answers with OpenAI's list.
    found = raw.get("data", [raw])
    return Reply(
        models=[
            ModelInfo(str(each["id"]), content(each.get("owned_by")), count(each.get("created")), each)
            for each in found
        ]
    )
