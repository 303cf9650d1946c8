"""``embedContent``, ``batchEmbedContents`` and ``countTokens``."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.text import vector
from ipfs_accelerate_py.simulator.wire import Answer, Settings

from .generating import prompt_counts
from .messages import refuse

__all__ = ["batch", "count", "one"]

_encode = msgspec.json.Encoder().encode
_MOST: Final = 100


def one(body: dict[str, Any], model: str, settings: Settings) -> Answer:
    return Answer(body=_encode({"embedding": _vector(body, model, settings, "EmbedContentRequest")}))


def batch(body: dict[str, Any], model: str, settings: Settings) -> Answer:
    requests = body.get("requests")
    if not requests:
        refuse("* BatchEmbedContentsRequest.requests: requests is not specified\n")
    if len(requests) > _MOST:
        refuse(f"* BatchEmbedContentsRequest.requests: at most {_MOST} requests can be in one batch\n")
    made = []
    for number, request in enumerate(requests):
        place = f"BatchEmbedContentsRequest.requests[{number}]"
        if request.get("model", "").removeprefix("models/") != model or "/" not in request["model"]:
            refuse(f"* {place}.model: model must match the batch's, 'models/{model}', got {request.get('model')!r}\n")
        made.append(_vector(request, model, settings, place))
    return Answer(body=_encode({"embeddings": made}))


def _vector(request: dict[str, Any], model: str, settings: Settings, place: str) -> dict[str, Any]:
    parts = request.get("content", {}).get("parts")
    if not parts:
        refuse(f"* {place}.content: content is required\n")
    if request.get("title") and request.get("taskType") != "RETRIEVAL_DOCUMENT":
        refuse(f"* {place}.title: title is only for the task type RETRIEVAL_DOCUMENT\n")
    source = model.encode() + b"\0" + b"\0".join(_encode(part) for part in parts)
    return {
        "values": vector(source, request.get("outputDimensionality") or settings.dimensions, settings.seed).tolist()
    }


def count(body: dict[str, Any], model: str, settings: Settings) -> Answer:
    inner = body.get("generateContentRequest")
    if (inner is None) == ("contents" not in body):
        refuse("* CountTokensRequest: one of contents and generate_content_request must be set\n")
    if inner is not None and inner.get("model", "").removeprefix("models/") != model:
        refuse("* CountTokensRequest.generate_content_request.model: model must be that of the request\n")
    counts = prompt_counts(inner or body)
    for tool in (inner or {}).get("tools", ()):
        counts["TEXT"] += len(_encode(tool)) // 4
    details = [{"modality": modality, "tokenCount": tokens} for modality, tokens in counts.items()]
    return Answer(body=_encode({"totalTokens": sum(counts.values()), "promptTokensDetails": details}))
