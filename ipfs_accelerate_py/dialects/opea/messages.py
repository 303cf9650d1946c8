"""A conversation as OPEA's megaservices read one (``handle_message`` of GenAIComps, ``comps/cores/mega/utils.py``).

They flatten it into one prompt: the system text, then ``role: text`` lines. Of several system messages they keep the
last, a part that is neither text nor image they drop, and an image that is no URL they look for among their own
files. So what they would lose is put together or refused here, and an image is sent as a URL or as bare base64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.dialects.leftover import beside, unread
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.types import Message

__all__ = ["lone_text", "opea_messages"]

#: Services with a model behind them that sees.
_SEEING = frozenset(("visualqna", "multimodalqna", "videoqna"))


#: Members of a message that are carried or refused where they are met.
_READ = ("role", "content", "refusal", "tool_calls", "function_call")


def opea_messages(service: str, messages: Sequence[Message]) -> tuple[str | list[dict[str, Any]], tuple[str, ...]]:
    """One question as a text (it is also what is searched for), anything longer as a list of messages.

    And the names of what was left out because it changes nothing.
    """
    ignored: dict[str, None] = {}
    return _conversation(service, messages, ignored), tuple(ignored)


def _conversation(service: str, messages: Sequence[Message], ignored: dict[str, None]) -> str | list[dict[str, Any]]:
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if message.get("audio"):
            raise UnsupportedOperation(f"OPEA's megaservice {service!r} takes no audio in a conversation")
        ignored.update({f"messages.{name}": None for name in unread(message, _READ)})
        ignored.update({f"messages.{name}": None for name in _beside(message)})
        if role in ("system", "developer"):
            system.append(_text(service, message))
        elif role == "user":
            turns.append({"role": "user", "content": _content(service, message)})
        elif role == "assistant":
            if message.get("tool_calls") or message.get("function_call"):
                raise UnsupportedOperation(f"OPEA's megaservice {service!r} knows no calls of tools in a conversation")
            said = (_text(service, message), message.get("refusal"))
            turns.append(
                {"role": "assistant", "content": "\n".join(each for each in said if isinstance(each, str) and each)}
            )
        else:
            raise UnsupportedOperation(f"OPEA's megaservice {service!r} knows no messages of the role {role!r}")
    if not system and len(turns) == 1 and turns[0]["role"] == "user" and isinstance(turns[0]["content"], str):
        alone: str = turns[0]["content"]
        return alone
    first = [{"role": "system", "content": "\n".join(system)}] if system else []
    return [*first, *turns]


def _beside(message: Message) -> list[str]:
    """What a message's parts hold that is not read. Raises `UnsupportedOperation` for what an answer depends on."""
    found: list[str] = []
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping):
            beside(part, "messages.content", "OPEA", found.append)
            image = part.get("image_url")
            if isinstance(image, Mapping) and image.get("detail") not in (None, "auto"):
                found.append("image_url.detail")
    return found


def lone_text(messages: Sequence[Message]) -> str:
    """The text of a conversation that is one message of the user's; empty for any other."""
    if len(messages) != 1 or messages[0].get("role") != "user":
        return ""
    return _text("codetrans", messages[0])


def _text(service: str, message: Message) -> str:
    """A content that must be text, parts joined as the service joins them."""
    content = _content(service, message, images=False)
    assert isinstance(content, str)
    return content


def _content(service: str, message: Message, *, images: bool = True) -> str | list[dict[str, Any]]:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise ConfigurationError(f"a message's content must be a text or parts, not a {type(content).__name__}")
    parts = [_part(service, each, images) for each in content]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(service: str, part: Any, images: bool) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "refusal") and isinstance(part.get(kind), str):
        return {"type": "text", "text": part[kind]}
    if kind == "image_url" and images and service in _SEEING:
        return {"type": "image_url", "image_url": {"url": _image(part.get("image_url"))}}
    raise UnsupportedOperation(f"OPEA's megaservice {service!r} takes no part of the type {kind!r} in a message")


def _image(given: Any) -> str:
    url = given.get("url") if isinstance(given, Mapping) else given
    if isinstance(url, str):
        if url.startswith(("http://", "https://")):
            return url
        head, comma, data = url.partition(",")
        if comma and head.startswith("data:") and head.endswith(";base64"):
            return data
    # Anything else the service would take for the path of a file of its own.
    raise ConfigurationError("an image must be a URL (https:) or a data URL in base64")
