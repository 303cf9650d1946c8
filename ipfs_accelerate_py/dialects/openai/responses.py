"""A request of the Responses API as a chat, for the many backends that have nothing but chat. Pure.

Source: OpenAI's API specification (openai.openapi.yaml, ``CreateResponse``) and its guide to migrating from chat. What
needs a memory (answers that are kept, conversations, prompts by name) or OpenAI's own tools is refused by name. What is
no field of the Responses API goes on as an option of the chat, as it does for a chat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ipfs_accelerate_py.dialects.openai.responses_items import Conversation, known
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import ChatRequest

__all__ = ["chat_request"]

Fields = dict[str, Any]

_NO_MEMORY: Final = "answers are not stored here: send the whole conversation in 'input'"
#: Refused, unless they are false or empty.
_REFUSED: Final = {
    "previous_response_id": _NO_MEMORY,
    "conversation": _NO_MEMORY,
    "context_management": _NO_MEMORY,
    "background": "answers are not stored here, so there is nowhere to fetch a later one from",
    "prompt": "no prompts are stored here: send the text itself in 'input' and 'instructions'",
    "moderation": "a model that is asked by chat is not moderated on the way",
    "top_logprobs": "a model that is asked by chat gives no probabilities of tokens",
    "logprobs": "a model that is asked by chat gives no probabilities of tokens",
    "audio": "a model that is asked by chat answers in text",
}
#: Chat has these, and this API has them under another name or not at all.
_MOVED: Final = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
    "functions": "tools",
    "function_call": "tool_choice",
}
#: They change nothing of the answer: ``max_tool_calls`` is about tools that OpenAI runs itself, and there are none.
_IGNORED: Final = ("prompt_cache_options", "max_tool_calls")


class Asked(NamedTuple):
    """A request as a chat: ``ignored`` names what was left out because no answer depends on it, and ``places`` tells
    where in the request each message was."""

    chat: ChatRequest
    ignored: tuple[str, ...]
    places: tuple[str, ...]


def chat_request(model: str, given: Fields) -> Asked:
    """The chat.

    ``given`` is a checked body without its nulls. Raises `InvalidRequest` for what chat cannot say.
    """
    left = dict(given)
    for name, why in _REFUSED.items():
        if left.pop(name, None):
            raise _unsupported(name, why)
    for name, here in _MOVED.items():
        if name in left:
            raise _unsupported(name, f"in the Responses API it is '{here}'")
    conversation = _conversation(left)
    ignored = conversation.ignored
    options: Fields = {}
    for name in _IGNORED:
        if left.pop(name, None):
            ignored[name] = None
    if left.pop("store", False):
        ignored["store"] = None
    for name, read in _FIELDS.items():
        if name in left:
            read(left.pop(name), options)
    _tools(left, options)
    chat = ChatRequest(model, conversation.messages, {**left, **options})
    return Asked(chat, tuple(ignored), tuple(conversation.places))


def _conversation(left: Fields) -> Conversation:
    made = Conversation()
    instructions, given = left.pop("instructions", None), left.pop("input", None)
    if given is None:
        raise bad_request("Missing required parameter: 'input'.", "missing_required_parameter", "input")
    if isinstance(instructions, str):
        if instructions:
            made.messages.append({"role": "system", "content": instructions})
            made.places.append("instructions")
    elif instructions:
        made.add(instructions, "instructions")
    made.add(given, "input")
    if not made.messages:
        raise bad_request("Invalid value for 'input': it holds no message.", "invalid_value", "input")
    return made


# --- options -----------------------------------------------------------------------------------------------------


def _include(value: Any, options: Fields) -> None:
    for index, name in enumerate(value):
        if name != "reasoning.encrypted_content":  # which is there in any case, where there is something to hold
            raise _unsupported(f"include[{index}]", f"a model that is asked by chat has no {name!r}")


def _limit(value: Any, options: Fields) -> None:
    options["max_tokens"] = value


def _truncation(value: Any, options: Fields) -> None:
    if value != "disabled":
        raise _unsupported("truncation", "nothing is left out of 'input' here; only 'disabled' can be done")


def _stream_options(value: Any, options: Fields) -> None:
    if isinstance(value, dict) and value.get("include_obfuscation"):
        raise _unsupported("stream_options.include_obfuscation", "events are not padded here")


def _reasoning(value: Any, options: Fields) -> None:
    known(value, ("effort", "summary", "generate_summary", "context", "mode"), "reasoning")
    for name, plain in (("context", "auto"), ("mode", "standard")):
        if value.get(name) not in (None, plain):
            raise _unsupported(f"reasoning.{name}", f"a model that is asked by chat has no {value[name]!r}")
    # A summary is the reasoning as the model shows it, whatever kind of it was asked for.
    if value.get("effort") is not None:
        options["reasoning_effort"] = value["effort"]


def _output(value: Any, options: Fields) -> None:
    known(value, ("format", "verbosity"), "text")
    if value.get("verbosity") is not None:
        options["verbosity"] = value["verbosity"]
    form = value.get("format")
    kind = form.get("type") if isinstance(form, dict) else form
    if kind == "json_object":
        options["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        known(form, ("type", "name", "schema", "strict", "description"), "text.format")
        named = {name: item for name, item in form.items() if name != "type" and item is not None}
        for name in ("name", "schema"):
            if name not in named:
                place = f"text.format.{name}"
                raise bad_request(f"Missing required parameter: '{place}'.", "missing_required_parameter", place)
        options["response_format"] = {"type": "json_schema", "json_schema": named}
    elif kind not in (None, "text"):
        raise _unsupported("text.format.type", f"there is no {kind!r}")


def _choices(value: Any, options: Fields) -> None:
    if value != 1:
        raise _unsupported("n", "the Responses API gives one answer")


def _modalities(value: Any, options: Fields) -> None:
    if value != ["text"]:
        raise _unsupported("modalities", "a model that is asked by chat answers in text")


#: Read in this order; each puts what it comes to among the chat's options.
_FIELDS: Final[dict[str, Callable[[Any, Fields], None]]] = {
    "include": _include,
    "max_output_tokens": _limit,
    "truncation": _truncation,
    "stream_options": _stream_options,
    "reasoning": _reasoning,
    "text": _output,
    "n": _choices,
    "modalities": _modalities,
}


# --- tools -------------------------------------------------------------------------------------------------------


def _tools(left: Fields, options: Fields) -> None:
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(left.pop("tools", ()))]
    choice = left.pop("tool_choice", None)
    if isinstance(choice, dict):
        kind = choice.get("type")
        if kind == "function":
            options["tool_choice"] = {"type": "function", "function": {"name": _name(choice, "tool_choice")}}
        elif kind == "allowed_tools":
            tools = _allowed(tools, choice)
            if choice.get("mode") not in ("auto", "required"):
                raise _unsupported("tool_choice.mode", f"there is no {choice.get('mode')!r}")
            options["tool_choice"] = choice["mode"]
        else:
            raise _unsupported("tool_choice.type", f"a model that is asked by chat has no {kind!r}")
    elif choice is not None:
        options["tool_choice"] = choice
    if tools:
        options["tools"] = tools


def _tool(tool: Fields, where: str) -> Fields:
    kind = tool.get("type")
    if kind != "function":
        raise _unsupported(
            f"{where}.type", f"a model that is asked by chat has functions, and {kind!r} is run by OpenAI itself"
        )
    known(tool, _OF_TOOLS, where)
    if tool.get("defer_loading"):
        raise _unsupported(f"{where}.defer_loading", "there is no search among tools here")
    if tool.get("allowed_callers") not in (None, ["direct"]):
        raise _unsupported(f"{where}.allowed_callers", "here the model calls functions itself")
    function = {name: tool[name] for name in ("description", "parameters", "strict") if tool.get(name) is not None}
    made = {"type": "function", "function": {"name": _name(tool, where), **function}}
    if tool.get("cache_control") is not None:
        made["cache_control"] = tool["cache_control"]
    return made


_OF_TOOLS: Final = (
    *("type", "name", "description", "parameters", "strict"),
    *("defer_loading", "allowed_callers", "cache_control"),
)


def _allowed(tools: list[Fields], choice: Fields) -> list[Fields]:
    """The tools that may be called now; the others are not shown, so that no backend need know of this."""
    allowed = choice.get("tools")
    names = set()
    for index, tool in enumerate(allowed if isinstance(allowed, list) else ()):
        where = f"tool_choice.tools[{index}]"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise _unsupported(f"{where}.type", "a model that is asked by chat has functions alone")
        names.add(_name(tool, where))
    unknown = names - {tool["function"]["name"] for tool in tools}
    if unknown or not names:
        what = f"{min(unknown)!r} is none of the 'tools'" if unknown else "it names no tool"
        raise bad_request(f"Invalid value for 'tool_choice.tools': {what}.", "invalid_value", "tool_choice.tools")
    return [tool for tool in tools if tool["function"]["name"] in names]


def _name(fields: Fields, where: str) -> str:
    name = fields.get("name")
    place = f"{where}.name"
    if not isinstance(name, str) or not name:
        raise bad_request(f"Missing required parameter: '{place}'.", "missing_required_parameter", place)
    return name


def _unsupported(where: str, why: str) -> InvalidRequest:
    return bad_request(f"Unsupported parameter: '{where}': {why}.", "unsupported_parameter", where)
