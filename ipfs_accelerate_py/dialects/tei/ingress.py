"""TEI's format as a server speaks it: the `Ingress` that the gateway answers TEI's clients by. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.serving import (
    Answer,
    ErrorAnswer,
    ServedRequest,
    StreamWriter,
    is_final,
    retry_after_of,
    status_of,
)
from ipfs_accelerate_py.dialects.tei.server import TeiRequest, decode_request
from ipfs_accelerate_py.errors import AccelerateError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.plain_results import nested
from ipfs_accelerate_py.results import Features
from ipfs_accelerate_py.types import ModelInfo, Operation, Reply

__all__ = ["TeiIngress"]

_encode = msgspec.json.Encoder().encode
#: TEI's words for what went wrong, by status; what is not here is the backend's fault.
_KINDS = {429: "Overloaded", 503: "Unhealthy"}


class TeiIngress:
    """See `Ingress`."""

    name = "tei"
    stream_type = "application/json"

    def decode(
        self, operation: Operation, body: bytes, content_type: str, path: Mapping[str, str], *, stream: bool | None
    ) -> ServedRequest:
        return decode_request(path["verb"], body, path.get("model", ""))

    def encode(self, request: ServedRequest, reply: Reply, model: str, created: int) -> Answer:
        assert isinstance(request, TeiRequest)
        tokens = reply.usage.input_tokens if reply.usage.reported else None
        headers = () if tokens is None else ((b"x-compute-tokens", b"%d" % tokens),)
        return Answer(_encode(_answer(request, reply)), headers=headers)

    def writer(self, request: ServedRequest, model: str, request_id: str, created: int) -> StreamWriter:
        raise UnsupportedOperation("TEI streams nothing")

    def error(self, error: AccelerateError, request_id: str = "") -> ErrorAnswer:
        status = status_of(error)
        return ErrorAnswer(
            status,
            _error(error.message, status),
            retry_after_of(error, status),
            final=is_final(error, status),
            code=error.code,
        )

    def failure(self, status: int, message: str, code: str, request_id: str = "") -> ErrorAnswer:
        return ErrorAnswer(status, _error(message, status), code=code)

    def error_event(self, error: AccelerateError, operation: Operation, request_id: str = "") -> bytes:
        return _error(error.message, status_of(error))

    def models(self, models: Iterable[ModelInfo]) -> bytes:
        return _encode([self._info(model) for model in models])

    def model(self, model: ModelInfo) -> bytes:
        """``/info``; ``raw`` has what is known of the model beside its name."""
        return _encode(self._info(model))

    @staticmethod
    def _info(model: ModelInfo) -> dict[str, Any]:
        return {"model_id": model.id, "served_model_name": model.id, **(model.raw or {})}


def _answer(request: TeiRequest, reply: Reply) -> Any:
    match request.verb:
        case "embed":
            return [_unit(vector) for vector in reply.vectors] if request.normalize else reply.vectors
        case "similarity":
            first, *others = [_unit(vector) for vector in reply.vectors]
            return [sum(a * b for a, b in zip(first, other, strict=True)) for other in others]
        case "rerank":
            texts = request.inputs if request.return_text else None
            return [
                {"index": each.index, "score": each.score, **({"text": texts[each.index]} if texts else {})}
                for each in reply.ranking
            ]
        case "predict":
            found = [[{"score": each.score, "label": each.label} for each in labels] for labels in reply.labels]
            return found[0] if request.lone else found
        case "embed_all":
            return [_hidden(result) for result in reply.results]
        case "embed_sparse":
            return [_sparse(result) for result in reply.results]
        case _:
            return reply.raw


def _unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(each * each for each in vector))
    if length == 0 or abs(length - 1) < 1e-6:
        return vector
    return [each / length for each in vector]


def _hidden(result: Any) -> Any:
    """A vector for each token."""
    if isinstance(result, Features):
        for found in result.tensors:
            if found.name in ("last_hidden_state", "encoder_last_hidden_state", "token_embeddings"):
                return nested(found)
    raise ProtocolError("the model gives no vector for each token")


def _sparse(result: Any) -> list[dict[str, Any]]:
    tensors = {found.name: nested(found) for found in result.tensors} if isinstance(result, Features) else {}
    if tensors.keys() != {"indices", "values"}:
        raise ProtocolError("the model gives no sparse vector")
    pairs = zip(tensors["indices"], tensors["values"], strict=True)
    return [{"index": index, "value": value} for index, value in pairs]


def _error(message: str, status: int) -> bytes:
    kind = _KINDS.get(status) or ("Validation" if 400 <= status < 500 else "Backend")
    return _encode({"error": message, "error_type": kind})
