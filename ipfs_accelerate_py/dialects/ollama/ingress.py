"""Ollama's format as a server speaks it: the `Ingress` that the gateway answers Ollama's clients by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ipfs_accelerate_py.dialects.ollama.server import OllamaRequest, decode_request
from ipfs_accelerate_py.dialects.ollama.writer import (
    OllamaWriter,
    encode_answer,
    encode_model,
    encode_models,
    encode_vectors,
)
from ipfs_accelerate_py.dialects.serving import (
    Answer,
    ErrorAnswer,
    ServedRequest,
    StreamWriter,
    is_final,
    retry_after_of,
    status_of,
)
from ipfs_accelerate_py.errors import AccelerateError, UnsupportedOperation
from ipfs_accelerate_py.types import ModelInfo, Operation, Reply

__all__ = ["OllamaIngress"]

_encode = msgspec.json.Encoder().encode


class OllamaIngress:
    """See `Ingress`."""

    name = "ollama"
    stream_type = "application/x-ndjson"

    def decode(
        self, operation: Operation, body: bytes, content_type: str, path: Mapping[str, str], *, stream: bool | None
    ) -> ServedRequest:
        return decode_request(operation, body, path.get("route", ""))

    def encode(self, request: ServedRequest, reply: Reply, model: str, created: int) -> Answer:
        assert isinstance(request, OllamaRequest)
        if request.operation is Operation.EMBED:
            return Answer(encode_vectors(reply, model, legacy=request.legacy))
        return Answer(encode_answer(reply, model, created, generates=request.generates))

    def writer(self, request: ServedRequest, model: str, request_id: str, created: int) -> StreamWriter:
        if not isinstance(request, OllamaRequest) or request.operation is Operation.EMBED:
            raise UnsupportedOperation(f"Ollama's format does not stream {request.operation}")
        return OllamaWriter(model, created, generates=request.generates)

    def error(self, error: AccelerateError, request_id: str = "") -> ErrorAnswer:
        status = status_of(error)
        return ErrorAnswer(
            status,
            _error(error.message),
            retry_after_of(error, status),
            final=is_final(error, status),
            code=error.code,
        )

    def failure(self, status: int, message: str, code: str, request_id: str = "") -> ErrorAnswer:
        return ErrorAnswer(status, _error(message), code=code)

    def error_event(self, error: AccelerateError, operation: Operation, request_id: str = "") -> bytes:
        return _error(error.message) + b"\n"

    def models(self, models: Iterable[ModelInfo]) -> bytes:
        return encode_models(models)

    def model(self, model: ModelInfo) -> bytes:
        return encode_model(model)


def _error(message: str) -> bytes:
    return _encode({"error": message})
