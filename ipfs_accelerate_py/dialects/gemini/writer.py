"""The serving half of Google's format, answers: replies, chunks and errors as Google's clients read them. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.gemini.shapes import REDACTED
from ipfs_accelerate_py.dialects.serving import retry_after_of, status_of
from ipfs_accelerate_py.errors import AccelerateError, BackendError
from ipfs_accelerate_py.types import Chunk, Image, ModelInfo, Reply, ToolCall, Usage

__all__ = ["GeminiWriter", "answer_of", "error_object", "model_object", "status_word"]

_encode = msgspec.json.Encoder().encode
_RPC = "type.googleapis.com/google.rpc."
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
#: The rest of Google's own words; what is none of them is OTHER.
_OWN = frozenset(
    (
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "NO_IMAGE",
        "IMAGE_OTHER",
    )
)


def status_word(status: int) -> str:
    """The name of google.rpc.Code that goes with a HTTP status."""
    return _WORDS.get(status) or ("UNAVAILABLE" if status >= 500 else "INVALID_ARGUMENT")


def error_object(error: AccelerateError) -> dict[str, Any]:
    """``{"error": ...}``, with when to come back, a word for programs and the field to blame in its details."""
    status = status_of(error)
    details: list[dict[str, Any]] = []
    if error.code:
        details.append({"@type": _RPC + "ErrorInfo", "reason": error.code.upper(), "domain": "ipfs-accelerate"})
    wait = retry_after_of(error, status)
    if wait is not None:
        details.append({"@type": _RPC + "RetryInfo", "retryDelay": f"{wait:.9g}s"})
    if isinstance(error, BackendError) and error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _RPC + "BadRequest", "fieldViolations": [violation]})
    made: dict[str, Any] = {"code": status, "message": error.message, "status": status_word(status)}
    if details:
        made["details"] = details
    return {"error": made}


def model_object(model: ModelInfo) -> dict[str, Any]:
    """One model. What it can do is not said where nobody knows."""
    made: dict[str, Any] = {"name": f"models/{model.id}", "displayName": model.id}
    for name in (
        "version",
        "description",
        "inputTokenLimit",
        "outputTokenLimit",
        "supportedGenerationMethods",
        "temperature",
        "topP",
        "topK",
        "thinking",
    ):
        if name in model.raw:
            made[name] = model.raw[name]
    return made


def answer_of(reply: Reply, model: str) -> dict[str, Any]:
    """A whole answer: a `GenerateContentResponse`."""
    parts = _thoughts(reply.reasoning, reply.thinking_blocks)
    parts += [{"text": text} for text in (reply.text, reply.refusal) if text]
    finish = _finish(reply.finish_reason) or "STOP"
    candidate: dict[str, Any] = {"index": 0}
    for call in reply.tool_calls:
        part = _call(call)
        if part is None:
            finish, candidate["finishMessage"] = "MALFORMED_FUNCTION_CALL", _malformed(call)
        else:
            parts.append(part)
    parts += [_image(image) for image in reply.images]
    candidate["content"] = {"role": "model", "parts": parts or [{"text": ""}]}
    candidate["finishReason"] = finish
    made: dict[str, Any] = {"candidates": [candidate], "modelVersion": reply.model or model}
    if reply.usage.reported:
        made["usageMetadata"] = _usage(reply.usage)
    if reply.id or reply.request_id:
        made["responseId"] = reply.id or reply.request_id
    return made


class GeminiWriter:
    """Chunks of another format as Google's stream: server-sent events, or the elements of one JSON array.

    A function call has its arguments whole, so its pieces are gathered; the last event waits for the counts, which
    come with it.
    """

    def __init__(self, model: str, request_id: str, *, sse: bool) -> None:
        self.content_type = "text/event-stream" if sse else "application/json"
        self._sse = sse
        self._model = model
        self._id = request_id
        self._usage = Usage()
        self._calls: dict[int, dict[int, ToolCall]] = {}
        self._last: dict[int, dict[str, Any]] = {}
        self._begun = False

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        return b"".join([self._written(chunk) for chunk in chunks])

    def _written(self, chunk: Chunk) -> bytes:
        if chunk.usage is not None:
            self._usage = chunk.usage
        self._model = chunk.model or self._model
        index = chunk.index
        parts = _thoughts(chunk.reasoning, chunk.thinking_blocks)
        parts += [{"text": text} for text in (chunk.text, chunk.refusal) if text]
        parts += [_image(image) for image in chunk.images]
        calls = self._calls.setdefault(index, {}) if chunk.tool_calls or chunk.finish_reason else {}
        for piece in chunk.tool_calls:
            _add(calls, piece)
        if chunk.finish_reason is not None:
            self._last[index] = self._end(index, chunk.finish_reason)
        return self._event({"content": {"role": "model", "parts": parts}, "index": index}) if parts else b""

    def _end(self, index: int, reason: str) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": index, "finishReason": _finish(reason) or "STOP"}
        parts = []
        for _, call in sorted(self._calls.pop(index, {}).items()):
            part = _call(call)
            if part is None:
                candidate |= {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": _malformed(call)}
            else:
                parts.append(part)
        candidate["content"] = {"role": "model", "parts": parts or [{"text": ""}]}
        return candidate

    def end(self) -> bytes:
        """The last event of each candidate, with the counts; an array is closed."""
        for index in [index for index, calls in self._calls.items() if calls]:
            self._last[index] = self._end(index, "stop")
        last = b"".join([self._event(candidate) for _, candidate in sorted(self._last.items())])
        if self._sse:
            return last
        return last + (b"]" if self._begun else b"[]")

    def error_event(self, error: AccelerateError) -> bytes:
        """An error in band; an array ends with it, and stays JSON."""
        body = _encode(error_object(error))
        return b"data: " + body + b"\n\n" if self._sse else (b",\r\n" if self._begun else b"[") + body + b"]"

    def _event(self, candidate: dict[str, Any]) -> bytes:
        event: dict[str, Any] = {"candidates": [candidate], "modelVersion": self._model, "responseId": self._id}
        if self._usage.reported:
            event["usageMetadata"] = _usage(self._usage)
        body = _encode(event)
        if self._sse:
            return b"data: " + body + b"\n\n"
        start = b",\r\n" if self._begun else b"["
        self._begun = True
        return start + body


# --- parts -------------------------------------------------------------------------------------------------------


def _thoughts(reasoning: str, blocks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reasoning as thoughts; another vendor's signature travels where Google has its own.

    In a stream the text of a block came before it; in a whole answer it is all of them together, and each has its own.
    """
    signed = [(block, signature) for block in blocks if (signature := _signature_of(block))]
    texts = [str(block.get("thinking") or "") for block, _ in signed]
    if reasoning != "".join(texts):  # the text is told by itself
        texts = [""] * len(texts)
        parts: list[dict[str, Any]] = [{"text": reasoning, "thought": True}] if reasoning else []
    else:
        parts = []
    for text, (_, signature) in zip(texts, signed, strict=True):
        if parts and not text and "thoughtSignature" not in parts[-1]:
            parts[-1]["thoughtSignature"] = signature
        else:
            parts.append({"text": text, "thought": True, "thoughtSignature": signature})
    return parts


