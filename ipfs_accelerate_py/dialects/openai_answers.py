"""The serving half of OpenAI's format, answers: replies, chunks and errors as OpenAI's clients read them. Pure.

Source: OpenAI's API specification (openai.openapi.yaml). Where a client must be able to tell "nothing" from "the text
None", what is not there is null.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import (
    AccelerateError,
    BackendError,
    ConfigurationError,
    RateLimited,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import Chunk, ModelInfo, Operation, Reply, ToolCall, Usage

__all__ = [
    "DONE",
    "ErrorAnswer",
    "StreamEncoder",
    "encode_embeddings",
    "encode_model",
    "encode_models",
    "encode_reply",
    "error_answer",
    "error_body",
    "error_event",
    "retry_after_headers",
]

#: Nobody is told to come back later than in a day (in seconds).
_LONGEST_WAIT = 86_400.0

DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


# --- errors ------------------------------------------------------------------------------------------------------


class ErrorAnswer(msgspec.Struct):
    """An error as it is answered.

    ``retry_after`` is in seconds. ``final`` says that asking again cannot help although the status sounds like it
    might: it is for whoever runs this to mend.
    """

    status: int
    error: dict[str, Any]
    retry_after: float | None = None
    final: bool = False

    @property
    def body(self) -> bytes:
        return _encode({"error": self.error})


def error_answer(error: AccelerateError) -> ErrorAnswer:
    """Status and error object for an error of the tree.

    A status of 4xx that the upstream gave is passed on; its 5xx becomes 502, for it is not this server that failed. A
    missing key or package is 5xx too: the client's request was right. Refusals that time will mend say when.
    """
    status = _status(error)
    kind = param = None
    if isinstance(error, BackendError):
        kind, param = error.type, error.param
    elif isinstance(error, UnsupportedOperation):
        param = "model"
    retry_after = error.retry_after
    if retry_after is None and status == 429 and isinstance(error, RateLimited):
        retry_after = 1.0
    return ErrorAnswer(
        status,
        {"message": error.message, "type": kind or _type(status), "param": param, "code": error.code},
        retry_after,
        final=status == 500 or status == 501,
    )


def error_body(status: int, message: str, code: str | None, param: str | None = None) -> bytes:
    """An error object of our own."""
    return _encode({"error": {"message": message, "type": _type(status), "param": param, "code": code}})


def error_event(error: AccelerateError, operation: Operation) -> bytes:
    """An error in band, after which the stream ends without its terminator."""
    fields = error_answer(error).error
    if operation is not Operation.RESPONSE:
        return b"data: " + _encode({"error": fields}) + b"\n\n"
    # The Responses API has an event of its own; `error` is in it as well, for that is what OpenAI's client looks for.
    event = {"type": "error", **{name: fields[name] for name in ("code", "message", "param")}, "error": fields}
    return b"event: error\ndata: " + _encode(event) + b"\n\n"


def retry_after_headers(seconds: float) -> list[tuple[bytes, bytes]]:
    """``Retry-After`` in whole seconds, as HTTP has it, and in milliseconds, which clients read first."""
    seconds = min(seconds, _LONGEST_WAIT)
    return [
        (b"retry-after", b"%d" % max(1, math.ceil(seconds))),
        (b"retry-after-ms", b"%d" % max(1, math.ceil(seconds * 1000))),
    ]


def _status(error: AccelerateError) -> int:
    if isinstance(error, BackendError):
        if error.status is not None and 400 <= error.status < 500:
            return error.status
        return error.http_status
    if isinstance(error, ConfigurationError) and error.http_status != 501:
        return 400 if isinstance(error, UnsupportedOperation) else 500
    return error.http_status


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


# --- whole answers -----------------------------------------------------------------------------------------------


def encode_reply(operation: Operation, reply: Reply, model: str, identity: str, created: int) -> bytes:
    """A reply of another format as a chat completion or a completion.

    ``model`` is the name to show where the backend gave none; ``created`` is seconds since 1970.
    """
    choice: dict[str, Any]
    if operation is Operation.CHAT:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.text if reply.text or not reply.tool_calls else None,
            "refusal": reply.refusal or None,
        }
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.tool_calls:
            message["tool_calls"] = [_tool_call(call) for call in reply.tool_calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason or "stop"}
    elif operation is Operation.COMPLETION:
        choice = {"index": 0, "text": reply.text, "logprobs": None, "finish_reason": reply.finish_reason or "stop"}
    else:
        raise UnsupportedOperation(f"the model {model!r} is served by a backend that has no operation {operation}")
    return _encode(
        {
            "id": reply.id or identity,
            "object": "chat.completion" if operation is Operation.CHAT else "text_completion",
            "created": created,
            "model": reply.model or model,
            "choices": [choice],
            "usage": _usage(reply.usage),
        }
    )


def encode_embeddings(reply: Reply, model: str, as_base64: bool) -> bytes:
    """Vectors as lists of numbers, or as base64 of little-endian float32 (what OpenAI's own client asks for)."""
    vectors: Iterable[Any] = map(_base64, reply.vectors) if as_base64 else reply.vectors
    return _encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "model": reply.model or model,
            "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.total_tokens},
        }
    )


