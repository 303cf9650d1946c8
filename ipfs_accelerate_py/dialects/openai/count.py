"""How many tokens a chat is, asked of a service of OpenAI's kind. Three ways, and a row says which is its own.

- ``responses``: OpenAI's ``/responses/input_tokens`` (openai.openapi.yaml), whose input is that of the Responses API;
- ``tokenize``: vLLM's ``/tokenize``, at the server's root and not under ``/v1``, which applies the chat's template;
- ``chat``: llama.cpp's ``/chat/completions/input_tokens``, which takes the chat request itself.
"""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.dialects.reading import count, name
from ipfs_accelerate_py.errors import ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, CountRequest, Reply, Usage

__all__ = ["COUNTED", "count_fields", "count_path", "read_count"]

COUNTED = ("responses", "tokenize", "chat")

#: Options of a chat that do not change how long its prompt is.
_HINTS = frozenset(
    (
        *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop", "n", "seed", "user"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "metadata", "store"),
        *("service_tier", "stream_options", "prompt_cache_key", "safety_identifier"),
    )
)


_TOOL: dict[str, Any] = {"strict": False, "parameters": {"type": "object", "properties": {}}}


def count_path(way: str, root: str) -> str:
    if way == "tokenize":
        return root + "/tokenize"
    return "/responses/input_tokens" if way == "responses" else "/chat/completions/input_tokens"


def count_fields(way: str, request: CountRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and the options that are left out of it because they have no say in the count."""
    options = {field: value for field, value in request.options.items() if field not in _HINTS}
    ignored = tuple(field for field in request.options if field in _HINTS)
    if way != "responses":
        return {"model": request.model, "messages": request.messages, **options}, ignored
    fields: dict[str, Any] = {"model": request.model, "input": _items(request.messages)}
    for field, value in options.items():
        if field == "tools":
            # Both are said, for the Responses API takes what is not said of a tool otherwise than chat does.
            fields["tools"] = [{**_TOOL, **_flat(tool)} if "function" in tool else tool for tool in value]
        elif field == "tool_choice":
            fields["tool_choice"] = _flat(value) if isinstance(value, dict) else value
        elif field == "response_format":
            fields["text"] = {"format": _format(value)}
        elif field == "reasoning_effort":
            fields["reasoning"] = {"effort": value}
        else:
            fields[field] = value
    return fields, ignored


def read_count(raw: dict[str, Any], call: Call) -> Reply:
    tokens = raw["input_tokens"] if "input_tokens" in raw else raw["count"]
    if isinstance(tokens, bool) or not isinstance(tokens, int | float):
        raise ProtocolError("the upstream's count of tokens is no number", body=raw)
    return Reply(model=name(raw.get("model")), usage=Usage(count(tokens), reported=True))


# --- a chat as items of the Responses API ------------------------------------------------------------------------


def _items(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "tool":
            call = {"type": "function_call_output", "call_id": message.get("tool_call_id")}
            items.append({**call, "output": content if isinstance(content, str) else _parts(content, "input")})
            continue
        if content:
            kind = "output" if role == "assistant" else "input"
            items.append({"role": role, "content": content if isinstance(content, str) else _parts(content, kind)})
        for made in message.get("tool_calls") or ():
            function = made.get("function") or {}
            fields = {"name": function.get("name"), "arguments": function.get("arguments")}
            items.append({"type": "function_call", "call_id": made.get("id"), **fields})
    return items


def _parts(content: Any, kind: str) -> list[dict[str, Any]]:
    return [_part(part, kind) for part in content or ()]


def _part(part: dict[str, Any], kind: str) -> dict[str, Any]:
    what = part.get("type")
    if what == "text":
        return {"type": f"{kind}_text", "text": part.get("text")}
    if what == "refusal":
        return {"type": "refusal", "refusal": part.get("refusal")}
    if what == "image_url":
        image = part.get("image_url") or {}
        return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail") or "auto"}
    if what == "file":
        return {"type": "input_file", **(part.get("file") or {})}
    raise UnsupportedOperation(f"OpenAI counts the tokens of no {what!r} in a message")


def _flat(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool, or the choice of one, as the Responses API has it: without a ``function`` around it."""
    function = tool.get("function")
    return {"type": tool.get("type"), **function} if isinstance(function, dict) else tool


def _format(wanted: Any) -> Any:
    schema = wanted.get("json_schema") if isinstance(wanted, dict) else None
    return {"type": "json_schema", **schema} if isinstance(schema, dict) else wanted
