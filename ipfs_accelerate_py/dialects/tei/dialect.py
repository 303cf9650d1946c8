"""Text Embeddings Inference (TEI), on a server of one's own or hosted behind Hugging Face's router.

Embeddings, reranking, classification and the counting of tokens, by TEI's own endpoints; the router has the first and
the third of them, as tasks of a model. Source: TEI's API description (tei.openapi.json).
"""

from __future__ import annotations

from collections.abc import Mapping

from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.dialects.raw import as_json
from ipfs_accelerate_py.dialects.reading import name
from ipfs_accelerate_py.dialects.tei.answers import classified, counted, embedded, ranked, usage_of
from ipfs_accelerate_py.dialects.tei.requests import (
    classify_fields,
    count_fields,
    embed_fields,
    hosted_classify_fields,
    rerank_fields,
)
from ipfs_accelerate_py.dialects.tgi.dialect import decoded
from ipfs_accelerate_py.dialects.tgi.errors import error_from_status
from ipfs_accelerate_py.dialects.tgi.hosted import model_path
from ipfs_accelerate_py.errors import BackendError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ClassifyRequest,
    CountRequest,
    EmbedRequest,
    ModelInfo,
    Operation,
    RateLimits,
    Reply,
    RerankRequest,
)

__all__ = ["TeiDialect"]


class TeiDialect:
    """The translation.

    Args:
        hosted: the router is asked, and not a server of one's own.
        model: what is asked for where a call names no model. A server of one's own needs none.
    """

    name = "tei"
    operations = frozenset(
        {
            Operation.EMBED,
            Operation.RERANK,
            Operation.CLASSIFY,
            Operation.COUNT,
            Operation.MODELS,
            Operation.RAW,
        }
    )

    def __init__(self, *, hosted: bool = False, model: str = "") -> None:
        self.hosted = hosted
        self._model = model
        self._openai = OpenAIDialect()

    # --- requests ------------------------------------------------------------------------------------------------

    def encode(self, call: Call) -> WireRequest:
        request = call.request
        if call.operation is Operation.RAW:
            return self._openai.encode(call)
        if call.stream:
            raise UnsupportedOperation("TEI streams nothing")
        if isinstance(request, EmbedRequest):
            path = model_path(request.model or self._model, "feature-extraction") if self.hosted else "/embed"
            fields, ignored = embed_fields(request)
        elif isinstance(request, ClassifyRequest):
            path = model_path(request.model or self._model) if self.hosted else "/predict"
            fields, ignored = (hosted_classify_fields if self.hosted else classify_fields)(request)
        elif self.hosted:
            raise UnsupportedOperation(
                f"Hugging Face's router has no operation {call.operation} for such models; a TEI server of your own has"
            )
        elif isinstance(request, RerankRequest):
            path, (fields, ignored) = "/rerank", rerank_fields(request)
        elif isinstance(request, CountRequest):
            path, (fields, ignored) = "/tokenize", count_fields(request)
        elif call.operation is Operation.MODELS:
            return WireRequest("GET", "/info", None)
        else:
            raise UnsupportedOperation(f"TEI has no operation {call.operation}; it embeds, reranks and classifies")
        body = as_json(fields) if call.passthrough is None else call.passthrough.body
        return WireRequest("POST", path, body, ignored=ignored)

    # --- answers -------------------------------------------------------------------------------------------------

    def decode(self, call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
        request = call.request
        if call.operation is Operation.RAW:
            reply = self._openai.decode(call, body, headers)
            counts = usage_of(headers)
            if counts.reported:
                reply.usage = counts
            return reply
        if call.passthrough is not None:
            return Reply(body=body, usage=usage_of(headers))
        raw = decoded(body)
        try:
            if isinstance(request, EmbedRequest):
                reply = Reply(vectors=embedded(raw, len(request.input)))
            elif isinstance(request, ClassifyRequest):
                reply = Reply(labels=classified(raw, len(request.input)))
            elif isinstance(request, RerankRequest):
                reply = Reply(ranking=ranked(raw, len(request.documents), request.options.get("top_n")))
            elif isinstance(request, CountRequest):
                reply = Reply(usage=counted(raw))
            else:
                reply = Reply(models=[ModelInfo(str(raw["model_id"]), raw=raw)], model=name(raw.get("model_id")))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as problem:
            raise ProtocolError(
                f"the upstream's answer is not TEI's {call.operation} format: {type(problem).__name__}: {problem}",
                body=raw,
            ) from None
        if not reply.usage.reported:
            reply.usage = usage_of(headers)
        reply.model = reply.model or call.model
        reply.raw = raw
        return reply

    def stream_decoder(self, call: Call) -> StreamDecoder:
        if call.operation is Operation.RAW:
            return self._openai.stream_decoder(call)
        raise UnsupportedOperation("TEI streams nothing")

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendError:
        return error_from_status(status, headers, body)

    def rate_limits(self, headers: Mapping[str, str]) -> RateLimits | None:
        return self._openai.rate_limits(headers)
