"""A request in Anthropic's format in the words of the vocabulary, for a target of another format. Pure.

What the vocabulary has a word for is carried, marks for the cache, signed reasoning and settings of citations among
them; what it has none for (tools that Anthropic runs itself, their results, containers) is refused by its name.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from ipfs_accelerate_py.dialects.anthropic.answers import SIGNED
from ipfs_accelerate_py.dialects.leftover import unread
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import Message

__all__ = ["as_vocabulary"]

Part = dict[str, Any]

_encode = msgspec.json.Encoder().encode
#: They cannot change the answer, and no other service has them.
_HINTS = ("cache_control", "diagnostics", "speed")
#: The same by either's name.
_SAME = ("max_tokens", "temperature", "top_p", "top_k")


class Said(NamedTuple):
    """``ignored`` names what no answer depends on, and ``places`` tells where in the body each message was."""

    messages: list[Message]
    options: dict[str, Any]
    ignored: tuple[str, ...]
    places: tuple[str, ...]


def as_vocabulary(body: dict[str, Any]) -> Said:
    """Messages and options of a body that has passed the check."""
    given = {name: value for name, value in body.items() if value is not None and name not in ("model", "stream")}
    ignored = [name for name in _HINTS if given.pop(name, None) is not None]
    messages: list[Message] = []
    system = given.pop("system", None)
    if system:
        messages.append({"role": "system", "content": _content(system, "system")})
    places = ["system"] if system else []
    for index, message in enumerate(given.pop("messages")):
        where = f"messages.{index}.content"
        if message["role"] == "assistant":
            messages.append(_assistant(message["content"], where))
        elif message["role"] == "system":
            messages.append({"role": "system", "content": _content(message["content"], where)})
        else:
            messages += _user(message["content"], where)
        places += [f"messages.{index}"] * (len(messages) - len(places))
    options = {name: given.pop(name) for name in _SAME if name in given}
    if stop := given.pop("stop_sequences", None):
        options["stop"] = stop
    metadata = given.pop("metadata", None) or {}
    if user := metadata.get("user_id"):
        options["user"] = user
    ignored += [f"metadata.{name}" for name in unread(metadata, ("user_id",))]
    if tier := given.pop("service_tier", None):
        options["service_tier"] = "default" if tier == "standard_only" else tier
    _tools(given, options, ignored)
    _reasoning_and_output(given, options, ignored)
    if given:
        raise _refused(min(given), "it has no counterpart in the format of the backend that serves this model")
    return Said(messages, options, tuple(dict.fromkeys(ignored)), tuple(places))


def _refused(where: str, why: str) -> InvalidRequest:
    return bad_request(f"{where}: {why}", "unsupported_parameter", where)


# --- messages ----------------------------------------------------------------------------------------------------


def _content(content: Any, where: str) -> str | list[Part]:
    """A content that has parts only."""
    if isinstance(content, str):
        return content
    return _shortened([_part(block, f"{where}.{index}") for index, block in enumerate(content)])


def _shortened(parts: list[Part]) -> str | list[Part]:
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _user(content: Any, where: str) -> Iterable[Message]:
    """Results of tools are messages of their own; what stands between and after them is the user's."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    made: list[Message] = []
    parts: list[Part] = []

    def flush() -> None:
        if parts:
            made.append({"role": "user", "content": _shortened(parts[:])})
            parts.clear()

    for index, block in enumerate(content):
        place = f"{where}.{index}"
        if block["type"] != "tool_result":
            parts.append(_part(block, place))
            continue
        flush()
        identity = block.get("tool_use_id")
        if not isinstance(identity, str):
            raise bad_request(f"{place}.tool_use_id: Field required", "missing_required_parameter", place)
        result: Message = {"role": "tool", "tool_call_id": identity, "content": ""}
        if block.get("content"):
            result["content"] = _content(_blocks(block["content"], f"{place}.content"), f"{place}.content")
        for name in ("is_error", "cache_control"):
            if block.get(name):
                result[name] = block[name]
        _all_read(block, ("type", "tool_use_id", "content", "is_error", "cache_control"), place)
        made.append(result)
    flush()
    return made


def _all_read(block: dict[str, Any], read: tuple[str, ...], where: str) -> None:
    for name in unread(block, read):
        raise _refused(f"{where}.{name}", "it has no counterpart in the format of this model's backend")


