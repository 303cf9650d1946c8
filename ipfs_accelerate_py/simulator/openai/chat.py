"""``/chat/completions``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, say
from ipfs_accelerate_py.simulator.text import unit
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .checks import (
    Rules,
    a_boolean,
    a_number,
    a_string,
    an_array,
    an_integer,
    an_object,
    body_of,
    check,
    missing,
    model_of,
    one_of,
    refuse,
)
from .common import (
    FINGERPRINT,
    chosen_tools,
    content_tokens,
    created,
    is_reasoning,
    new_id,
    stops,
    text_of,
    usage,
)

__all__ = ["DONE", "answer", "logprob", "prompt_tokens", "schema_of"]

DONE: Final = Event(b"[DONE]", last=True)
_encode = msgspec.json.Encoder().encode

_RULES: Final[Rules] = {
    "frequency_penalty": a_number(-2, 2),
    "logit_bias": an_object,
    "logprobs": a_boolean,
    "max_completion_tokens": an_integer(1),
    "max_tokens": an_integer(1),
    "messages": an_array,
    "metadata": an_object,
    "n": an_integer(1, 128),
    "parallel_tool_calls": a_boolean,
    "presence_penalty": a_number(-2, 2),
    "reasoning_effort": a_string,
    "response_format": an_object,
    "seed": an_integer(),
    "stream": a_boolean,
    "stream_options": an_object,
    "temperature": a_number(0, 2),
    "top_logprobs": an_integer(0, 20),
    "top_p": a_number(0, 1),
    "user": a_string,
}
_role = one_of("system", "assistant", "user", "function", "tool", "developer")
_part = one_of("text", "image_url", "input_audio", "refusal", "audio", "file")
_PARTS: Final = {
    "text": a_string,
    "image_url": an_object,
    "input_audio": an_object,
    "file": an_object,
    "refusal": a_string,
}


def prompt_tokens(body: dict[str, Any]) -> int:
    """Tokens of the prompt: the texts, four for each message and three for the answer to come."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return 0
    return 3 + sum(4 + content_tokens(message.get("content")) for message in messages if isinstance(message, dict))


