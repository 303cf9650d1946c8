"""What can be asked of an endpoint: which verb of the client a task is, and its answer as a plain dictionary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.plain_results import as_plain
from ipfs_accelerate_py.runtimes.families.tasks import TASKS as HUGGING_FACE
from ipfs_accelerate_py.runtimes.families.tasks import find_task
from ipfs_accelerate_py.types import Reply

__all__ = ["TASKS", "check_task", "default_task", "perform"]

Ask = Callable[[AsyncClient, str, Any, dict[str, Any]], Awaitable[Reply]]


def default_task(service: str) -> str:
    """The task of an endpoint that names none; on this machine it is the model's own, which is written as ""."""
    return {"hf_tei": "embedding", "local": ""}.get(service, "chat")


def check_task(task: str, service: str) -> None:
    """Refuse a task that there is not: one of `TASKS`, or on this machine any of Hugging Face's."""
    if task in TASKS or (service == "local" and (not task or find_task(task) is not None)):
        return
    more = f", and of models on this machine: {', '.join(HUGGING_FACE)}" if service == "local" else ""
    raise ConfigurationError(f"there is no task {task!r}; the tasks are: {', '.join(TASKS)}{more}")


async def perform(client: AsyncClient, task: str, model: str, data: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Ask, and give the answer. Raises the client's own errors; nothing is made up where there is none."""
    check_task(task, client.backend)
    if not task and _conversing(data):
        task = "chat"
    ask, show = TASKS[task] if task in TASKS else (_running(task), _results)
    reply = await ask(client, model, data, options)
    return {**show(reply, data), **_common(reply, model)}


def _common(reply: Reply, model: str) -> dict[str, Any]:
    usage = reply.usage
    return {
        "model": reply.model or model,
        "backend": reply.backend,
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        }
        if usage.reported
        else {},
        "request_id": reply.request_id,
        "attempts": reply.attempts,
        "api_key_name": reply.key_name,
        "raw": reply.raw,
    }


# --- what is asked -----------------------------------------------------------------------------------------------


async def _chat(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    if isinstance(data, Mapping) and "role" not in data:  # a chat request's body
        options = {**{name: value for name, value in data.items() if name not in ("messages", "prompt")}, **options}
        data = data.get("messages", data.get("prompt", ""))
    return await client.chat(model, [dict(data)] if isinstance(data, Mapping) else data, **options)


async def _completion(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.complete(model, data, **options)


async def _embedding(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.embed(model, data, **options)


async def _rerank(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    if not isinstance(data, Mapping) or not {"query", "documents"} <= data.keys():
        raise ConfigurationError('reranking takes {"query": ..., "documents": [...]}')
    rest = {name: value for name, value in data.items() if name not in ("query", "documents")}
    return await client.rerank(model, data["query"], data["documents"], **{**rest, **options})


async def _classification(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.classify(model, data, **options)


async def _moderation(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.moderate(model, data, **options)


async def _transcription(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.transcribe(model, data, **options)


async def _speech(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.speak(model, data, **options)


async def _image(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
    return await client.generate_images(model, data, **options)


def _running(task: str) -> Ask:
    async def run(client: AsyncClient, model: str, data: Any, options: dict[str, Any]) -> Reply:
        return await client.run(model, data, task=task, **options)

    return run


def _conversing(data: Any) -> bool:
    """Whether it is a conversation: messages, or a chat request's body."""
    messages = data.get("messages") if isinstance(data, Mapping) else data
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], Mapping) and "role" in messages[0]


# --- how it is answered ------------------------------------------------------------------------------------------


def _text(reply: Reply, data: Any) -> dict[str, Any]:
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "tool_calls": [call.as_dict() for call in reply.tool_calls],
        "reasoning": reply.reasoning,
        "refusal": reply.refusal,
    }


def _vectors(reply: Reply, data: Any) -> dict[str, Any]:
    return {"embedding": reply.vectors[0] if isinstance(data, str) else reply.vectors, "embeddings": reply.vectors}


def _ranking(reply: Reply, data: Any) -> dict[str, Any]:
    documents = data["documents"]
    return {
        "results": [
            {"index": each.index, "score": each.score, "document": documents[each.index]} for each in reply.ranking
        ]
    }


def _labels(reply: Reply, data: Any) -> dict[str, Any]:
    return {"labels": [[{"label": each.label, "score": each.score} for each in labels] for labels in reply.labels]}


def _verdicts(reply: Reply, data: Any) -> dict[str, Any]:
    results = [
        {"flagged": each.flagged, "categories": each.categories, "category_scores": each.scores}
        for each in reply.moderations
    ]
    return {"flagged": any(each.flagged for each in reply.moderations), "results": results}


def _transcript(reply: Reply, data: Any) -> dict[str, Any]:
    segments = [{"start": each.start, "end": each.end, "text": each.text} for each in reply.segments]
    return {"text": reply.text, "segments": segments}


def _recording(reply: Reply, data: Any) -> dict[str, Any]:
    return {"audio": reply.body, "content_type": reply.content_type}


def _images(reply: Reply, data: Any) -> dict[str, Any]:
    return {"urls": [image.url for image in reply.images], "images": [image.data for image in reply.images]}


def _results(reply: Reply, data: Any) -> dict[str, Any]:
    """The result's fields; of several inputs, a list of each, in order. ``results`` has one dictionary per input."""
    results = [as_plain(each) for each in reply.results]
    if not isinstance(data, list):
        return {**results[0], "results": results}
    names = dict.fromkeys(name for each in results for name in each)
    return {**{name: [each.get(name) for each in results] for name in names}, "results": results}


TASKS: Mapping[str, tuple[Ask, Callable[[Reply, Any], dict[str, Any]]]] = {
    "chat": (_chat, _text),
    "completion": (_completion, _text),
    "embedding": (_embedding, _vectors),
    "rerank": (_rerank, _ranking),
    "classification": (_classification, _labels),
    "moderation": (_moderation, _verdicts),
    "transcription": (_transcription, _transcript),
    "speech": (_speech, _recording),
    "image": (_image, _images),
}
