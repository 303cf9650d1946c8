"""Chat messages in Ollama's own shape: content is one text, images are a list of base64, arguments are objects.

Source: ollama.openapi.yaml (ChatMessage); ``thinking``, ``tool_name`` and ids of tool calls from docs/capabilities.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from ipfs_accelerate_py.dialects.leftover import beside, unread
from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import Message

__all__ = ["messages"]

_ROLES = {"developer": "system", "function": "tool"}
#: Members of a message that are translated; others (``images``, ``tool_name``, ...) are Ollama's own and stay.
_TRANSLATED = frozenset(
    """
    annotations audio cache_control content function_call is_error name reasoning reasoning_content refusal role
    thinking_blocks tool_call_id tool_calls
    """.split()  # noqa: SIM905
)


def messages(given: list[Message], ignored: dict[str, None]) -> list[dict[str, Any]]:
    """All messages; names of what was left out because it changes nothing are added to ``ignored``."""
    called: dict[str, str] = {}  # names of the tools called so far, by the id of the call
    return [_message(f"messages[{index}]", message, called, ignored) for index, message in enumerate(given)]


def _message(place: str, message: Message, called: dict[str, str], ignored: dict[str, None]) -> dict[str, Any]:
    role = message.get("role")
    for name in ("audio", "function_call"):
        if message.get(name) is not None:
            raise UnsupportedOperation(f"{place}.{name}: Ollama's messages have nothing like it")
    for name in ("annotations", "cache_control", "is_error", "thinking_blocks"):  # of the last, the signatures
        if message.get(name):
            ignored[f"messages.{name}"] = None
    if not isinstance(message.get("thinking_blocks") or [], list | tuple):
        raise InvalidRequest(f"{place}.thinking_blocks must be a list", param=f"{place}.thinking_blocks")
    images: list[str] = []
    said = (_text(place, message.get("content"), images, ignored), message.get("refusal"))
    text = "\n".join(each for each in said if isinstance(each, str) and each)
    made: dict[str, Any] = {"role": _ROLES.get(role, role) if isinstance(role, str) else role, "content": text}
    made.update({name: value for name, value in message.items() if name not in _TRANSLATED and value is not None})
    if images:
        made["images"] = [*(message.get("images") or ()), *images]
    if (thinking := _thinking(message)) and "thinking" not in made:
        made["thinking"] = thinking
    if calls := message.get("tool_calls"):
        made["tool_calls"] = [
            _tool_call(f"{place}.tool_calls[{at}]", call, called, ignored) for at, call in enumerate(calls)
        ]
    named = message.get("name")
    if made["role"] == "tool":
        identity = message.get("tool_call_id")
        if identity is not None:
            made["tool_call_id"] = identity
        if (tool := named or called.get(identity or "")) and "tool_name" not in made:
            made["tool_name"] = tool
    elif named is not None:
        ignored["messages.name"] = None
    return made


def _thinking(message: Message) -> str:
    found = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(found, str):
        return found
    blocks = message.get("thinking_blocks") or ()
    return "".join(str(block.get("thinking", "")) for block in blocks if isinstance(block, dict))


def _tool_call(place: str, call: Any, called: dict[str, str], ignored: dict[str, None]) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise UnsupportedOperation(f"{place}: Ollama knows calls of functions, and this is none")
    for name in unread(call, ("id", "type", "function", "index")):
        ignored[f"messages.tool_calls.{name}"] = None
    made: dict[str, Any] = {"function": {**function, "arguments": _arguments(place, function.get("arguments"))}}
    if identity := call.get("id"):
        made["id"] = identity
        called[identity] = function.get("name", "")
    return made


def _arguments(place: str, given: Any) -> dict[str, Any]:
    value = given
    if given is None or given == "":
        return {}
    if isinstance(given, str):
        try:
            value = msgspec.json.decode(given)
        except (msgspec.DecodeError, UnicodeEncodeError):
            value = None
    if not isinstance(value, dict):
        param = f"{place}.function.arguments"
        raise InvalidRequest(f"{param} must be a JSON object: Ollama takes nothing else", param=param)
    return value


def _text(place: str, content: Any, images: list[str], ignored: dict[str, None]) -> str:
    """The content's text; its images are added to ``images``."""
    if content is None or isinstance(content, str):
        return content or ""
    param = f"{place}.content"
    if not isinstance(content, list):
        raise InvalidRequest(f"{param} must be a text or a list of parts", param=param)
    texts = []
    for index, part in enumerate(content):
        here = f"{param}[{index}]"
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "image_url":
            images.append(_image(here, part.get("image_url"), ignored))
        elif kind in ("text", "refusal") and isinstance(part.get(kind), str):
            texts.append(part[kind])
        elif kind in ("text", "refusal", None):
            raise InvalidRequest(f"{here} must be a part with a type and its content", param=here)
        else:
            raise UnsupportedOperation(f"{here}: Ollama takes text and images, not {kind!r}")
        beside(part, here, "Ollama", lambda name: ignored.update({f"messages.{name}": None}))
    return "\n".join(texts)


def _image(place: str, given: Any, ignored: dict[str, None]) -> str:
    """An image as base64."""
    url = given.get("url") if isinstance(given, Mapping) else given
    if not isinstance(url, str):
        raise InvalidRequest(f"{place}.image_url must have a url", param=f"{place}.image_url")
    if isinstance(given, Mapping) and given.get("detail") not in (None, "auto"):
        ignored["messages.image_url.detail"] = None
    head, comma, data = url.partition(",")
    if not head[:5].lower() == "data:" or not comma:
        raise UnsupportedOperation(
            f"{place}.image_url: Ollama takes images themselves and fetches none; send a data: URL with base64"
        )
    if head.lower().endswith(";base64"):
        return data
    return base64.b64encode(unquote_to_bytes(data)).decode("ascii")