def answer(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model = model_of(body, settings)
    check(body, _RULES)
    messages = body.get("messages")
    if messages is None:
        missing("messages")
    _check_messages(messages)
    stream = body.get("stream") is True
    if body.get("stream_options") is not None and not stream:
        refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        refuse("'top_logprobs' is only allowed when 'logprobs' is enabled.", "top_logprobs")
    last = messages[-1]
    tools = chosen_tools(body, text_of(last.get("content")) if last["role"] == "user" else None, nested=True)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    schema = schema_of(body.get("response_format"), messages)
    source = _encode(messages)
    stop = stops("stop", body.get("stop"))
    reasoning = is_reasoning(model) and body.get("reasoning_effort") != "none"
    said = [
        say(
            source if index == 0 else b"%d:" % index + source,
            settings,
            body,
            limit=limit,
            stop=stop,
            tools=tools,
            schema=schema,
            reasoning=reasoning,
        )
        for index in range(body.get("n") or 1)
    ]
    used = usage(prompt_tokens(body), said)
    if stream:
        events = _events(body, model, said, used)
        return Answer(content_type="text/event-stream; charset=utf-8", events=events, model=model, usage=used)
    made = {
        "model": model,
        "choices": [_choice(body, index, one) for index, one in enumerate(said)],
        "usage": used,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }
    rest = _encode(made)[1:]

    def renew() -> bytes:
        name = new_id("chatcmpl-").encode()
        return b'{"id":"%b","object":"chat.completion","created":%d,%b' % (name, created(), rest)

    # Calls have ids too, which must not come twice, and a function may reply differently the next time.
    again = None if tools or callable(settings.reply) else renew
    return Answer(body=renew(), renew=again, model=model, usage=used)


def _check_messages(messages: list[Any]) -> None:
    if not messages:
        refuse(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        an_object(param, message)
        role = message.get("role")
        if role is None:
            missing(f"{param}.role")
        _role(f"{param}.role", role)
        content = message.get("content")
        if content is None:
            if role != "assistant":
                missing(f"{param}.content")
        elif isinstance(content, list):
            _check_parts(f"{param}.content", content)
        elif not isinstance(content, str):
            refuse(
                f"Invalid type for '{param}.content': expected one of a string or array of objects, but got "
                f"{'an object' if isinstance(content, dict) else 'something else'} instead.",
                f"{param}.content",
                "invalid_type",
            )
        if role == "tool" and message.get("tool_call_id") is None:
            missing(f"{param}.tool_call_id")


def _check_parts(param: str, parts: list[Any]) -> None:
    for index, part in enumerate(parts):
        place = f"{param}[{index}]"
        an_object(place, part)
        kind = part.get("type")
        if kind is None:
            missing(f"{place}.type")
        _part(f"{place}.type", kind)
        if kind in _PARTS:
            if part.get(kind) is None:
                missing(f"{place}.{kind}")
            _PARTS[kind](f"{place}.{kind}", part[kind])


def schema_of(wanted: Any, messages: list[Any]) -> Any:
    """The JSON schema that the answer must satisfy, or None for plain text."""
    if wanted is None:
        return None
    kind = wanted.get("type")
    if kind is None:
        missing("response_format.type")
    one_of("json_object", "json_schema", "text")("response_format.type", kind)
    if kind == "text":
        return None
    if kind == "json_object":
        if not any("json" in text_of(message.get("content")).lower() for message in messages):
            refuse(
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
                "messages",
            )
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    given = wanted.get("json_schema")
    if given is None:
        missing("response_format.json_schema")
    an_object("response_format.json_schema", given)
    if given.get("name") is None:
        missing("response_format.json_schema.name")
    schema = given.get("schema") or {}
    an_object("response_format.json_schema.schema", schema)
    return schema


def logprob(token: str, top: int) -> dict[str, Any]:
    """One token's entry under ``logprobs``; the numbers are made up, and fall from the best to the worst."""
    best = -unit(token.encode())

    def entry(text: str, value: float) -> dict[str, Any]:
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    others = [entry(token if rank == 0 else f"{token}~{rank}", best - rank) for rank in range(top)]
    return {**entry(token, best), "top_logprobs": others}


def _finish(said: Said) -> str:
    return "tool_calls" if said.calls else "length" if said.cut else "stop"


def _choice(body: dict[str, Any], index: int, said: Said) -> dict[str, Any]:
    text = "".join(said.tokens)
    message: dict[str, Any] = {"role": "assistant", "content": None if said.calls else text, "refusal": None}
    if said.reasoning:
        message["reasoning_content"] = "".join(said.reasoning)
    if said.calls:
        message["tool_calls"] = [
            {
                "id": new_id("call_"),
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for call in said.calls
        ]
    message["annotations"] = []
    logprobs = None
    if body.get("logprobs"):
        top = body.get("top_logprobs") or 0
        logprobs = {"content": [logprob(token, top) for token in said.tokens], "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": _finish(said)}


def _events(body: dict[str, Any], model: str, said: list[Said], used: dict[str, Any]) -> Iterator[StreamItem]:
    options = body.get("stream_options") or {}
    with_usage = bool(options.get("include_usage"))
    # A chunk is mostly the same bytes as the one before, so only what changes is encoded.
    start = _encode(
        {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": created(),
            "model": model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )
    start = start[:-1] + b',"choices":['
    end = b'],"usage":null}' if with_usage else b"]}"

    def chunk(index: int, delta: bytes, finish: bytes = b"null", logprobs: bytes = b"null", tokens: int = 0) -> Event:
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (index, delta, logprobs, finish)
        return Event(start + choice + end, tokens=tokens)

    top = body.get("top_logprobs") or 0
    for index, one in enumerate(said):
        yield chunk(index, b'{"role":"assistant","content":%b,"refusal":null}' % (b"null" if one.calls else b'""'))
        for token in one.reasoning:
            yield chunk(index, b'{"reasoning_content":%b}' % _encode(token), tokens=1)
        for token in one.tokens:
            logprobs = _encode({"content": [logprob(token, top)], "refusal": None}) if body.get("logprobs") else b"null"
            yield chunk(index, b'{"content":%b}' % _encode(token), logprobs=logprobs, tokens=1)
        for number, call in enumerate(one.calls):
            first = {
                "index": number,
                "id": new_id("call_"),
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            yield chunk(index, _encode({"tool_calls": [first]}), tokens=1)
            for piece in call.arguments:
                yield chunk(
                    index, _encode({"tool_calls": [{"index": number, "function": {"arguments": piece}}]}), tokens=1
                )
        yield chunk(index, b"{}", finish=_encode(_finish(one)))
    if with_usage:
        yield Event(start + b'],"usage":' + _encode(used) + b"}")
    yield DONE
