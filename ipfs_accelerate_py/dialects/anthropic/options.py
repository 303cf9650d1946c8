"""Options of a chat under OpenAI's names as Anthropic's fields. Pure.

Source: Anthropic's API reference ("Messages") and its guides to tool use, extended and adaptive thinking, and
structured outputs. Fields under Anthropic's own names, and names that nobody here knows, go as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ipfs_accelerate_py.dialects.anthropic.parts import Notes
from ipfs_accelerate_py.dialects.leftover import schema_of
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import UnsupportedOperation

__all__ = ["BUDGETS", "LEAST_BUDGET", "Reasoning", "as_fields"]

#: Tokens of reasoning for each ``reasoning_effort``, where the model takes a budget.
BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
#: The service takes no smaller one.
LEAST_BUDGET: Final = 1024

#: They cannot change the answer.
_HINTS = (
    *("store", "stream_options", "prediction"),
    *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
)
#: They have no counterpart, so a value that asks for anything is refused; beside each, the value that asks for nothing.
_REFUSED: Final[dict[str, Any]] = {
    "n": 1,
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "modalities": ["text"],
    "moderation": None,
    "audio": None,
    "verbosity": "medium",
    "web_search_options": None,
    "functions": [],
    "function_call": None,
}
#: Counting tokens does not take them, and they count for nothing.
_ABOUT_ANSWERS = frozenset(
    ("max_tokens", "metadata", "service_tier", "stop_sequences", "temperature", "top_k", "top_p", "inference_geo")
)
_NAMED = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d{1,2}))?(?!\d)")


class Reasoning:
    """How ``reasoning_effort`` is said to a model: as a budget of tokens, or in the service's own words.

    ``style`` is ``budget``, ``effort``, or ``auto``: then by the model's name, for from 4.7 on the models refuse
    budgets, and older ones know nothing else.
    """

    def __init__(self, style: str = "auto") -> None:
        self.style = style

    def budgeted(self, model: str) -> bool:
        if self.style != "auto":
            return self.style == "budget"
        found = _NAMED.search(model)
        if found is None:
            return "mythos" not in model
        return (int(found[1]), int(found[2] or 0)) < (4, 7)


def as_fields(
    options: Mapping[str, Any], model: str, notes: Notes, *, most: int, reasoning: Reasoning, counting: bool
) -> dict[str, Any]:
    """The fields beside ``model``, ``messages`` and ``stream``.

    ``most`` is the ``max_tokens`` of an answer where the caller set none, which the service insists on.
    """
    left = {name: value for name, value in options.items() if value is not None}
    _refuse(left, notes, counting)
    for name in _HINTS:
        if name in left:
            del left[name]
            notes.add(name)
    limit = left.pop("max_completion_tokens", None)
    limit = left.get("max_tokens") if limit is None else limit
    _stops(left)
    _tools(left)
    _user(left, notes)
    _format(left)
    budget = _effort(left, model, limit, reasoning)
    if counting:
        for name in _ABOUT_ANSWERS & left.keys():
            del left[name]
            notes.add(name)
        return left
    left["max_tokens"] = most + budget if limit is None else limit
    return left


def _refuse(left: dict[str, Any], notes: Notes, counting: bool) -> None:
    for name, nothing in _REFUSED.items():
        if name not in left:
            continue
        value = left.pop(name)
        asks = value != nothing and (bool(value) or name == "seed")
        if not asks or (counting and name != "functions"):
            notes.add(name)
            continue
        raise UnsupportedOperation(
            f"Anthropic's Messages API has no counterpart of {name!r} ({value!r} was asked for)"[:300]
        )


def _stops(left: dict[str, Any]) -> None:
    stop = left.pop("stop", None)
    if stop is None:
        return
    given = [stop] if isinstance(stop, str) else list(stop)
    left["stop_sequences"] = [*(left.get("stop_sequences") or []), *given]


# --- tools -------------------------------------------------------------------------------------------------------


def _tools(left: dict[str, Any]) -> None:
    tools = left.pop("tools", None)
    if tools:
        left["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = _choice(left.pop("tool_choice", None))
    parallel = left.pop("parallel_tool_calls", True)
    if not tools:
        if choice is not None and choice["type"] not in ("auto", "none"):
            raise bad_request("'tool_choice' asks for a tool and there are no 'tools'", param="tool_choice")
        return
    if parallel is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice = {**choice, "disable_parallel_tool_use": True}
    if choice is not None:
        left["tool_choice"] = choice


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise bad_request(f"'{where}' must be an object", param=where)
    function = tool.get("function")
    if not isinstance(function, dict):
        if tool.get("type") == "custom" and "custom" in tool:
            raise UnsupportedOperation(f"Anthropic's Messages API has no tools that take free text ('{where}')")
        return tool  # one of Anthropic's own
    if not isinstance(function.get("name"), str):
        raise bad_request(f"'{where}.function' must have a name", param=f"{where}.function.name")
    made: dict[str, Any] = {
        "name": function["name"],
        # A function without parameters may leave them out there, but not here.
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("strict"):
        made["strict"] = True
    return made | {name: value for name, value in tool.items() if name not in ("type", "function")}


def _choice(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    if given == "required":
        return {"type": "any"}
    if given in ("auto", "none"):
        return {"type": given}
    if isinstance(given, dict):
        kind, function = given.get("type"), given.get("function")
        if kind == "function" and isinstance(function, dict) and isinstance(function.get("name"), str):
            return {"type": "tool", "name": function["name"]}
        if kind in ("auto", "any", "tool", "none"):
            return dict(given)
    raise UnsupportedOperation(f"Anthropic's Messages API has no counterpart of the tool_choice {given!r}"[:300])


# --- who asks ----------------------------------------------------------------------------------------------------


def _user(left: dict[str, Any], notes: Notes) -> None:
    """OpenAI's ``metadata`` is anything at all; Anthropic's is the user's id, which OpenAI calls ``user``."""
    metadata = left.pop("metadata", None)
    given = metadata if isinstance(metadata, dict) else {}
    users = (given.get("user_id"), left.pop("user", None), left.pop("safety_identifier", None))
    if metadata and given.keys() != {"user_id"}:
        notes.add("metadata")
    user = next((each for each in users if each), None)
    if user is not None:
        left["metadata"] = {"user_id": user}
    tier = left.get("service_tier")
    if tier == "default":
        left["service_tier"] = "standard_only"
    elif tier in ("flex", "priority", "scale"):
        del left["service_tier"]
        notes.add("service_tier")


