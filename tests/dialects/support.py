"""Calls of every operation, and answers and streams written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    CompletionRequest,
    EmbedRequest,
    ModelsRequest,
    Operation,
    RawRequest,
    ResponseRequest,
)


def chat(messages: Any = None, *, stream: bool = False, **options: Any) -> Call:
    messages = messages if messages is not None else [{"role": "user", "content": "Hello"}]
    return Call(
        operation=Operation.CHAT, request=ChatRequest("gpt-4o", messages, options), request_id="r", stream=stream
    )


def completion(prompt: Any = "Once", *, stream: bool = False, **options: Any) -> Call:
    request = CompletionRequest("gpt-3.5-turbo-instruct", prompt, options)
    return Call(operation=Operation.COMPLETION, request=request, request_id="r", stream=stream)


def response(input: Any = "Hello", *, stream: bool = False, **options: Any) -> Call:
    request = ResponseRequest("gpt-4o", input, options)
    return Call(operation=Operation.RESPONSE, request=request, request_id="r", stream=stream)


def embed(*inputs: Any, **options: Any) -> Call:
    request = EmbedRequest("text-embedding-3-small", list(inputs), options)
    return Call(operation=Operation.EMBED, request=request, request_id="r")


def models() -> Call:
    return Call(operation=Operation.MODELS, request=ModelsRequest(), request_id="r")


def raw(path: str = "/x", body: Any = None, method: str = "POST") -> Call:
    return Call(operation=Operation.RAW, request=RawRequest(path, body, method), request_id="r")


def sse(*events: Any, done: bool = True) -> bytes:
    """Events as they go on the wire: objects as JSON, texts as they are."""
    texts = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {text}\n\n" for text in (*texts, *(["[DONE]"] if done else []))).encode()


def chunk(content: str | None = None, finish: str | None = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = more.pop("delta", {} if content is None else {"content": content})
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}


def text_of(chunks: list[Chunk]) -> str:
    return "".join(each.text for each in chunks if each.index == 0)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with something else at one place."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {name: replaced(inner, tuple(rest), new) if name == key else inner for name, inner in value.items()}
    return [replaced(inner, tuple(rest), new) if at == key else inner for at, inner in enumerate(value)]
