"""The serving half of Ollama's format, answers: replies and chunks of other formats as its clients read them. Pure.

Source: ollama.openapi.yaml. Durations are those that were measured; of what was not, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.answers import image_text
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import Chunk, ModelInfo, Reply, ToolCall, Usage

__all__ = ["OllamaWriter", "encode_answer", "encode_model", "encode_models", "encode_vectors", "timestamp"]

_encode = msgspec.json.Encoder().encode


def timestamp(seconds: int) -> str:
    """Seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def encode_answer(reply: Reply, model: str, created: int, *, generates: bool) -> bytes:
    """A whole answer of ``/api/chat``, or of ``/api/generate``."""
    said = _said(_text(reply), reply.reasoning, reply.tool_calls, generates)
    ending = _ending(reply.finish_reason, reply.usage, reply.latency)
    return _encode({"model": model, "created_at": timestamp(created), **said, **ending})


def encode_vectors(reply: Reply, model: str, *, legacy: bool) -> bytes:
    """Vectors of ``/api/embed``, or the one of ``/api/embeddings``."""
    if legacy:
        return _encode({"embedding": reply.vectors[0] if reply.vectors else []})
    made: dict[str, Any] = {"model": model, "embeddings": reply.vectors}
    if reply.latency:
        made["total_duration"] = _nanoseconds(reply.latency)
    if reply.usage.reported:
        made["prompt_eval_count"] = reply.usage.input_tokens
    return _encode(made)


class OllamaWriter:
    """Chunks as JSON lines. A tool call is written when it is whole, for here it comes in one piece."""

    def __init__(self, model: str, created: int, *, generates: bool) -> None:
        self._head = {"model": model, "created_at": timestamp(created)}
        self._generates = generates
        self._calls: dict[int, ToolCall] = {}
        self._finish_reason: str | None = None
        self._usage = Usage()

    def encode(self, chunks: Iterable[Chunk]) -> bytes:
        return b"".join([line for chunk in chunks if (line := self._line(chunk))])

    def end(self) -> bytes:
        """The tool calls, and the line that says that this was all, with the counts."""
        lines = []
        if self._calls:
            calls = [self._calls[index] for index in sorted(self._calls)]
            lines.append({**self._head, **_said("", "", calls, self._generates), "done": False})
        empty = _said("", "", (), self._generates)
        lines.append({**self._head, **empty, **_ending(self._finish_reason, self._usage, 0.0)})
        return b"".join([_encode(line) + b"\n" for line in lines])

    def _line(self, chunk: Chunk) -> bytes:
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.index != 0:
            return b""
        self._finish_reason = chunk.finish_reason or self._finish_reason
        for piece in chunk.tool_calls:
            call = self._calls.setdefault(piece.index, ToolCall(index=piece.index))
            call.id = piece.id or call.id
            call.name = piece.name or call.name
            call.arguments += piece.arguments
        text = _text(chunk)
        if not text and not chunk.reasoning:
            return b""
        return _encode({**self._head, **_said(text, chunk.reasoning, (), self._generates), "done": False}) + b"\n"


def _text(said: Reply | Chunk) -> str:
    """What would not be done is said, too; and so is an image, for Ollama's own client reads none in an answer."""
    texts = [text for text in (said.text, said.refusal) if text]
    return "\n".join(texts) + "".join(map(image_text, said.images))


def _said(text: str, thinking: str, calls: Sequence[ToolCall], generates: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"response": text} if generates else {"role": "assistant", "content": text}
    if thinking:
        said["thinking"] = thinking
    if calls:
        said["tool_calls"] = [_tool_call(call) for call in calls]
    return said if generates else {"message": said}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ProtocolError(
            f"the model called the tool {call.name!r} with arguments that are no JSON object, and Ollama has no others"
        )
    function = {"index": call.index, "name": call.name, "arguments": arguments}
    return {"id": call.id, "function": function} if call.id else {"function": function}


def _ending(finish_reason: str | None, usage: Usage, latency: float) -> dict[str, Any]:
    reason = "stop" if finish_reason in (None, "tool_calls") else finish_reason
    made: dict[str, Any] = {"done": True, "done_reason": reason}
    if latency:
        made["total_duration"] = _nanoseconds(latency)
    if usage.reported:
        made["prompt_eval_count"] = usage.input_tokens
        made["eval_count"] = usage.output_tokens
    return made


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


# --- models ------------------------------------------------------------------------------------------------------


def encode_models(models: Iterable[ModelInfo]) -> bytes:
    """``/api/tags``. What only an Ollama server knows of a model (size, digest) is there where one said it."""
    return _encode({"models": [_listed(model) for model in models]})


def encode_model(model: ModelInfo) -> bytes:
    """``/api/show``."""
    raw = model.raw
    made = {"details": _details(raw), "model_info": {}, "modified_at": timestamp(model.created)}
    for name in ("capabilities", "model_info", "parameters", "template", "license"):
        if name in raw:
            made[name] = raw[name]
    return _encode(made)


def _listed(model: ModelInfo) -> dict[str, Any]:
    raw = model.raw
    size, digest = raw.get("size"), raw.get("digest")
    return {
        "name": model.id,
        "model": model.id,
        "modified_at": timestamp(model.created),
        "size": size if isinstance(size, int) else 0,
        "digest": digest if isinstance(digest, str) else "",
        "details": _details(raw),
    }


def _details(raw: dict[str, Any]) -> dict[str, Any]:
    details = raw.get("details")
    if isinstance(details, dict):
        return details
    return {
        "parent_model": "",
        "format": "",
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    }
