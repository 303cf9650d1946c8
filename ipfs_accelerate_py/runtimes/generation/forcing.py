"""Grammars for calls of tools: an answer that has to call one, or that may call one or else follow a schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest

from .tool_calls import Format

__all__ = ["check_tools", "forced", "most_calls", "tool_constraint"]

#: Calls side by side that a forced answer may have: what has to end somewhere ends here.
_PARALLEL = 8


def check_tools(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools that were offered, those of ``tool_choice`` "none" left out. Raises `InvalidRequest`."""
    tools = options.get("tools") or []
    if not isinstance(tools, list | tuple):
        _refuse("tools", "tools is a list of functions")
    for each in tools:
        function = each.get("function") if isinstance(each, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            _refuse("tools", 'tools: each is {"type": "function", "function": {"name": ..., "parameters": ...}}')
    if options.get("tool_choice") == "none":
        return []
    return list(tools)


def forced(tools: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of which one has to be called; empty where that is left to the model."""
    choice = options.get("tool_choice", "auto")
    if choice in ("auto", "none"):
        return []
    if choice == "required":
        if not tools:
            _refuse("tool_choice", 'tool_choice "required" needs tools')
        return list(tools)
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    found = [each for each in tools if each["function"]["name"] == name]
    if not found:
        _refuse("tool_choice", 'tool_choice is "auto", "none", "required", or names a function that is among the tools')
    return found


def most_calls(options: Mapping[str, Any]) -> int:
    """Calls that one answer may have: one where a function is named, or ``parallel_tool_calls`` is false."""
    choice, parallel = options.get("tool_choice", "auto"), options.get("parallel_tool_calls", True)
    if not isinstance(parallel, bool):
        _refuse("parallel_tool_calls", "parallel_tool_calls is true or false")
    return _PARALLEL if parallel and isinstance(choice, str) else 1


def tool_constraint(
    tools: Sequence[Mapping[str, Any]],
    known: Format,
    literal: Callable[[str], str],
    otherwise: Mapping[str, Any] | None = None,
    *,
    most: int = 1,
) -> dict[str, Any]:
    """A constraint (see `Sampling`) to calls of ``tools`` as the model writes calls.

    Args:
        literal: a mark as it stands in a Lark grammar.
        otherwise: a JSON schema that the answer may follow instead.
        most: calls in one answer; of formats without marks there is one.
    """
    calls = [_schema(each["function"], known) for each in tools]
    call: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
    if known.several:
        call = {"type": "array", "items": call, "minItems": 1, "maxItems": most}
    begin = f"{literal(known.begin)} BLANK " if known.begin else ""
    end = f" BLANK {literal(known.end)}" if known.end else ""
    rules = [f"call: {begin}inner{end}", f"inner: %json {json.dumps(call)}", "BLANK: /[ \\n]{0,2}/"]
    more = f" (BLANK call){{0,{most - 1}}}" if most > 1 and known.begin and not known.several else ""
    if otherwise is None:
        return {"grammar": "\n".join([f"start: call{more}", *rules])}
    return {"grammar": "\n".join([f"start: call{more} | answer", *rules, f"answer: %json {json.dumps(otherwise)}"])}


def _schema(function: Mapping[str, Any], known: Format) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function["name"]},
            known.arguments: function.get("parameters") or {"type": "object", "additionalProperties": False},
        },
        "required": ["name", known.arguments],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": True, "whitespace_pattern": "[ \\n]{0,4}"},
    }


def _refuse(name: str, message: str) -> Any:
    raise InvalidRequest(message, status=400, param=name)
