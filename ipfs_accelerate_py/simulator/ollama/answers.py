"""``/api/chat`` and ``/api/generate``."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, Tool, say
from ipfs_accelerate_py.simulator.text import count_tokens, unit
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .checks import body_of, check, check_options, model_of, refuse, think_of

__all__ = ["chat", "generate", "lines", "now", "prompt_tokens", "thinks"]

_encode = msgspec.json.Encoder().encode
_THINKING: Final = re.compile(r"qwen3|deepseek-r1|gpt-oss|magistral|think|reason", re.IGNORECASE)
#: Tokens charged for an image.
_IMAGE_TOKENS: Final = 256
_JSON: Final = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
_COMMON: Final[dict[str, Any]] = {
    "model": ("string", str),
    "stream": ("bool", bool),
    "logprobs": ("bool", bool),
    "top_logprobs": ("int", int),
    "options": ("map[string]interface {}", dict),
}
_CHAT: Final = {**_COMMON, "messages": ("[]api.Message", list), "tools": ("api.Tools", list)}
_GENERATE: Final = {
    **_COMMON,
    "prompt": ("string", str),
    "suffix": ("string", str),
    "system": ("string", str),
    "template": ("string", str),
    "raw": ("bool", bool),
    "images": ("[]api.ImageData", list),
}


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def thinks(model: str) -> bool:
    """Whether a model of this name thinks first."""
    return _THINKING.search(model) is not None


def lines(events: Iterator[StreamItem]) -> Answer:
    """A stream of JSON lines."""
    return Answer(content_type="application/x-ndjson", events=events, encode=lambda event: event.data + b"\n")


def prompt_tokens(body: dict[str, Any]) -> int:
    """Tokens of the prompt: the texts, and four for each message."""
    total = sum(count_tokens(body[name]) for name in ("prompt", "system", "suffix") if isinstance(body.get(name), str))
    total += len(body.get("images") or ()) * _IMAGE_TOKENS if isinstance(body.get("images"), list) else 0
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            text, images = message.get("content"), message.get("images")
            total += 4 + (count_tokens(text) if isinstance(text, str) else 0)
            total += len(images) * _IMAGE_TOKENS if isinstance(images, list) else 0
    return total


def chat(request: Request, settings: Settings, pulled: set[str]) -> Answer:
    body = body_of(request)
    check(body, _CHAT, "ChatRequest")
    model = model_of(body, settings, pulled)
    messages = body.get("messages") or []
    for message in messages:
        _check_message(message)
    if not messages:
        return _loaded(body, model, {"message": {"role": "assistant", "content": ""}})
    last = messages[-1]
    asked = last.get("content") or "" if last.get("role") == "user" else ""
    said = _say(body, model, settings, _encode(messages), _tools(body.get("tools") or [], asked))
    return _answer(body, model, said, chatting=True)


def generate(request: Request, settings: Settings, pulled: set[str]) -> Answer:
    body = body_of(request)
    check(body, _GENERATE, "GenerateRequest")
    model = model_of(body, settings, pulled)
    if body.get("raw") and (body.get("template") or body.get("system") or body.get("context")):
        refuse("raw mode does not support template, system, or context")
    _check_images(body.get("images") or [])
    prompt = body.get("prompt") or ""
    if not prompt and not body.get("suffix"):
        return _loaded(body, model, {"response": ""})
    source = _encode([body.get("system"), prompt, body.get("suffix"), body.get("images")])
    return _answer(body, model, _say(body, model, settings, source, ()), chatting=False)


def _check_message(message: Any) -> None:
    if not isinstance(message, dict):
        refuse("json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
    role = message.get("role")
    if role not in ("system", "user", "assistant", "tool"):
        refuse(f"invalid role: {role}")
    if not isinstance(message.get("content", ""), str | None):
        refuse("json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string")
    _check_images(message.get("images") or [])
    for call in message.get("tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("arguments", {}), dict):
            refuse(
                "json: cannot unmarshal string into Go struct field "
                "ChatRequest.messages.tool_calls.function.arguments of type api.ToolCallFunctionArguments"
            )


def _check_images(images: list[Any]) -> None:
    for image in images:
        try:
            base64.b64decode(image, validate=True)
        except (binascii.Error, TypeError, ValueError):
            refuse("illegal base64 data at input byte 4")


def _tools(given: list[Any], asked: str) -> list[Tool]:
    """The tools that are called: those the user names, or all where the user speaks of tools."""
    tools = []
    for item in given:
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            refuse("json: cannot unmarshal into Go struct field ChatRequest.tools of type api.ToolFunction")
        tools.append(Tool(function["name"], function.get("parameters") or {}))
    named = [tool for tool in tools if tool.name in asked]
    return named or (tools if "tool" in asked.lower() else [])


def _say(body: dict[str, Any], model: str, settings: Settings, source: bytes, tools: Sequence[Tool]) -> Said:
    options = check_options(body)
    wanted = body.get("format")
    if wanted in (None, ""):
        schema = None
    elif wanted == "json":
        schema = _JSON
    elif isinstance(wanted, dict):
        schema = wanted
    else:
        refuse(f'invalid format: {_encode(wanted).decode()}; expected "json" or a valid JSON Schema object')
    limit = options.get("num_predict")
    return say(
        source,
        settings,
        body,
        limit=limit if limit is not None and limit >= 0 else None,
        stop=options.get("stop") or (),
        tools=tools,
        schema=schema,
        reasoning=think_of(body, model, thinks=thinks(model)),
    )


def _loaded(body: dict[str, Any], model: str, empty: dict[str, Any]) -> Answer:
    """No prompt: the model is loaded, or with ``keep_alive`` 0 let go of."""
    reason = "unload" if body.get("keep_alive") in (0, "0") else "load"
    return Answer(body=_encode({"model": model, "created_at": now(), **empty, "done": True, "done_reason": reason}))


def _answer(body: dict[str, Any], model: str, said: Said, *, chatting: bool) -> Answer:
    used = _used(body, said)
    if body.get("stream") is not False:
        return lines(_events(body, model, said, used, chatting))
    calls = _calls(said)
    whole = _content("".join(said.tokens), "".join(said.reasoning), calls, chatting)
    if body.get("logprobs"):
        whole["logprobs"] = [_logprob(token, body.get("top_logprobs") or 0) for token in said.tokens]
    return Answer(body=_encode({"model": model, "created_at": now(), **whole, **used}))


def _used(body: dict[str, Any], said: Said) -> dict[str, Any]:
    prompt = prompt_tokens(body)
    return {
        "done": True,
        "done_reason": "length" if said.cut else "stop",
        "total_duration": 1_000_000 * (prompt + said.count + 1),
        "load_duration": 1_000_000,
        "prompt_eval_count": prompt,
        "prompt_eval_duration": 1_000_000 * prompt,
        "eval_count": said.count,
        "eval_duration": 1_000_000 * said.count,
    }


def _content(text: str, thinking: str, calls: list[dict[str, Any]], chatting: bool) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": text} if chatting else {"response": text}
    if thinking:
        said["thinking"] = thinking
    if calls:
        said["tool_calls"] = calls
    return {"message": said} if chatting else said


def _calls(said: Said) -> list[dict[str, Any]]:
    return [
        {"function": {"name": call.name, "arguments": msgspec.json.decode("".join(call.arguments))}}
        for call in said.calls
    ]


def _events(body: dict[str, Any], model: str, said: Said, used: dict[str, Any], chatting: bool) -> Iterator[StreamItem]:
    head = {"model": model, "created_at": now()}

    def line(text: str = "", thinking: str = "", calls: Sequence[Any] = (), **more: Any) -> bytes:
        return _encode({**head, **_content(text, thinking, list(calls), chatting), **more})

    for token in said.reasoning:
        yield Event(line(thinking=token, done=False), tokens=1)
    for token in said.tokens:
        more: dict[str, Any] = (
            {"logprobs": [_logprob(token, body.get("top_logprobs") or 0)]} if body.get("logprobs") else {}
        )
        yield Event(line(token, done=False, **more), tokens=1)
    for call in _calls(said):
        yield Event(line(calls=[call], done=False), tokens=1)
    yield Event(line(**used))


def _logprob(token: str, top: int) -> dict[str, Any]:
    """One token's entry under ``logprobs``; the numbers are made up, and fall from the best to the worst."""
    best = -unit(token.encode())

    def entry(text: str, value: float) -> dict[str, Any]:
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    made = entry(token, best)
    if top:
        made["top_logprobs"] = [entry(token if rank == 0 else f"{token}~{rank}", best - rank) for rank in range(top)]
    return made