def _blocks(content: Any, where: str) -> Any:
    """A content inside a block, which the check has not looked into."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(each, dict) and "type" in each for each in content):
        raise bad_request(f"{where}: Input should be a valid string or list of blocks", "invalid_type", where)
    return content


def _assistant(content: Any, where: str) -> Message:
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    parts: list[Part] = []
    signed: list[Part] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(content):
        kind = block["type"]
        if kind in SIGNED:
            reasoning.append(block.get("thinking") or "")
            if block.get("signature") or block.get("data"):
                signed.append(block)  # one that nobody signed is only text, and came from another service
        elif kind == "tool_use":
            calls.append(_call(block, f"{where}.{index}"))
        else:
            parts.append(_part(block, f"{where}.{index}"))
    message: Message = {"role": "assistant", "content": _shortened(parts) if parts else None if calls else ""}
    if any(reasoning):
        message["reasoning_content"] = "".join(reasoning)
    if signed:
        message["thinking_blocks"] = signed
    if calls:
        message["tool_calls"] = calls
    return message


def _call(block: dict[str, Any], where: str) -> dict[str, Any]:
    name, identity, given = block.get("name"), block.get("id"), block.get("input")
    if not isinstance(name, str) or not isinstance(identity, str) or not isinstance(given, dict):
        raise bad_request(f"{where}: a tool_use has an id, a name, and an object as its input", "invalid_type", where)
    if (caller := block.get("caller")) and (not isinstance(caller, dict) or caller.get("type") != "direct"):
        raise _refused(f"{where}.caller", "here the model calls tools itself")
    _all_read(block, ("type", "id", "name", "input", "cache_control", "caller"), where)
    call: dict[str, Any] = {
        "id": identity,
        "type": "function",
        "function": {"name": name, "arguments": _encode(given).decode()},
    }
    if block.get("cache_control"):
        call["cache_control"] = block["cache_control"]
    return call


def _part(block: dict[str, Any], where: str) -> Part:
    kind = block["type"]
    beside = {name: value for name, value in block.items() if name not in ("type", "source") and value is not None}
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise bad_request(f"{where}.text: Field required", "missing_required_parameter", where)
        return {"type": "text", **beside}
    if kind not in ("image", "document"):
        raise _refused(where, f"blocks of type {kind!r} have no counterpart in the format of this model's backend")
    source = block.get("source")
    if not isinstance(source, dict):
        raise bad_request(f"{where}.source: Field required", "missing_required_parameter", where)
    if kind == "image":
        _all_read(block, ("type", "source", "cache_control"), where)
        return {"type": "image_url", "image_url": {"url": _address(source, f"{where}.source")}, **beside}
    file: dict[str, Any] = {}
    if source.get("type") == "file":
        file["file_id"] = source.get("file_id")
    elif source.get("type") == "url":
        file["file_url"] = _address(source, f"{where}.source")
    else:
        file["file_data"] = _address(source, f"{where}.source")
    if title := beside.pop("title", None):
        file["filename"] = title
    return {"type": "file", "file": file, **beside}


def _address(source: dict[str, Any], where: str) -> str:
    """A source as a URL; what is in the request itself as a data URL."""
    kind, data, media = source.get("type"), source.get("data"), source.get("media_type")
    if kind == "url" and isinstance(source.get("url"), str):
        return str(source["url"])
    if kind == "base64" and isinstance(data, str) and isinstance(media, str):
        return f"data:{media};base64,{data}"
    if kind == "text" and isinstance(data, str):
        return f"data:text/plain;base64,{base64.b64encode(data.encode()).decode('ascii')}"
    raise _refused(where, f"a source of type {kind!r} has no counterpart in the format of this model's backend")


# --- options -----------------------------------------------------------------------------------------------------


def _tools(given: dict[str, Any], options: dict[str, Any], ignored: list[str]) -> None:
    tools = given.pop("tools", None)
    choice = given.pop("tool_choice", None)
    if tools:
        options["tools"] = [_tool(tool, f"tools.{index}", ignored) for index, tool in enumerate(tools)]
    if choice is None:
        return
    kind = choice["type"]
    words = {"auto": "auto", "none": "none", "any": "required"}
    if kind == "tool" and choice.get("name"):
        options["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    elif kind in words:
        options["tool_choice"] = words[kind]
    else:
        raise bad_request(
            "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'", "invalid_value", "tool_choice"
        )
    if choice.get("disable_parallel_tool_use"):
        options["parallel_tool_calls"] = False


#: Members of a tool that are carried; ``allowed_callers`` as far as it says nothing special.
_OF_TOOLS = ("type", "name", "description", "input_schema", "strict", "cache_control", "eager_input_streaming")


def _tool(tool: dict[str, Any], where: str, ignored: list[str]) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise _refused(
            where, f"the tool {tool['type']!r} is run by Anthropic's service, which does not serve this model"
        )
    if not tool.get("name") or tool.get("input_schema") is None:
        raise bad_request(f"{where}: a tool has a name and an input_schema", "missing_required_parameter", where)
    direct = tool.get("allowed_callers") == ["direct"]
    _all_read(tool, (*_OF_TOOLS, "allowed_callers") if direct else _OF_TOOLS, where)
    if tool.get("eager_input_streaming"):  # how soon the arguments' pieces come
        ignored.append("tools.eager_input_streaming")
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    for name in ("description", "strict"):
        if tool.get(name):
            function[name] = tool[name]
    made: dict[str, Any] = {"type": "function", "function": function}
    if tool.get("cache_control"):
        made["cache_control"] = tool["cache_control"]
    return made


#: A budget of reasoning up to so many tokens, as an effort.
_EFFORTS = ((1024, "minimal"), (4096, "low"), (12_288, "medium"))


def _reasoning_and_output(given: dict[str, Any], options: dict[str, Any], ignored: list[str]) -> None:
    thinking = given.pop("thinking", None) or {}
    output = {name: value for name, value in (given.pop("output_config", None) or {}).items() if value is not None}
    effort = output.pop("effort", None)
    kind = thinking.get("type")
    if kind not in (None, "enabled", "adaptive", "disabled"):
        raise _refused("thinking.type", f"{kind!r} has no counterpart in the format of this model's backend")
    if kind in ("adaptive", "disabled"):  # the service's defaults, and elsewhere the backend's own default
        ignored.append("thinking")
    if thinking.get("display") is not None:
        ignored.append("thinking.display")
    _all_read(thinking, ("type", "budget_tokens", "display"), "thinking")
    if kind == "enabled":
        budget = thinking.get("budget_tokens") or 0
        effort = effort or next((word for most, word in _EFFORTS if budget <= most), "high")
    if effort and kind != "disabled":
        options["reasoning_effort"] = "xhigh" if effort == "max" else effort
    wanted = output.pop("format", None)
    if wanted is not None:
        if not isinstance(wanted, dict) or not isinstance(wanted.get("schema"), dict):
            raise bad_request("output_config.format.schema: Field required", "invalid_type", "output_config.format")
        schema = {"name": "output", "schema": wanted["schema"], "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
    if output:
        raise _refused(f"output_config.{min(output)}", "it has no counterpart in the format of this model's backend")
