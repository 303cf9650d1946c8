"""Calls of every operation, and answers and streams written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ipfs_accelerate_py.dialects.base import StreamDecoder
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    CompletionRequest,
    EmbedRequest,
    ModelsRequest,
    Operation,
    RawRequest,
    Reply,
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


def read(call: Call, answer: Any) -> Reply:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return OpenAIDialect().decode(call, body, {})


def message(**fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "model": "gpt-4o-2024",
        "choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


def decoder(call: Call | None = None) -> StreamDecoder:
    return OpenAIDialect().stream_decoder(call or chat(stream=True))


def play(data: bytes, call: Call | None = None, pieces: int = 0) -> tuple[list[Chunk], StreamDecoder]:
    """Feed it, in pieces of so many bytes where given, and end it."""
    made = decoder(call)
    found: list[Chunk] = []
    step = pieces or max(1, len(data))
    for at in range(0, len(data), step):
        found += made.feed(data[at : at + step])
    made.end()
    return found, made


WHOLE = sse(
    chunk(delta={"role": "assistant", "content": ""}),
    chunk("Hel"),
    chunk("lo é世界😀"),
    chunk(finish="stop"),
    {**chunk(), "choices": [], "usage": USAGE},
)


EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4o", "status": "in_progress"}},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning"}},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
    {"type": "response.output_text.delta", "output_index": 1, "delta": "lo"},
    {"type": "response.output_text.done", "output_index": 1, "text": "Hello"},
    {
        "type": "response.output_item.added",
        "output_index": 2,
        "item": {"type": "function_call", "call_id": "c1", "name": "f"},
    },
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"x":'},
    {
        "type": "response.output_item.added",
        "output_index": 3,
        "item": {"type": "function_call", "call_id": "c2", "name": "g"},
    },
    {"type": "response.function_call_arguments.delta", "output_index": 3, "delta": "{}"},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "1}"},
]
COMPLETED = {
    "type": "response.completed",
    "response": {
        "status": "completed",
        "model": "gpt-4o-2024",
        "usage": {"input_tokens": 5, "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 1}},
    },
}
