"""What of the vocabulary's messages OpenAI's own service does not know.

It refuses a field that it does not know, and a conversation that began with another service has some: marks for a
cache, and reasoning that is signed for its author. They are left out, and named in `Reply.ignored`. Servers that add to
the format (proxies above all) know them, and are sent everything as it is.
"""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.dialects.leftover import beside
from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.types import Message

__all__ = ["NOT_OPENAI", "plain_messages", "plain_tools"]

#: Options of the vocabulary and of other services that OpenAI refuses, as all that it does not know.
NOT_OPENAI = frozenset(
    """
    min_p mirostat mirostat_eta mirostat_tau penalize_newline repeat_last_n repeat_penalty repetition_penalty tfs_z
    thinking top_k typical_p
    """.split()  # noqa: SIM905
)

_OF_MESSAGES = frozenset(
    ("cache_control", "extra_content", "is_error", "reasoning", "reasoning_content", "thinking_blocks")
)
_OF_PARTS = frozenset(("cache_control", "citations", "context"))
_OF_TOOLS = frozenset(("cache_control",))
_OF_CALLS = frozenset(("cache_control", "extra_content"))


def plain_messages(messages: list[Message]) -> tuple[list[Message], tuple[str, ...]]:
    """The messages as OpenAI takes them, and the names of what was left out; the same list where that is nothing.

    Raises `UnsupportedOperation` for content that OpenAI has no way to be given.
    """
    ignored: dict[str, None] = {}
    plain = [_message(message, ignored) for message in messages]
    changed = any(new is not old for new, old in zip(plain, messages, strict=True))
    return (plain if changed else messages), tuple(ignored)


def plain_tools(tools: Any) -> tuple[Any, tuple[str, ...]]:
    """The same for the definitions of tools."""
    if not isinstance(tools, list) or not any(isinstance(tool, dict) and "cache_control" in tool for tool in tools):
        return tools, ()
    return [_without(tool, _OF_TOOLS, {}) for tool in tools], ("cache_control",)


def _message(message: Message, ignored: dict[str, None]) -> Message:
    message = _without(message, _OF_MESSAGES, ignored)
    content = message.get("content")
    if isinstance(content, list):
        parts = [_part(part, ignored) for part in content]
        if any(part is not old for part, old in zip(parts, content, strict=True)):
            message = {**message, "content": parts}
    calls = message.get("tool_calls")
    if isinstance(calls, list) and any(isinstance(call, dict) and _OF_CALLS & call.keys() for call in calls):
        message = {**message, "tool_calls": [_without(call, _OF_CALLS, ignored) for call in calls]}
    return message


def _part(part: Any, ignored: dict[str, None]) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "video_url":
        raise UnsupportedOperation("OpenAI takes no video in a message (video_url)")
    file = part.get("file")
    if isinstance(file, dict) and file.get("file_url"):
        raise UnsupportedOperation("OpenAI's chat takes a file itself, and not by its address (file.file_url)")
    if _OF_PARTS.isdisjoint(part):
        return part
    named = {name: part[name] for name in _OF_PARTS & part.keys()}
    beside(named, "messages.content", "OpenAI", lambda name: ignored.update({name: None}))
    return {name: value for name, value in part.items() if name not in _OF_PARTS}


def _without(value: Any, names: frozenset[str], ignored: dict[str, None]) -> Any:
    if not isinstance(value, dict) or names.isdisjoint(value):
        return value
    ignored.update(dict.fromkeys(names & value.keys()))
    return {name: item for name, item in value.items() if name not in names}
