"""Messages of the vocabulary as Anthropic's ``system`` and ``messages``. Pure.

Source: Anthropic's API reference ("Messages") and its guides to tool use and extended thinking. What differs:

- There is no system message but a field; all of them are put there, in order.
- Results of tools are blocks of the user's next message, all those of one turn in one message, before anything else.
- Signed reasoning comes first in an assistant's message, and calls of tools last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.anthropic.parts import Block, Notes, as_blocks
from ipfs_accelerate_py.dialects.leftover import unread
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import UnsupportedOperation

__all__ = ["as_messages"]

_decode = msgspec.json.Decoder().decode
#: Ids of calls must be of these characters; other providers' may have more.
_NO_ID = re.compile(r"[^a-zA-Z0-9_-]")
#: Members of a message that are carried, refused or named where they are met.
_READ = frozenset(
    """
    audio cache_control content function_call is_error name reasoning reasoning_content refusal role thinking_blocks
    tool_call_id tool_calls
    """.split()  # noqa: SIM905
)


def as_messages(messages: Sequence[Any], notes: Notes) -> tuple[str | list[Block] | None, list[dict[str, Any]]]:
    """The system text (None where there is none) and the turns."""
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    results: list[Block] | None = None  # of the user's turn that is being put together
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise bad_request(f"'{where}' must be an object", param=where)
        role = message.get("role")
        if role in ("system", "developer"):
            system += _system(message, where, notes)
        elif role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_result(message, where, notes))
        elif role == "user":
            blocks = _cached(as_blocks(message.get("content"), f"{where}.content", notes), message)
            if results is not None:
                results += blocks
                results = None
            else:
                turns.append({"role": "user", "content": _short(blocks)})
        elif role == "assistant":
            results = None
            turns.append({"role": "assistant", "content": _short(_assistant(message, where, notes))})
        else:
            raise bad_request(
                f"'{where}.role' must be system, developer, user, assistant or tool, not {role!r}",
                param=f"{where}.role",
            )
        if message.get("name") and role != "tool":
            notes.add("messages.name")
        for field in unread(message, _READ):
            notes.add(f"messages.{field}")
    return _short(system) if system else None, turns


def _short(blocks: list[Block]) -> str | list[Block]:
    """A lone text without anything beside it is written as a text."""
    if not blocks:
        return ""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0].keys() == {"type", "text"} else blocks


def _cached(blocks: list[Block], message: dict[str, Any]) -> list[Block]:
    """A message's own ``cache_control`` stands at its last block."""
    mark = message.get("cache_control")
    if mark is not None and blocks:
        blocks[-1] = {**blocks[-1], "cache_control": mark}
    return blocks


def _system(message: dict[str, Any], where: str, notes: Notes) -> list[Block]:
    blocks = as_blocks(message.get("content"), f"{where}.content", notes)
    for block in blocks:
        if block["type"] != "text":
            raise UnsupportedOperation(f"a system message of Anthropic's is text, not {block['type']} ('{where}')")
    return _cached(blocks, message)


def _result(message: dict[str, Any], where: str, notes: Notes) -> Block:
    identity = message.get("tool_call_id")
    if not isinstance(identity, str) or not identity:
        raise bad_request(f"'{where}.tool_call_id' must name the call", param=f"{where}.tool_call_id")
    made: Block = {"type": "tool_result", "tool_use_id": _NO_ID.sub("_", identity)}
    content = message.get("content")
    if isinstance(content, str):
        made["content"] = content
    elif content is not None:
        made["content"] = as_blocks(content, f"{where}.content", notes)
    for field in ("is_error", "cache_control"):
        if message.get(field):
            made[field] = message[field]
    return made


def _assistant(message: dict[str, Any], where: str, notes: Notes) -> list[Block]:
    for field in ("audio", "function_call"):
        if message.get(field):
            raise UnsupportedOperation(f"Anthropic's Messages API has no counterpart of '{where}.{field}'")
    signed = message.get("thinking_blocks") or []
    if not isinstance(signed, list | tuple) or not all(isinstance(block, dict) for block in signed):
        raise bad_request(f"'{where}.thinking_blocks' must be a list of blocks", param=f"{where}.thinking_blocks")
    if (message.get("reasoning_content") or message.get("reasoning")) and not signed:
        notes.add("messages.reasoning_content")  # without its signature it is refused
    # Of a stream in OpenAI's format they may be numbered still.
    blocks = [{name: value for name, value in block.items() if name != "index"} for block in signed]
    blocks += as_blocks(message.get("content"), f"{where}.content", notes)
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        blocks.append({"type": "text", "text": message["refusal"]})
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list | tuple):
        raise bad_request(f"'{where}.tool_calls' must be a list", param=f"{where}.tool_calls")
    blocks += [_call(call, f"{where}.tool_calls[{index}]", notes) for index, call in enumerate(calls)]
    if message.get("cache_control") is not None and blocks and blocks[-1]["type"] in _UNCACHED:
        notes.add("messages.cache_control")
        return blocks
    return _cached(blocks, message)


#: Blocks that cannot be marked for the cache.
_UNCACHED = ("thinking", "redacted_thinking")


def _call(call: Any, where: str, notes: Notes) -> Block:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        kind = call.get("type") if isinstance(call, dict) else None
        if kind not in (None, "function"):
            raise UnsupportedOperation(f"Anthropic's Messages API has no calls of type {kind!r} ('{where}')")
        raise bad_request(f"'{where}.function' must have a name", param=f"{where}.function")
    given = function.get("arguments")
    if isinstance(given, str):
        try:
            given = _decode(given) if given.strip() else {}
        except (msgspec.DecodeError, RecursionError):
            given = None
    elif given is None:
        given = {}
    if not isinstance(given, dict):
        raise bad_request(
            f"'{where}.function.arguments' must be a JSON object: the service takes the object, not the text",
            param=f"{where}.function.arguments",
        )
    if call.get("extra_content") is not None:
        notes.add("messages.tool_calls.extra_content")  # another provider's signature
    made = {
        "type": "tool_use",
        "id": _NO_ID.sub("_", str(call.get("id") or "")),
        "name": function["name"],
        "input": given,
    }
    if call.get("cache_control") is not None:
        made["cache_control"] = call["cache_control"]
    return made
