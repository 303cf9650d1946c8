"""Calls, answers and streams of Anthropic's format, and the judgement of Anthropic's own types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pydantic
from anthropic.types import message_count_tokens_params, message_create_params

from ipfs_accelerate_py.dialects.anthropic.dialect import AnthropicDialect
from ipfs_accelerate_py.dialects.base import StreamDecoder, WireRequest
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, CountRequest, ModelsRequest, Operation, Reply

MODEL = "claude-haiku-4-5"
#: Of the API's version that we ask for; the newest client has types for a newer one, which leaves them out.
_OLDER = ("temperature", "top_p", "top_k")


def chat(messages: Any = "Hello", *, model: str = MODEL, stream: bool = False, **options: Any) -> Call:
    messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    request = ChatRequest(model, messages, options)
    return Call(operation=Operation.CHAT, request=request, request_id="req_1", stream=stream)


def counting(messages: Any = "Hello", **options: Any) -> Call:
    messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return Call(operation=Operation.COUNT, request=CountRequest(MODEL, messages, options), request_id="req_1")


def listing(**options: Any) -> Call:
    return Call(operation=Operation.MODELS, request=ModelsRequest(options=options), request_id="req_1")


def wire(call: Call, **settings: Any) -> WireRequest:
    return AnthropicDialect(**settings).encode(call)


def sent(call: Call, **settings: Any) -> dict[str, Any]:
    """The body that a call is sent with, which Anthropic's own types must accept."""
    body: dict[str, Any] = json.loads(wire(call, **settings).body or b"{}")
    judge(body, counting=call.operation is Operation.COUNT)
    return body


def turns(*messages: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = sent(chat(list(messages), **options))["messages"]
    return made


# --- Anthropic's own types ---------------------------------------------------------------------------------------


@cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def judge(body: dict[str, Any], *, counting: bool = False) -> None:
    """Hold a request's body against the types of Anthropic's client: nothing missing, nothing wrong, nothing more."""
    if counting:
        kind: Any = message_count_tokens_params.MessageCountTokensParams
    elif body.get("stream"):
        kind = message_create_params.MessageCreateParamsStreaming
    else:
        kind = message_create_params.MessageCreateParamsNonStreaming
    older = () if counting else _OLDER
    known = {name: value for name, value in body.items() if name not in older}
    _force(_adapter(kind).validate_python(known, extra="forbid"))


def _force(value: Any) -> None:
    """Lists are checked as they are read."""
    if isinstance(value, dict):
        for inner in value.values():
            _force(inner)
    elif not isinstance(value, str | bytes | int | float | pydantic.BaseModel | None):
        for inner in value:
            _force(inner)


# --- answers -----------------------------------------------------------------------------------------------------

USAGE = {
    "input_tokens": 9,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 4},
}
THINKING = {"type": "thinking", "thinking": "Hm. So.", "signature": "sig=="}
REDACTED = {"type": "redacted_thinking", "data": "enc=="}


def message(*content: Any, stop_reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001"}
    return {**head, "content": blocks, "stop_reason": stop_reason, "stop_sequence": None, "usage": USAGE, **more}


def read(answer: Any, call: Call | None = None) -> Reply:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return AnthropicDialect().decode(call or chat(), body, {})


# --- streams -----------------------------------------------------------------------------------------------------


def events(*given: dict[str, Any]) -> bytes:
    return b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in given)


def start(**usage: int) -> dict[str, Any]:
    counts = {"input_tokens": 9, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 30, "output_tokens": 1}
    return {"type": "message_start", "message": message(stop_reason=None, usage={**counts, **usage})}


def block(index: int, given: dict[str, Any], *deltas: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "content_block_start", "index": index, "content_block": given}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def text(index: int, *pieces: str) -> Iterator[dict[str, Any]]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": each} for each in pieces))


def thought(index: int, *pieces: str, signature: str = "sig==") -> Iterator[dict[str, Any]]:
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        *({"type": "thinking_delta", "thinking": each} for each in pieces),
        {"type": "signature_delta", "signature": signature},
    )


def tool(index: int, identity: str, name: str, *pieces: str) -> Iterator[dict[str, Any]]:
    given = {"type": "tool_use", "id": identity, "name": name, "input": {}}
    return block(index, given, *({"type": "input_json_delta", "partial_json": each} for each in pieces))


def ending(reason: str = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    counts = {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 4}, **usage}
    delta = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": counts}
    return [delta, {"type": "message_stop"}]


PING = {"type": "ping"}
WHOLE = events(
    start(),
    PING,
    *thought(0, "Hm. ", "So."),
    *block(1, REDACTED),
    *text(2, "Hel", "lo é世界😀"),
    *tool(3, "toolu_1", "f", '{"x":', "1}"),
    *tool(4, "toolu_2", "g"),
    *ending("tool_use"),
)


def decoder() -> StreamDecoder:
    return AnthropicDialect().stream_decoder(chat(stream=True))


def play(data: bytes, pieces: int = 0) -> tuple[list[Chunk], StreamDecoder]:
    """Feed it, in pieces of so many bytes where given, and end it."""
    made = decoder()
    found: list[Chunk] = []
    step = pieces or max(1, len(data))
    for at in range(0, len(data), step):
        found += made.feed(data[at : at + step])
    made.end()
    return found, made
