"""Requests as TEI writes them, and as the router's tasks of the same kind do."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.types import ClassifyRequest, CountRequest, EmbedRequest, RerankRequest

__all__ = ["classify_fields", "count_fields", "embed_fields", "hosted_classify_fields", "rerank_fields"]

Fields = tuple[dict[str, Any], tuple[str, ...]]

#: Hints, none of which changes the answer; in what shape vectors travel is one.
_HINTS = ("user", "metadata", "encoding_format")


def embed_fields(request: EmbedRequest) -> Fields:
    """Texts, or lists of token ids."""
    fields, ignored = _options(request.options)
    return {"inputs": request.input, **fields}, ignored


def rerank_fields(request: RerankRequest) -> Fields:
    """``top_n`` is no option of TEI's: the ranking is cut when it is here."""
    fields, ignored = _options(request.options)
    fields.pop("top_n", None)
    if "return_documents" in fields:
        fields["return_text"] = fields.pop("return_documents")
    return {"query": request.query, "texts": [_text(document) for document in request.documents], **fields}, ignored


def _text(document: Any) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        raise UnsupportedOperation("TEI reranks texts: a document must be a text, or an object with a 'text'")
    return text


def classify_fields(request: ClassifyRequest) -> Fields:
    """Always a batch, in which a single text and a pair are told apart by their length."""
    fields, ignored = _options(request.options)
    return {"inputs": [_single_or_pair(each) for each in request.input], **fields}, ignored


def _single_or_pair(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or len(texts) not in (1, 2) or not all(isinstance(t, str) for t in texts):
        raise ConfigurationError("TEI classifies texts: an input must be a text, or a pair of texts as a list of two")
    return list(texts)


def hosted_classify_fields(request: ClassifyRequest) -> Fields:
    """The router's text classification; options are the pipeline's (``top_k``, ``function_to_apply``)."""
    fields, ignored = _options(request.options)
    texts = [text for each in request.input for text in _single_or_pair(each)]
    if len(texts) != len(request.input):
        raise UnsupportedOperation("Hugging Face's router classifies single texts, and no pairs")
    return {"inputs": texts, **({"parameters": fields} if fields else {})}, ignored


def count_fields(request: CountRequest) -> Fields:
    """The texts of the messages, each on its own: such models have no chat template."""
    fields, ignored = _options(request.options)
    if fields.pop("tools", None):
        raise UnsupportedOperation("TEI has no counterpart of 'tools': it counts the tokens of texts")
    texts: list[str] = []
    for message in request.messages:
        content = message.get("content")
        for part in [content] if isinstance(content, str) else content or []:
            text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
            if not isinstance(text, str):
                raise UnsupportedOperation("TEI counts the tokens of texts, and these messages hold something else")
            texts.append(text)
    return {"inputs": texts, **fields}, ignored


def _options(options: dict[str, Any]) -> Fields:
    fields = {key: value for key, value in options.items() if value is not None}
    ignored = tuple(key for key in _HINTS if fields.pop(key, None) is not None)
    if isinstance(direction := fields.get("truncation_direction"), str):
        fields["truncation_direction"] = direction.capitalize()
    return fields, ignored