def _signature_of(block: dict[str, Any]) -> str:
    """A block's signature; of one that cannot be read, all that there is."""
    if block.get("type") == "redacted_thinking":
        return REDACTED + str(block.get("data") or "")
    signature = block.get("signature")
    return signature if isinstance(signature, str) else ""


def _image(image: Image) -> dict[str, Any]:
    if image.data:
        data = base64.b64encode(image.data).decode()
        return {"inlineData": {"mimeType": image.media_type or "image/png", "data": data}}
    return {"fileData": {"fileUri": image.url}}


def _call(call: ToolCall) -> dict[str, Any] | None:
    """A function call; None where its arguments are not the object that they have to be."""
    try:
        args = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        return None
    if not isinstance(args, dict):
        return None
    made: dict[str, Any] = {"name": call.name, "args": args}
    if call.id:
        made["id"] = call.id
    part: dict[str, Any] = {"functionCall": made}
    if call.signature:
        part["thoughtSignature"] = call.signature
    return part


def _malformed(call: ToolCall) -> str:
    return f"The arguments of {call.name!r} are not a JSON object: {call.arguments[:500]}"


def _add(calls: dict[int, ToolCall], piece: ToolCall) -> None:
    call = calls.setdefault(piece.index, ToolCall(index=piece.index))
    call.id = piece.id or call.id
    call.name = piece.name or call.name
    call.signature = piece.signature or call.signature
    call.arguments += piece.arguments


def _finish(reason: str | None) -> str | None:
    if reason is None:
        return None
    return _FINISH.get(reason) or (reason if reason in _OWN else "OTHER")


def _usage(usage: Usage) -> dict[str, Any]:
    """Thoughts beside the candidates, as Google counts."""
    made: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "totalTokenCount": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        made["thoughtsTokenCount"] = min(usage.reasoning_tokens, usage.output_tokens)
    if usage.cached_tokens:
        made["cachedContentTokenCount"] = usage.cached_tokens
    for name, whole, audio in (
        ("promptTokensDetails", usage.input_tokens, usage.input_audio_tokens),
        ("candidatesTokensDetails", made["candidatesTokenCount"], usage.output_audio_tokens),
    ):
        if audio:
            details = [("TEXT", max(0, whole - audio)), ("AUDIO", audio)]
            made[name] = [{"modality": modality, "tokenCount": tokens} for modality, tokens in details]
    return made
