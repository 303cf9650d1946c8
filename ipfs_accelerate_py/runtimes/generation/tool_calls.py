"""Calls of tools in what a model writes, found while it is being written.

Formats, by what the model's chat template shows of them:
- ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``: Hermes, Qwen 2.5 and 3, and many after them
- ``[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]``, or ``[TOOL_CALLS]name[ARGS]{...}``: Mistral
- ``{"name": ..., "parameters": {...}}`` as the whole answer, or after ``<|python_tag|>``: Llama 3
- any other pair of marks that the template writes around a call's JSON: read off it (see `derive`)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["HERMES", "LLAMA", "MISTRAL", "Call", "Format", "derive", "format_of", "parse_calls"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a model writes calls.

    Attributes:
        name: for people.
        begin: what opens one (or several, as a list); empty where the answer itself is JSON.
        end: what closes it; empty where the end of the JSON, or of the answer, does.
        arguments: name of the arguments in the JSON.
        several: whether one opening holds a list.
    """

    name: str
    begin: str
    end: str = ""
    arguments: str = "arguments"
    several: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was read: ``arguments`` is JSON text."""

    name: str
    arguments: str


HERMES = Format("hermes", "<tool_call>", "</tool_call>")
MISTRAL = Format("mistral", "[TOOL_CALLS]", several=True)
LLAMA = Format("llama3", "", arguments="parameters")

_NAMED = re.compile(r"\s*([A-Za-z0-9_.\-]+)\s*(?:\[CALL_ID\]\s*[A-Za-z0-9]+\s*)?(?:\[ARGS\])?\s*(?=\{)")
#: What stands for the function and its argument in a call that the template is shown.
_NAME, _KEY, _VALUE = "zzfunctionzz", "zzkeyzz", "zzvaluezz"


def format_of(template: str | None, render: Callable[[list[dict[str, Any]]], str] | None = None) -> Format:
    """The format that a model with this chat template writes. ``render`` writes messages by the template."""
    text = template or ""
    if "[TOOL_CALLS]" in text:
        return MISTRAL
    if "<tool_call>" in text:
        return HERMES
    if "<|python_tag|>" in text or '"parameters": ' in text:
        return LLAMA
    if render is not None and "tool_calls" in text:
        found = derive(render)
        if found is not None:
            return found
    return HERMES


def derive(render: Callable[[list[dict[str, Any]]], str]) -> Format | None:
    """The format read off what the template makes of an answer with a call; None where that is no JSON."""
    call = {"name": _NAME, "arguments": {_KEY: _VALUE}}
    asked = {"role": "user", "content": "zzaskedzz"}
    calls = [{"id": "abcdefghi", "type": "function", "function": call}]
    try:
        shown = render([asked, {"role": "assistant", "content": "", "tool_calls": calls}])
    except Exception:
        return None
    at = shown.find(_NAME)
    opening = shown.rfind("{", 0, at)
    if at < 0 or opening < 0:
        return None
    try:
        value, size = json.JSONDecoder().raw_decode(shown[opening:])
    except ValueError:
        return None
    name = next((key for key, each in value.items() if isinstance(each, dict) and _KEY in each), None)
    if value.get("name") != _NAME or name is None:
        return None
    before = re.search(r"(<[^<>\s]+>|\[[A-Z_]+\])\s*$", shown[:opening].rstrip("[ \n"))
    after = re.match(r"[\]\s]*(<[^<>\s]+>|\[/[A-Z_]+\])", shown[opening + size :])
    # A mark that the template writes before every answer is no mark of calls.
    plain = render([asked, {"role": "assistant", "content": "zzsaidzz"}])
    begin = before.group(1) if before is not None and before.group(1) not in plain else ""
    end = after.group(1) if after is not None and begin and after.group(1) not in plain else ""
    return Format("derived", begin, end, name, several=shown[:opening].rstrip().endswith("["))


def parse_calls(text: str, known: Format) -> list[Call]:
    """The calls in what stands between ``begin`` and ``end``. Raises `ValueError` where that is none."""
    text = text.strip()
    if text.startswith("<|python_tag|>"):
        text = text.removeprefix("<|python_tag|>").strip()
    named = _NAMED.match(text)
    if named is not None:
        # Mistral's newer form: the name, then the arguments alone.
        value, _ = json.JSONDecoder().raw_decode(text[named.end() :])
        return [Call(named.group(1), json.dumps(value, ensure_ascii=False))]
    found: list[Call] = []
    while text:
        value, size = json.JSONDecoder().raw_decode(text)
        found += [_call(each) for each in (value if isinstance(value, list) else [value])]
        text = text[size:].lstrip("; ,\n\r\t")
    if not found:
        raise ValueError("no call")
    return found


def _call(value: Any) -> Call:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise ValueError("a call has a name")
    for key in ("arguments", "parameters", "args"):
        if key in value:
            given = value[key]
            if isinstance(given, str):
                json.loads(given)
                return Call(name, given)
            return Call(name, json.dumps(given, ensure_ascii=False))
    if set(value) - {"name", "type", "id"}:
        raise ValueError("a call has arguments")
    return Call(name, "{}")


def overlap(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of ``text`` that one of ``marks`` begins with."""
    longest = 0
    for mark in marks:
        for size in range(min(len(text), len(mark) - 1), longest, -1):
            if text.endswith(mark[:size]):
                longest = size
                break
    return longest
