"""Google's format as a server speaks it: the `Ingress` that the gateway answers Google's clients by. Pure.

Source: ai.google.dev/api and the protobuf google.ai.generativelanguage.v1beta. The model is in the path, and so is
whether the answer is a stream; ``alt=sse`` in the query makes that server-sent events instead of one JSON array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.gemini.incoming import (
    cannot_carry,
    embed_input,
    ignored_of,
    messages_of,
    options_of,
)
from ipfs_accelerate_py.dialects.gemini.shapes import Batch, Count, Embed, Generate, check, unknown
from ipfs_accelerate_py.dialects.gemini.writer import GeminiWriter, answer_of, error_object, model_object, status_word
from ipfs_accelerate_py.dialects.serving import (
    Answer,
    ErrorAnswer,
    ServedRequest,
    StreamWriter,
    bad_request,
    is_final,
    retry_after_of,
    status_of,
)
from ipfs_accelerate_py.errors import AccelerateError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    ChatRequest,
    CountRequest,
    EmbedRequest,
    ModelInfo,
    Operation,
    Passthrough,
    Reply,
    Request,
)

__all__ = ["GeminiIngress", "GeminiRequest"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class GeminiRequest:
    """A request that has passed the check. See `ServedRequest`."""

    __slots__ = ("_body", "_spelt", "_typed", "ignored", "model", "operation", "places", "sse", "stream")

    def __init__(
        self,
        operation: Operation,
        model: str,
        body: bytes,
        spelt: dict[str, Any],
        typed: Any,
        *,
        stream: bool,
        sse: bool,
    ) -> None:
        self.operation = operation
        self.model = model
        self.stream = stream
        #: Whether a stream is to be server-sent events.
        self.sse = sse
        #: Names of what `request` left out because no answer depends on it.
        self.ignored: tuple[str, ...] = ()
        #: Where in the body each message of `request` was.
        self.places: tuple[str, ...] = ()
        self._body = body
        self._spelt = spelt
        self._typed = typed

    @property
    def lone(self) -> bool:
        """Whether one embedding is asked for, outside of a batch."""
        return isinstance(self._typed, Embed)

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        if self.lone or (self.stream and not self.sse):
            return None  # asked of the target in another way than of us
        spelt = self._spelt
        full = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        if self.operation is Operation.EMBED:
            spelt = {**spelt, "requests": [{**each, "model": full} for each in spelt["requests"]]}
        elif isinstance(spelt.get("generateContentRequest"), dict):
            spelt = {**spelt, "generateContentRequest": {**spelt["generateContentRequest"], "model": full}}
        if "model" in spelt:
            spelt = {**spelt, "model": full}
        return Passthrough("gemini", self._body if spelt is self._spelt else _encode(spelt))

    def summary(self, model: str) -> Request:
        typed = self._typed
        if isinstance(typed, Generate):
            options: dict[str, Any] = {}
            config = typed.generationConfig
            if config is not None and config.candidateCount is not None:
                options["n"] = config.candidateCount
            if config is not None and config.maxOutputTokens is not None:
                options["max_tokens"] = config.maxOutputTokens
            if config is not None and config.temperature is not None:
                options["temperature"] = config.temperature
            if config is not None and config.seed is not None:
                options["seed"] = config.seed
            return ChatRequest(model, [], options)
        return EmbedRequest(model, [], {}) if self.operation is Operation.EMBED else CountRequest(model, [], {})

    def request(self, model: str) -> Request:
        typed = self._typed
        left = unknown(self._spelt, typed)
        if left is not None:
            raise cannot_carry(left)
        if isinstance(typed, Generate):
            options = options_of(typed, stream=self.stream)
            self.ignored = ignored_of(typed)
            messages, self.places = messages_of(typed.systemInstruction, typed.contents, typed.generationConfig)
            return ChatRequest(model, messages, options)
        if isinstance(typed, Count):
            inner = typed.generateContentRequest
            if inner is None:
                return CountRequest(model, messages_of(None, typed.contents or [], None)[0], {})
            messages, self.places = messages_of(inner.systemInstruction, inner.contents, inner.generationConfig)
            return CountRequest(model, messages, options_of(inner, stream=False))
        requests = typed.requests if isinstance(typed, Batch) else [typed]
        texts, shared = embed_input(requests, "requests")
        return EmbedRequest(model, list(texts), shared)


class GeminiIngress:
    """See `Ingress`. ``path`` holds ``model``, and may hold ``alt`` (of the query)."""

    name = "gemini"
    stream_type = "text/event-stream"

    def decode(
        self, operation: Operation, body: bytes, content_type: str, path: Mapping[str, str], *, stream: bool | None
    ) -> ServedRequest:
        try:
            raw = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise bad_request(f"Invalid JSON payload received. {problem}", "invalid_json") from None
        if not isinstance(raw, dict):
            raise bad_request("Invalid JSON payload received. The body must be an object.", "invalid_json")
        model = path.get("model", "").removeprefix("models/")
        if not model:
            raise bad_request("The model is missing in the path.", "missing_required_parameter", "model")
        spelt, typed = check(raw, _shape(operation, raw))
        if isinstance(typed, Count) and (typed.contents is None) == (typed.generateContentRequest is None):
            raise bad_request(
                "One of contents and generateContentRequest must be set.", "missing_required_parameter", "contents"
            )
        return GeminiRequest(
            operation, model, body, spelt, typed, stream=bool(stream), sse=path.get("alt", "").lower() == "sse"
        )

    def encode(self, request: ServedRequest, reply: Reply, model: str, created: int) -> Answer:
        assert isinstance(request, GeminiRequest)
        if request.operation is Operation.EMBED:
            vectors = [{"values": vector} for vector in reply.vectors]
            return Answer(_encode({"embedding": vectors[0]} if request.lone else {"embeddings": vectors}))
        if request.operation is Operation.COUNT:
            counts = {"totalTokens": reply.usage.input_tokens}
            if reply.usage.cached_tokens:
                counts["cachedContentTokenCount"] = reply.usage.cached_tokens
            return Answer(_encode(counts))
        return Answer(_encode(answer_of(reply, model)))

    def writer(self, request: ServedRequest, model: str, request_id: str, created: int) -> StreamWriter:
        if request.operation is not Operation.CHAT or not isinstance(request, GeminiRequest):
            raise UnsupportedOperation(f"Google's format does not stream {request.operation}")
        return GeminiWriter(model, request_id, sse=request.sse)

    def error(self, error: AccelerateError, request_id: str = "") -> ErrorAnswer:
        status = status_of(error)
        return ErrorAnswer(
            status,
            _encode(error_object(error)),
            retry_after_of(error, status),
            final=is_final(error, status),
            code=error.code,
        )

    def failure(self, status: int, message: str, code: str, request_id: str = "") -> ErrorAnswer:
        body = {"error": {"code": status, "message": message, "status": status_word(status)}}
        return ErrorAnswer(status, _encode(body), code=code)

    def error_event(self, error: AccelerateError, operation: Operation, request_id: str = "") -> bytes:
        return b"data: " + _encode(error_object(error)) + b"\n\n"

    def models(self, models: Iterable[ModelInfo]) -> bytes:
        return _encode({"models": [model_object(model) for model in models]})

    def model(self, model: ModelInfo) -> bytes:
        return _encode(model_object(model))


def _shape(operation: Operation, raw: dict[str, Any]) -> type[Any]:
    if operation is Operation.CHAT:
        return Generate
    if operation is Operation.COUNT:
        return Count
    if operation is Operation.EMBED:
        return Batch if "requests" in raw else Embed
    raise UnsupportedOperation(f"Google's format has no operation {operation}")
