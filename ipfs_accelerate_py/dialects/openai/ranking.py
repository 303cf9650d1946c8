"""Rankings and labels from services of OpenAI's kind: requests and answers.

Source: Jina's and Cohere's ``/rerank`` as vLLM and llama.cpp serve it, and vLLM's ``/classify``
(docs.vllm.ai, "OpenAI-compatible server"). OpenAI itself has neither.
"""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.dialects.reading import chat_usage, count, name
from ipfs_accelerate_py.errors import ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, ClassifyRequest, Label, Ranked, Reply, RerankRequest, Usage

__all__ = ["classify_fields", "read_labels", "read_ranking"]


def read_ranking(raw: dict[str, Any], call: Call) -> Reply:
    """The documents, the best first; some services send them in the order in which they were given."""
    items = raw["results"] if "results" in raw else raw["data"]
    request = call.request
    ranking = [_ranked(item) for item in items]
    if isinstance(request, RerankRequest):
        places = [each.index for each in ranking]
        if len(set(places)) < len(places) or not all(0 <= place < len(request.documents) for place in places):
            raise ProtocolError(f"{len(request.documents)} documents were sent and the upstream ranked {places[:20]}")
        wanted = request.options.get("top_n")
        least = min(wanted, len(request.documents)) if isinstance(wanted, int) and wanted > 0 else 1
        if len(ranking) < least:
            raise ProtocolError(f"{least} documents were to be ranked, and the upstream ranked {len(ranking)}")
    ranking.sort(key=lambda each: -each.score)
    return Reply(
        id=name(raw.get("id")), model=name(raw.get("model")), ranking=ranking, usage=total_usage(raw.get("usage"))
    )


def _ranked(item: dict[str, Any]) -> Ranked:
    score = item["relevance_score"] if "relevance_score" in item else item["score"]
    if not isinstance(item["index"], int):
        raise ProtocolError("a ranked document of the upstream's answer has no place", body=item)
    return Ranked(item["index"], float(score), item.get("document"))


def classify_fields(request: ClassifyRequest) -> dict[str, Any]:
    for item in request.input:
        if not isinstance(item, str):
            raise UnsupportedOperation(f"vLLM's format classifies texts, and not a {type(item).__name__}")
    return {"model": request.model, "input": request.input, **request.options}


def read_labels(raw: dict[str, Any], call: Call) -> Reply:
    """The strongest label of each input: vLLM names that one alone, and the others' strengths are in ``raw``."""
    items = sorted(raw["data"], key=lambda item: int(item.get("index", 0)))
    request = call.request
    if isinstance(request, ClassifyRequest) and len(items) != len(request.input):
        raise ProtocolError(f"{len(request.input)} inputs were sent and the upstream answered with {len(items)} labels")
    return Reply(
        id=name(raw.get("id")),
        model=name(raw.get("model")),
        labels=[[_label(item)] for item in items],
        usage=total_usage(raw.get("usage")),
    )


def _label(item: dict[str, Any]) -> Label:
    strengths = [float(strength) for strength in item["probs"]]
    best = max(range(len(strengths)), key=strengths.__getitem__)
    return Label(name(item.get("label")) or str(best), strengths[best])


def total_usage(raw: Any) -> Usage:
    """Counts of operations that write nothing; some services give the total alone."""
    usage = chat_usage(raw)
    if usage.reported and not usage.input_tokens:
        usage.input_tokens = count(raw.get("total_tokens"))
    return usage