# --- output and reasoning ----------------------------------------------------------------------------------------


def _format(left: dict[str, Any]) -> None:
    """Structured output, by the service's own: ``output_config.format``."""
    wanted = left.pop("response_format", None)
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind == "text":
        return
    if kind != "json_schema":
        raise UnsupportedOperation(
            f"Anthropic's Messages API has no response_format {kind!r}; it takes a schema: "
            '{"type": "json_schema", "json_schema": {"schema": ...}}'
        )
    schema = schema_of(wanted) if "json_schema" in wanted else wanted.get("schema")
    if not isinstance(schema, dict):
        raise bad_request("'response_format.json_schema.schema' must be a schema", param="response_format.json_schema")
    left["output_config"] = {
        **(left.get("output_config") or {}),
        "format": {"type": "json_schema", "schema": _closed(schema)},
    }


def _closed(schema: Any) -> Any:
    """Objects must say that they have no other properties. What fits the narrower schema fits the wider one, too."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name in ("properties", "$defs", "definitions") and isinstance(value, dict):
            made[name] = {each: _closed(inner) for each, inner in value.items()}
        elif name in ("items", "prefixItems", "anyOf", "oneOf"):
            made[name] = _closed(value)
        else:
            made[name] = value
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        made["additionalProperties"] = False
    return made


def _effort(left: dict[str, Any], model: str, limit: Any, reasoning: Reasoning) -> int:
    """Say ``reasoning_effort``; returns the budget it was given, for the limit of the answer is to be on top of it."""
    effort = left.pop("reasoning_effort", None)
    if effort is None:
        return 0
    if not isinstance(effort, str) or (effort != "none" and effort not in BUDGETS):
        raise bad_request(
            f"'reasoning_effort' must be none, {', '.join(BUDGETS)}, not {effort!r}", param="reasoning_effort"
        )
    if "thinking" not in left and effort == "none":
        left["thinking"] = {"type": "disabled"}
        return 0
    if "thinking" in left or not reasoning.budgeted(model):
        if effort == "none":
            raise bad_request("'reasoning_effort' is none, and 'thinking' is given as well", param="reasoning_effort")
        left.setdefault("thinking", {"type": "adaptive"})
        word = "low" if effort == "minimal" else effort
        left["output_config"] = {**(left.get("output_config") or {}), "effort": word}
        return 0
    budget = BUDGETS[effort]
    if isinstance(limit, int):
        # Reasoning counts towards the limit, and at least as much as the least budget is left for the answer.
        budget = min(budget, max(LEAST_BUDGET, limit - LEAST_BUDGET))
        if limit <= budget:
            raise bad_request(
                f"'max_tokens' is {limit}, and reasoning alone takes {LEAST_BUDGET} at least: set a higher limit, or "
                "no reasoning_effort",
                param="max_tokens",
            )
    left["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return budget
