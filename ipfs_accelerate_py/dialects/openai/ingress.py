"""OpenAI's format as a server speaks it: the `Ingress` that the gateway answers OpenAI's clients by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ipfs_accelerate_py.dialects.openai.answers import (
    encode_embeddings,
    encode_images,
    encode_labels,
    encode_model,
    encode_models,
    encode_moderations,
    encode_ranking,
    encode_reply,
    error_object,
    error_type,
    response_error,
)
from ipfs_accelerate_py.dialects.openai.responses_answers import Answered
from ipfs_accelerate_py.dialects.openai.responses_writer import ResponseWriter
from ipfs_accelerate_py.dialects.openai.server import ServerRequest, decode_body
from ipfs_accelerate_py.dialects.openai.tasks import TaskBody, decode_task, encode_task
from ipfs_accelerate_py.dialects.openai.transcription import (
    TranscriptionForm,
    decode_transcription,
    encode_transcription,
)
from ipfs_accelerate_py.dialects.openai.writer import StreamEncoder
from ipfs_accelerate_py.dialects.serving import (
    Answer,
    ErrorAnswer,
    ServedRequest,
    StreamWriter,
    is_final,
    retry_after_of,
    status_of,
)
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.types import ModelInfo, Operation, Reply, RerankRequest

__all__ = ["OpenAIIngress"]

_encode = msgspec.json.Encoder().encode
#: No text, and no vectors.
_SPECIAL = frozenset((Operation.RERANK, Operation.CLASSIFY, Operation.MODERATE, Operation.IMAGE))
_PREFIXES = {Operation.CHAT: "chatcmpl", Operation.COMPLETION: "cmpl"}


class OpenAIIngress:
    """See `Ingress`."""

    name = "openai"
    stream_type = "text/event-stream; charset=utf-8"

    def decode(
        self, operation: Operation, body: bytes, content_type: str, path: Mapping[str, str], *, stream: bool | None
    ) -> ServedRequest:
        if operation is Operation.TRANSCRIBE:
            return decode_transcription(body, content_type, translate="translations" in path.get("route", ""))
        if operation is Operation.TASK:
            return decode_task(body, content_type, path.get("task", ""))
        return decode_body(operation, body)

    def encode(self, request: ServedRequest, reply: Reply, model: str, created: int) -> Answer:
        operation = request.operation
        identity = _identity(operation, reply.request_id)
        if isinstance(request, TranscriptionForm):
            return encode_transcription(request, reply)
        if isinstance(request, TaskBody):
            return encode_task(request, reply, model, identity)
        assert isinstance(request, ServerRequest)
        if operation is Operation.SPEAK:
            return Answer(reply.body, reply.content_type)
        if operation is Operation.EMBED:
            return Answer(encode_embeddings(reply, model, request.base64))
        if operation is Operation.RESPONSE:
            return Answer(Answered(request.decoded(), identity, created).encode(reply, model))
        if operation in _SPECIAL:
            return Answer(_special(request, reply, model, identity, created))
        return Answer(encode_reply(operation, reply, model, identity, created))

    def writer(self, request: ServedRequest, model: str, request_id: str, created: int) -> StreamWriter:
        identity = _identity(request.operation, request_id)
        if request.operation is Operation.RESPONSE:
            assert isinstance(request, ServerRequest)
            return ResponseWriter(Answered(request.decoded(), identity, created), model)
        wanted = isinstance(request, ServerRequest) and request.usage_wanted
        return StreamEncoder(request.operation, model, identity, created, usage_wanted=wanted)

    def error(self, error: AccelerateError, request_id: str = "") -> ErrorAnswer:
        """Status and error object. Refusals that time will mend say when."""
        status = status_of(error)
        return ErrorAnswer(
            status,
            _encode({"error": error_object(error)}),
            retry_after_of(error, status),
            final=is_final(error, status),
            code=error.code,
        )

    def failure(self, status: int, message: str, code: str, request_id: str = "") -> ErrorAnswer:
        return ErrorAnswer(status, error_body(status, message, code), code=code)

    def error_event(self, error: AccelerateError, operation: Operation, request_id: str = "") -> bytes:
        if operation is Operation.RESPONSE:
            return response_error(error, 0)  # a writer knows the right number
        return b"data: " + _encode({"error": error_object(error)}) + b"\n\n"

    def models(self, models: Iterable[ModelInfo]) -> bytes:
        return encode_models(models)

    def model(self, model: ModelInfo) -> bytes:
        return encode_model(model)


def error_body(status: int, message: str, code: str | None, param: str | None = None) -> bytes:
    """An error object of our own."""
    return _encode({"error": {"message": message, "type": error_type(status), "param": param, "code": code}})


def _special(request: ServerRequest, reply: Reply, model: str, identity: str, created: int) -> bytes:
    operation = request.operation
    if operation is Operation.RERANK:
        asked = request.request(model)
        assert isinstance(asked, RerankRequest)
        return encode_ranking(reply, asked, model, identity)
    if operation is Operation.CLASSIFY:
        return encode_labels(reply, model, identity, created)
    if operation is Operation.MODERATE:
        return encode_moderations(reply, model, identity)
    return encode_images(reply, created)


def _identity(operation: Operation, request_id: str) -> str:
    """An id in the manner of OpenAI's, for answers of backends that give none."""
    if operation is Operation.RESPONSE:
        return f"resp_{request_id.removeprefix('req_')}"
    return f"{_PREFIXES.get(operation, operation.value)}-{request_id.removeprefix('req_')}"
