"""The serving half of OpenAI's format, answers: replies of other formats as OpenAI's clients read them. Pure.

Source: OpenAI's API specification (openai.openapi.yaml); for rankings and labels, which it does not have, what vLLM,
Jina and Cohere answer. Where a client must be able to tell "nothing" from "the text None", what is not there is null.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.serving import status_of
from ipfs_accelerate_py.errors import AccelerateError, BackendError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Image,
    Label,
    ModelInfo,
    Operation,
    Reply,
    RerankRequest,
    ToolCall,
    Usage,
)

__all__ = [
    "encode_embeddings",
    "encode_images",
    "encode_labels",
    "encode_model",
    "encode_models",
    "encode_moderations",
    "encode_ranking",
    "encode_reply",
    "error_object",
    "error_type",
    "image_part",
    "image_text",
    "response_error",
    "signed",
    "tool_call",
    "usage_object",
]

_encode = msgspec.json.Encoder().encode


def encode_reply(operation: Operation, reply: Reply, model: str, identity: str, created: int) -> bytes:
    """A reply of another format as a chat completion or a completion.

    ``model`` is the name to show where the backend gave none; ``created`` is seconds since 1970.
    """
    choice: dict[str, Any]
    if operation is Operation.CHAT:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": reply.text if reply.text or not reply.tool_calls else None,
            "refusal": reply.refusal or None,
        }
        if reply.reasoning:
            message["reasoning_content"] = reply.reasoning
        if reply.thinking_blocks:
            message["thinking_blocks"] = list(reply.thinking_blocks)
        if reply.images:
            message["images"] = [image_part(image) for image in reply.images]
        if reply.tool_calls:
            message["tool_calls"] = [tool_call(call) for call in reply.tool_calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason or "stop"}
    elif operation is Operation.COMPLETION:
        choice = {"index": 0, "text": reply.text, "logprobs": None, "finish_reason": reply.finish_reason or "stop"}
    else:
        raise UnsupportedOperation(f"the model {model!r} is served by a backend that has no operation {operation}")
    return _encode(
        {
            "id": reply.id or identity,
            "object": "chat.completion" if operation is Operation.CHAT else "text_completion",
            "created": created,
            "model": reply.model or model,
            "choices": [choice],
            "usage": usage_object(reply.usage),
        }
    )


def encode_embeddings(reply: Reply, model: str, as_base64: bool) -> bytes:
    """Vectors as lists of numbers, or as base64 of little-endian float32 (what OpenAI's own client asks for)."""
    vectors: Iterable[Any] = map(_base64, reply.vectors) if as_base64 else reply.vectors
    return _encode(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.total_tokens},
        }
    )


def encode_models(models: Iterable[ModelInfo]) -> bytes:
    """The list of models."""
    return _encode({"object": "list", "data": [_model(model) for model in models]})


def encode_model(model: ModelInfo) -> bytes:
    """One model."""
    return _encode(_model(model))


def _model(model: ModelInfo) -> dict[str, Any]:
    made = {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owner}
    if tasks := model.raw.get("tasks"):
        made["tasks"] = tasks  # of a model on this machine: for what it was made
    return made


def _base64(vector: Sequence[float]) -> str:
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats).decode("ascii")


def tool_call(call: ToolCall) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": call.id,
        "type": call.type,
        "function": {"name": call.name, "arguments": call.arguments},
    }
    if call.signature:
        made["extra_content"] = signed(call.signature)
    return made


def signed(signature: str) -> dict[str, Any]:
    """A tool call's signature where Google's own server for OpenAI's format puts it."""
    return {"google": {"thought_signature": signature}}


def usage_object(usage: Usage) -> dict[str, Any] | None:
    if not usage.reported:
        return None
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


def image_part(image: Image) -> dict[str, Any]:
    """An image of an answer, as the many servers that answer with images write it into a message's ``images``."""
    url = image.url
    if not url:
        url = f"data:{image.media_type or 'image/png'};base64,{base64.b64encode(image.data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def image_text(image: Image) -> str:
    """The same as Markdown writes it into a text, for formats that have no place for an image in an answer."""
    return f"\n![image]({image_part(image)['image_url']['url']})\n"


# --- errors ------------------------------------------------------------------------------------------------------


def error_object(error: AccelerateError) -> dict[str, Any]:
    """What is under ``error``."""
    kind = param = None
    if isinstance(error, BackendError):
        kind, param = error.type, error.param
    elif isinstance(error, UnsupportedOperation):
        param = "model"
    return {
        "message": error.message,
        "type": kind or error_type(status_of(error)),
        "param": param,
        "code": error.code,
    }


def error_type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def response_error(error: AccelerateError, number: int) -> bytes:
    """The Responses API's event; ``error`` is in it as well, for OpenAI's client looks for that."""
    fields = error_object(error)
    event = {
        "type": "error",
        "sequence_number": number,
        **{name: fields[name] for name in ("code", "message", "param")},
        "error": fields,
    }
    return b"event: error\ndata: " + _encode(event) + b"\n\n"


# --- what is no text ---------------------------------------------------------------------------------------------


def encode_ranking(reply: Reply, request: RerankRequest, model: str, identity: str) -> bytes:
    """A ranking, with the documents where they were asked for."""
    wanted = bool(request.options.get("return_documents"))
    results: list[dict[str, Any]] = []
    for ranked in reply.ranking:
        result: dict[str, Any] = {"index": ranked.index, "relevance_score": ranked.score}
        if wanted:
            document = request.documents[ranked.index] if ranked.document is None else ranked.document
            result["document"] = {"text": document} if isinstance(document, str) else document
        results.append(result)
    return _encode(
        {
            "id": reply.id or identity,
            "model": reply.model or model,
            "results": results,
            "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.total_tokens},
        }
    )


def encode_labels(reply: Reply, model: str, identity: str, created: int) -> bytes:
    """Labels, the best first; ``probs`` are the scores in the order of ``labels``."""
    return _encode(
        {
            "id": reply.id or identity,
            "object": "list",
            "created": created,
            "model": reply.model or model,
            "data": [_labels(index, labels) for index, labels in enumerate(reply.labels)],
            "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.total_tokens},
        }
    )


def _labels(index: int, labels: Sequence[Label]) -> dict[str, Any]:
    return {
        "index": index,
        "label": labels[0].label if labels else None,
        "labels": [label.label for label in labels],
        "probs": [label.score for label in labels],
        "num_classes": len(labels),
    }


def encode_moderations(reply: Reply, model: str, identity: str) -> bytes:
    """Verdicts."""
    return _encode(
        {
            "id": reply.id or identity,
            "model": reply.model or model,
            "results": [
                {"flagged": each.flagged, "categories": each.categories, "category_scores": each.scores}
                for each in reply.moderations
            ],
        }
    )


def encode_images(reply: Reply, created: int) -> bytes:
    """Images by URL, or as base64 where there is none."""
    data: list[dict[str, Any]] = []
    for image in reply.images:
        made: dict[str, Any] = (
            {"url": image.url} if image.url else {"b64_json": base64.b64encode(image.data).decode("ascii")}
        )
        if image.prompt:
            made["revised_prompt"] = image.prompt
        data.append(made)
    body: dict[str, Any] = {"created": created, "data": data}
    if reply.usage.reported:
        counts = reply.usage
        body["usage"] = {
            "input_tokens": counts.input_tokens,
            "output_tokens": counts.output_tokens,
            "total_tokens": counts.total_tokens,
        }
    return _encode(body)
