"""Messages and their blocks: whether they are right, what they say, and how many tokens they are."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.text import count_tokens

from .checks import Rule, a_boolean, a_list, a_string, an_object, field, one_of, only, refuse

__all__ = ["check_messages", "check_system", "last_text", "marks", "redacted", "signature", "tokens"]

_encode = msgspec.json.Encoder().encode
#: Tokens of what is no text; about what a small image and a page are.
_TOKENS: Final = {"image": 85, "document": 100}
_MOST_MARKS: Final = 4


def signature(thinking: str) -> str:
    """What the service signs its reasoning with, to know it again."""
    return "sig_" + hashlib.sha256(b"thinking" + thinking.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def redacted(thinking: str) -> str:
    """Reasoning that nobody is to read."""
    return "enc_" + base64.b64encode(thinking.encode("utf-8", "surrogatepass")).decode()


def _any(where: str, value: Any) -> None: ...


def _cache_control(where: str, value: Any) -> None:
    if value is not None:
        an_object(where, value)
        field(where, value, "type", one_of("ephemeral"))
        only(where, value, {"type": _any, "ttl": one_of("5m", "1h")})


def _base64(where: str, value: Any) -> None:
    a_string(where, value)
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        refuse(f"{where}: invalid base64 data")


def _source(kind: str) -> Rule:
    media = {"image": ("image/jpeg", "image/png", "image/gif", "image/webp"), "document": ("application/pdf",)}[kind]
    shapes: dict[str, dict[str, Rule]] = {
        "base64": {"media_type": one_of(*media), "data": _base64},
        "url": {"url": a_string},
        "file": {"file_id": a_string},
    }
    if kind == "document":
        shapes["text"] = {"media_type": one_of("text/plain"), "data": a_string}
        shapes["content"] = {"content": _any}

    def rule(where: str, value: Any) -> None:
        an_object(where, value)
        shape = shapes[_tag(where, value, shapes)]
        for name, each in shape.items():
            field(where, value, name, each)
        only(where, value, {"type": _any, **shape})

    return rule


def _tag(where: str, value: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    kind = value.get("type")
    if kind is None:
        refuse(f"{where}: Unable to extract tag using discriminator 'type'")
    if kind not in known:
        expected = ", ".join(f"'{name}'" for name in known)
        refuse(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}")
    return str(kind)


def _text(where: str, value: Any) -> None:
    a_string(where, value)
    if not value:
        refuse("messages: text content blocks must be non-empty")


def _signed(where: str, value: Any) -> None:
    a_string(where, value)


def _result(where: str, value: Any) -> None:
    if not isinstance(value, str):
        a_list(where, value)
        for index, block in enumerate(value):
            _check_block(f"{where}.{index}", block, _RESULTS)


_COMMON: Final[dict[str, Rule]] = {"type": _any, "cache_control": _cache_control}
_CITATIONS: Final[dict[str, Rule]] = {"citations": _any}
#: By type: the fields that must be there, and those that may.
_BLOCKS: Final[dict[str, tuple[dict[str, Rule], dict[str, Rule]]]] = {
    "text": ({"text": _text}, {**_COMMON, **_CITATIONS}),
    "image": ({"source": _source("image")}, {**_COMMON, "transformations": an_object}),
    "document": (
        {"source": _source("document")},
        {**_COMMON, **_CITATIONS, "title": a_string, "context": a_string},
    ),
    "search_result": ({"content": a_list, "source": a_string, "title": a_string}, {**_COMMON, **_CITATIONS}),
    "thinking": ({"thinking": a_string, "signature": _signed}, {"type": _any}),
    "redacted_thinking": ({"data": a_string}, {"type": _any}),
    "tool_use": (
        {"id": a_string, "name": a_string, "input": an_object},
        {**_COMMON, "caller": an_object, "toolset_name": _any},
    ),
    "tool_result": (
        {"tool_use_id": a_string},
        {**_COMMON, "content": _result, "is_error": a_boolean, "toolset_name": _any},
    ),
    "server_tool_use": ({"id": a_string, "name": a_string, "input": an_object}, {**_COMMON, "caller": an_object}),
}
_RESULTS: Final = {name: _BLOCKS[name] for name in ("text", "image", "document", "search_result")}


def _check_block(
    where: str, block: Any, known: Mapping[str, tuple[Mapping[str, Rule], Mapping[str, Rule]]] = _BLOCKS
) -> None:
    an_object(where, block)
    kind = _tag(where, block, known)
    required, allowed = known[kind]
    place = f"{where}.{kind}"
    for name, rule in required.items():
        field(place, block, name, rule)
    only(place, block, {**required, **allowed})
    if kind == "thinking" and block["signature"] != signature(block["thinking"]):
        refuse(f"{where}: Invalid `signature` in `thinking` block")
    if kind == "redacted_thinking" and not block["data"].startswith("enc_"):
        refuse(f"{where}: Invalid `data` in `redacted_thinking` block")


def check_system(where: str, value: Any) -> None:
    """A text, or text blocks."""
    if isinstance(value, str):
        return
    a_list(where, value)
    for index, block in enumerate(value):
        an_object(f"{where}.{index}", block)
        field(f"{where}.{index}", block, "type", one_of("text"))
        _check_block(f"{where}.{index}", block)


def check_messages(where: str, messages: Any) -> None:
    """The turns, and that every call of a tool has its result in the next one."""
    a_list(where, messages)
    if not messages:
        refuse("messages: at least one message is required")
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        an_object(place, message)
        role = field(place, message, "role", a_string)
        if role == "system":
            refuse(
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not '
                '"system" as an input message role.'
            )
        one_of("user", "assistant")(f"{place}.role", role)
        content = message.get("content")
        only(place, message, {"role": _any, "content": _any})
        if "content" not in message:
            refuse(f"{place}.content: Field required")
        if not content and not (role == "assistant" and index == len(messages) - 1):
            refuse(f"{place}: all messages must have non-empty content except for the optional final assistant message")
        if not isinstance(content, str):
            a_list(f"{place}.content", content)
            for number, block in enumerate(content):
                _check_block(f"{place}.content.{number}", block)
    _check_pairs(messages)


def _check_pairs(messages: list[dict[str, Any]]) -> None:
    turns: list[tuple[int, str, list[Any]]] = []
    for index, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        if turns and turns[-1][1] == message["role"]:
            turns[-1][2].extend(blocks)  # turns of one role that follow each other are one
        else:
            turns.append((index, message["role"], list(blocks)))
    called: set[str] = set()
    for position, (index, role, blocks) in enumerate(turns):
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if role == "user" and answered - called:
            refuse(
                f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{', '.join(sorted(answered - called))}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        if called - answered:
            refuse(
                f"messages.{turns[position - 1][0]}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(sorted(called - answered))}. Each `tool_use` block must have a "
                "corresponding `tool_result` block in the next message."
            )
        if answered and blocks[0]["type"] != "tool_result":
            refuse(f"messages.{index}: `tool_result` blocks must come first in the content")
        called = {block["id"] for block in blocks if block["type"] == "tool_use"}
    if called:
        refuse(
            f"messages.{turns[-1][0]}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(sorted(called))}."
        )


# --- what they say -----------------------------------------------------------------------------------------------


def last_text(messages: list[dict[str, Any]]) -> str | None:
    """The text of the last message, where that is the user's and no result of a tool."""
    last = messages[-1]
    content = last["content"]
    if last["role"] != "user":
        return None
    if isinstance(content, str):
        return content
    if any(block["type"] == "tool_result" for block in content):
        return None
    return "\n".join(block["text"] for block in content if block["type"] == "text")


