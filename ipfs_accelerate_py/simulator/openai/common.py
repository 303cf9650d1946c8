"""What the endpoints share: counting prompts, choosing tools, usage."""

from __future__ import annotations

import itertools
import re
import time
from typing import Any, Final

from ipfs_accelerate_py.simulator.answering import Said, Tool
from ipfs_accelerate_py.simulator.text import count_tokens

from .checks import a_string, an_array, an_object, missing, one_of, refuse

__all__ = [
    "FINGERPRINT",
    "chosen_tools",
    "content_tokens",
    "created",
    "is_reasoning",
    "new_id",
    "stops",
    "text_of",
    "usage",
]

#: Every answer says that it was made by the simulator.
FINGERPRINT: Final = "fp_simulator"
_numbers = itertools.count(1)
_REASONING: Final = re.compile(r"(^|/)o\d|reason", re.IGNORECASE)
#: Tokens charged for parts that are not text; about what OpenAI charges for a small image and a second of speech.
_PART_TOKENS: Final = {"image_url": 85, "input_image": 85, "input_audio": 10, "file": 100, "input_file": 100}


def new_id(prefix: str) -> str:
    return f"{prefix}sim{next(_numbers):08x}"


def created() -> int:
    return int(time.time())


def is_reasoning(model: str) -> bool:
    """Whether a model of this name thinks first: ``o1``, ``o3-mini``, or anything with "reason" in it."""
    return _REASONING.search(model) is not None


def text_of(content: Any) -> str:
    """The text of a message's content, which is a string, a list of parts, or null."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))


def content_tokens(content: Any) -> int:
    """Tokens of a message's content, parts that are not text among them."""
    if isinstance(content, str):
        return count_tokens(content)
    total = count_tokens(text_of(content))
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                total += _PART_TOKENS.get(part.get("type", ""), 0)
    return total


def stops(param: str, value: Any) -> tuple[str, ...]:
    """The ``stop`` option as a tuple of texts."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    an_array(param, value)
    for index, word in enumerate(value):
        a_string(f"{param}[{index}]", word)
    if len(value) > 4:
        refuse(
            f"Invalid '{param}': array too long. Expected an array with maximum length 4, but got an array with length "
            f"{len(value)} instead.",
            param,
            "array_above_max_length",
        )
    return tuple(value)


def chosen_tools(body: dict[str, Any], asked: str | None, *, nested: bool) -> list[Tool]:
    """The tools that the simulated model calls; none means that it answers with text.

    It calls when ``tool_choice`` forces it to, or when the last message is the user's and its text, ``asked``, speaks
    of a tool or names one. It calls all those named, or all there are, unless ``parallel_tool_calls`` is false.
    ``nested``: the function stands in a member ``function`` (chat), not in the tool itself (responses).
    """
    given = body.get("tools")
    choice = body.get("tool_choice")
    if given is None:
        if choice not in (None, "none", "auto"):
            refuse("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
        return []
    an_array("tools", given)
    tools = [tool for index, item in enumerate(given) if (tool := _tool(f"tools[{index}]", item, nested)) is not None]
    if isinstance(choice, dict):
        place = choice
        if nested and choice.get("function") is not None:
            place = choice["function"]
            an_object("tool_choice.function", place)
        forced = place.get("name")
        if forced is not None:
            named = [tool for tool in tools if tool.name == forced]
            if not named:
                refuse(f"Tool choice '{forced}' not found in 'tools' parameter.", "tool_choice")
            return named
        choice = "required" if choice.get("mode") == "required" else "auto"
    elif choice is not None:
        one_of("none", "auto", "required")("tool_choice", choice)
    if not tools or choice == "none":
        return []
    words = asked or ""
    named = [tool for tool in tools if tool.name in words]
    if choice != "required" and not named and "tool" not in words.lower():
        return []
    called = named or tools
    return called[:1] if body.get("parallel_tool_calls") is False else called


def _tool(param: str, item: Any, nested: bool) -> Tool | None:
    an_object(param, item)
    kind = item.get("type")
    if kind is None:
        missing(f"{param}.type")
    if kind != "function":  # tools that the provider runs by itself; the simulator has none of them to run
        return None
    function = item.get("function") if nested else item
    place = f"{param}.function" if nested else param
    if function is None:
        missing(place)
    an_object(place, function)
    if function.get("name") is None:
        missing(f"{place}.name")
    a_string(f"{place}.name", function["name"])
    if function.get("parameters") is not None:
        an_object(f"{place}.parameters", function["parameters"])
    return Tool(function["name"], function.get("parameters") or {})


def usage(prompt_tokens: int, said: list[Said]) -> dict[str, Any]:
    """Usage as chat and completions report it."""
    completion = sum(one.count for one in said)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(one.reasoning) for one in said),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
