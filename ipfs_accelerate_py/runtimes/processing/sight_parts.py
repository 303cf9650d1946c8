"""The parts of a chat message in OpenAI's two shapes (chat completions and responses), and the images among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .pictures import picture, refuse

__all__ = ["image_in", "parts_of", "plain"]

_TEXT = ("text", "input_text", "output_text")
_IMAGE = ("image_url", "input_image", "image")


def parts_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A message's parts, where it has any."""
    content = message.get("content")
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list | tuple) else []


def image_in(part: Mapping[str, Any]) -> Any:
    """What a part gives as image; None where it is none."""
    if part.get("type") not in _IMAGE:
        return None
    for key in ("image_url", "image", "data", "url"):
        found = part.get(key)
        if isinstance(found, Mapping):
            found = found.get("url") or found.get("data")
        if found is not None:
            return found
    raise refuse("messages: a part of an image has no 'image_url'", "messages")


def plain(
    message: Mapping[str, Any], typed: bool, mark: str, pictures: list[Any], inline: bool = False
) -> dict[str, Any]:
    """A message as a chat template takes it; its images go to ``pictures``.

    Args:
        message: in OpenAI's shape.
        typed: whether the template reads parts by their type; else they become one text, with ``mark`` for an image.
        mark: the model's own token of an image.
        pictures: list that this adds to.
        inline: write the marks into the text even for a template of parts.
    """
    content = message.get("content")
    if isinstance(content, str) or content is None:
        spoken = message.get("role") in ("user", "system", "assistant", "developer")
        if typed and spoken and content is not None:
            return {**message, "content": [{"type": "text", "text": content}]}
        return {**message, "content": content or ""}
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
            continue
        if not isinstance(part, Mapping):
            raise refuse(f"messages: a part is no mapping but {type(part).__name__}", "messages")
        given = image_in(part)
        if given is not None:
            pictures.append(picture(given, "messages"))
            parts.append({"type": "image"})
        elif part.get("type") in _TEXT:
            parts.append({"type": "text", "text": str(part.get("text", ""))})
        else:
            raise refuse(
                f"messages: this model reads texts and images, no part of type {part.get('type')!r}", "messages"
            )
    if typed and not inline:
        return {**message, "content": parts}
    text = "\n".join(mark if each["type"] == "image" else each["text"] for each in parts)
    return {**message, "content": [{"type": "text", "text": text}] if typed else text}