def encode_models(models: Iterable[ModelInfo]) -> bytes:
    """The list of models."""
    return _encode({"object": "list", "data": [_model(model) for model in models]})


def encode_model(model: ModelInfo) -> bytes:
    """One model."""
    return _encode(_model(model))


def _model(model: ModelInfo) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner}


def _base64(vector: Sequence[float]) -> str:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats).decode("ascii")


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": call.type, "function": {"name": call.name, "arguments": call.arguments}}


def _usage(usage: Usage) -> dict[str, Any] | None:
    if not usage.reported:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


# --- streams -----------------------------------------------------------------------------------------------------


class StreamEncoder:
    """Chunks of another format as the events of OpenAI's chat or completion stream."""

    def __init__(self, operation: Operation, model: str, identity: str, created: int, *, usage_wanted: bool) -> None:
        if operation not in (Operation.CHAT, Operation.COMPLETION):
            raise UnsupportedOperation(f"the model {model!r} is served by a backend that does not stream {operation}")
        self._chat = operation is Operation.CHAT
        self._head = {
            "id": identity,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": created,
            "model": model,
        }
        self._usage_wanted = usage_wanted
        self._usage = Usage()
        self._begun: set[int] = set()

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        """The events of these chunks, joined; maybe none."""
        return b"".join([event for chunk in chunks if (event := self._event(chunk))])

    def end(self) -> bytes:
        """The counts, where they were asked for, and the terminator."""
        counts = _frame({**self._head, "choices": [], "usage": _usage(self._usage)}) if self._usage_wanted else b""
        return counts + DONE

    def _event(self, chunk: Chunk) -> bytes:
        if chunk.usage is not None:
            self._usage = chunk.usage
        choice: dict[str, Any]
        if self._chat:
            delta = self._delta(chunk)
            if not delta and chunk.finish_reason is None:
                return b""
            choice = {"index": chunk.index, "delta": delta, "logprobs": None, "finish_reason": chunk.finish_reason}
        elif chunk.text or chunk.finish_reason is not None:
            choice = {"index": chunk.index, "text": chunk.text, "logprobs": None, "finish_reason": chunk.finish_reason}
        else:
            return b""
        return _frame({**self._head, "choices": [choice]})

    def _delta(self, chunk: Chunk) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if chunk.index not in self._begun:
            self._begun.add(chunk.index)
            delta["role"] = "assistant"
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.refusal:
            delta["refusal"] = chunk.refusal
        if chunk.tool_calls:
            delta["tool_calls"] = [_piece(call) for call in chunk.tool_calls]
        return delta


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: " + _encode(event) + b"\n\n"


def _piece(call: ToolCall) -> dict[str, Any]:
    """A piece of a tool call; id, type and name are in its first piece only."""
    function: dict[str, Any] = {"arguments": call.arguments}
    if call.name:
        function["name"] = call.name
    piece: dict[str, Any] = {"index": call.index, "function": function}
    if call.id:
        piece |= {"id": call.id, "type": call.type}
    return piece
