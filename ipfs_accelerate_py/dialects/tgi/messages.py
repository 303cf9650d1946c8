"""Messages of a chat as TGI takes them: text and images; text or tool calls, but not both in one message."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.dialects.leftover import beside
from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.types import Message

__all__ = ["chat_messages", "plain_tools"]

#: Of earlier turns; a chat template does not show them to the model.
_NOT_SENT = (
    *("reasoning_content", "reasoning", "thinking_blocks", "audio", "annotations", "cache_control"),
    "extra_content",
)


def chat_messages(messages: list[Message]) -> tuple[list[Message], list[str]]:
    """The messages, and the names of what was left out of them."""
    ignored: dict[str, None] = {}
    sent: list[Message] = []
    for message in messages:
        made = dict(message)
        for name in _NOT_SENT:
            if made.pop(name, None):
                ignored[f"messages.{name}"] = None
        if made.get("role") == "developer":  # the newer word for it, which templates do not know
            made["role"] = "system"
        if made.pop("is_error", False):
            ignored["messages.is_error"] = None
        if refusal := made.pop("refusal", None):
            made["content"] = _with_refusal(made.get("content"), refusal)
        content = made.get("content")
        if isinstance(content, list):
            made["content"] = content = [_part(part, ignored) for part in content]
        calls = made.get("tool_calls")
        if calls:
            made["tool_calls"] = [_call(call, ignored) for call in calls]
            made.pop("content", None)
            if content:  # a message with both loses its calls, so they are two
                sent.append({name: value for name, value in message.items() if name in ("role", "name")})
                sent[-1]["content"] = content
        else:
            made.pop("tool_calls", None)
            if content is None:
                made["content"] = ""
        sent.append(made)
    return sent, list(ignored)


def plain_tools(tools: Any) -> Any:
    """The tools without marks for a cache."""
    if not isinstance(tools, list):
        return tools
    return [
        {name: value for name, value in tool.items() if name != "cache_control"} if isinstance(tool, dict) else tool
        for tool in tools
    ]


def _with_refusal(content: Any, refusal: Any) -> Any:
    """What the assistant would not do is something that it said."""
    if isinstance(content, list):
        return [*content, {"type": "text", "text": refusal}]
    return f"{content}\n{refusal}" if content else refusal


def _part(part: Any, ignored: dict[str, None]) -> Any:
    if not isinstance(part, dict):
        return part
    kind = part.get("type", "text")
    beside(part, "messages.content", "TGI", lambda name: ignored.update({f"messages.{name}": None}))
    if kind in ("text", "refusal"):
        return {"type": "text", "text": part.get(kind, "")}
    if kind == "image_url":
        image = part.get("image_url")
        if isinstance(image, dict):
            if image.get("detail") not in (None, "auto"):
                ignored["messages.image_url.detail"] = None
            image = {"url": image.get("url")}
        return {"type": "image_url", "image_url": image}
    raise UnsupportedOperation(f"TGI takes text and images; it has no counterpart of a part of the type {kind!r}")


def _call(call: Any, ignored: dict[str, None]) -> Any:
    if not isinstance(call, dict):
        return call
    for name in ("extra_content", "cache_control"):
        if call.get(name):
            ignored[f"messages.tool_calls.{name}"] = None
    return {name: value for name, value in call.items() if name not in ("extra_content", "cache_control")}
