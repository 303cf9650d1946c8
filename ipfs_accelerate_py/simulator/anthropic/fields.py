"""The fields of a request, and what each of them may be."""

from __future__ import annotations

from typing import Any, Final

from .checks import (
    Rule,
    a_boolean,
    a_list,
    a_number,
    a_string,
    an_integer,
    an_object,
    field,
    one_of,
    only,
    refuse,
)
from .content import check_messages, check_system

__all__ = ["COUNTED", "FIELDS"]


def _nullable(rule: Rule) -> Rule:
    def either(where: str, value: Any) -> None:
        if value is not None:
            rule(where, value)

    return either


def _stops(where: str, value: Any) -> None:
    a_list(where, value)
    for index, word in enumerate(value):
        a_string(f"{where}.{index}", word)
        if not word.strip():
            refuse(f"{where}: each stop sequence must contain non-whitespace")


def _thinking(where: str, value: Any) -> None:
    an_object(where, value)
    kind = field(where, value, "type", one_of("enabled", "disabled", "adaptive"))
    if kind == "enabled":
        field(f"{where}.enabled", value, "budget_tokens", an_integer(1024))


def _tools(where: str, value: Any) -> None:
    a_list(where, value)
    for index, tool in enumerate(value):
        place = f"{where}.{index}"
        an_object(place, tool)
        if tool.get("type") not in (None, "custom"):
            continue  # one that the service runs by itself
        place += ".custom"
        field(place, tool, "name", a_string)
        schema = field(place, tool, "input_schema", an_object)
        field(f"{place}.input_schema", schema, "type", one_of("object"))
        only(place, tool, _TOOL)


def _choice(where: str, value: Any) -> None:
    an_object(where, value)
    kind = field(where, value, "type", one_of("auto", "any", "tool", "none"))
    if kind == "tool":
        field(f"{where}.tool", value, "name", a_string)
    fields: dict[str, Rule] = {"type": a_string}
    if kind == "tool":
        fields["name"] = a_string
    if kind != "none":
        fields["disable_parallel_tool_use"] = a_boolean
    only(f"{where}.{kind}", value, fields)


def _format(where: str, value: Any) -> None:
    an_object(where, value)
    field(where, value, "type", one_of("json_schema"))
    _closed(f"{where}.schema", field(where, value, "schema", an_object))
    only(where, value, {"type": a_string, "schema": an_object})


def _closed(where: str, schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            refuse(f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false")
        for name, inner in (schema.get("properties") or {}).items():
            _closed(f"{where}.properties.{name}", inner)
        _closed(f"{where}.items", schema.get("items"))


def _output(where: str, value: Any) -> None:
    an_object(where, value)
    effort = one_of("low", "medium", "high", "xhigh", "max")
    only(where, value, {"effort": _nullable(effort), "format": _nullable(_format)})


def _any(where: str, value: Any) -> None: ...


def _metadata(where: str, value: Any) -> None:
    an_object(where, value)
    only(where, value, {"user_id": _nullable(a_string)})


_TOOL: Final[dict[str, Rule]] = {
    "type": _any,
    "name": a_string,
    "description": a_string,
    "input_schema": an_object,
    "cache_control": _any,
    "strict": a_boolean,
    "allowed_callers": a_list,
    "defer_loading": a_boolean,
    "eager_input_streaming": _any,
    "input_examples": a_list,
}
COUNTED: Final[dict[str, Rule]] = {
    "model": a_string,
    "messages": check_messages,
    "system": check_system,
    "tools": _tools,
    "tool_choice": _choice,
    "thinking": _thinking,
    "output_config": _output,
    "cache_control": _any,
    "speed": _any,
}
FIELDS: Final[dict[str, Rule]] = {
    **COUNTED,
    "max_tokens": an_integer(1),
    "temperature": a_number(0, 1),
    "top_p": a_number(0, 1),
    "top_k": an_integer(0),
    "stop_sequences": _stops,
    "stream": a_boolean,
    "metadata": _metadata,
    "service_tier": one_of("auto", "standard_only"),
    "container": _any,
    "inference_geo": _any,
    "diagnostics": _any,
}