def tokens(content: Any) -> int:
    """Tokens of a content or system text."""
    if isinstance(content, str):
        return count_tokens(content)
    total = 0
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        total += _TOKENS.get(str(kind), 0)
        if kind == "tool_result":
            total += tokens(block.get("content"))
        elif kind == "tool_use":
            total += count_tokens(_encode(block.get("input")).decode())
        total += count_tokens(text) if isinstance(text := block.get("text"), str) else 0
    return total


def marks(body: Mapping[str, Any]) -> tuple[bytes, int] | None:
    """What stands up to the last ``cache_control``, as a digest, and its tokens; None where nothing is marked."""
    places: list[list[Any]] = [body.get("tools") or []]
    system = body.get("system")
    places.append(system if isinstance(system, list) else [system] if system else [])
    places += [
        message["content"] if isinstance(message["content"], list) else [message["content"]]
        for message in body["messages"]
    ]
    blocks = [block for place in places for block in place]
    marked = [index for index, block in enumerate(blocks) if isinstance(block, dict) and block.get("cache_control")]
    if len(marked) > _MOST_MARKS:
        refuse(f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {len(marked)}.")
    if not marked:
        return None
    prefix = blocks[: marked[-1] + 1]
    return hashlib.sha256(_encode(prefix)).digest(), tokens([_as_block(block) for block in prefix])


def _as_block(value: Any) -> Any:
    return {"type": "text", "text": value} if isinstance(value, str) else value
