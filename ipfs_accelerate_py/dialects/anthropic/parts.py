"""Content parts of the vocabulary as Anthropic's content blocks. Pure.

Source: Anthropic's API reference ("Messages"), and for the parts OpenAI's. A part that is a block of Anthropic's
already (``image``, ``document``, ``search_result``, ...) is sent as it is, and so are ``cache_control``, ``citations``
and whatever else a part carries beside its content.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote_to_bytes

from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import UnsupportedOperation

__all__ = ["Notes", "as_blocks"]

Block = dict[str, Any]


class Notes:
    """What was left out of a request because the answer does not depend on it, in the order it was met."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        self._names[name] = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)


def as_blocks(content: Any, where: str, notes: Notes) -> list[Block]:
    """A message's content (a text, parts, or nothing) as blocks; texts that are empty, which are refused, are left out.

    ``where`` is the content's place in the request, for errors.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list | tuple):
        raise bad_request(f"'{where}' must be a text or a list of parts, not {type(content).__name__}", param=where)
    made = [_block(part, f"{where}[{index}]", notes) for index, part in enumerate(content)]
    return [block for block in made if block.get("type") != "text" or block.get("text")]


def _block(part: Any, where: str, notes: Notes) -> Block:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict) or not isinstance(kind := part.get("type"), str):
        raise bad_request(f"'{where}' must be a part with a 'type'", param=where)
    if kind in ("input_audio", "video_url", "audio"):
        raise UnsupportedOperation(f"Anthropic's Messages API takes no {kind} ('{where}')")
    rest = {name: value for name, value in part.items() if name not in ("type", kind) and value is not None}
    if kind == "image_url":
        return _image(part.get(kind), where, notes) | rest
    if kind == "file":
        return _file(part.get(kind), where) | rest
    if kind == "refusal":
        return {"type": "text", "text": part.get(kind) or "", **rest}
    if kind == "text" and not isinstance(part.get("text"), str):
        raise bad_request(f"'{where}.text' must be a text", param=f"{where}.text")
    return dict(part)


def _image(given: Any, where: str, notes: Notes) -> Block:
    fields = given if isinstance(given, dict) else {"url": given}
    url = fields.get("url")
    if not isinstance(url, str) or not url:
        raise bad_request(f"'{where}.image_url.url' must be a URL", param=f"{where}.image_url.url")
    if fields.get("detail") not in (None, "auto"):
        notes.add("image_url.detail")
    if not url.startswith("data:"):
        return {"type": "image", "source": {"type": "url", "url": url}}
    return _embedded(*_data_url(url, f"{where}.image_url.url"), where)


def _file(given: Any, where: str) -> Block:
    fields = given if isinstance(given, dict) else {}
    data = fields.get("file_data") or fields.get("file_url")
    title = fields.get("filename")
    if isinstance(data, str) and data:
        if data.startswith("data:"):
            made = _embedded(*_data_url(data, f"{where}.file.file_data"), where)
        elif data.startswith(("https://", "http://")):
            made = {"type": "document", "source": {"type": "url", "url": data}}
        else:
            raise bad_request(
                f"'{where}.file.file_data' must be a data URL (data:application/pdf;base64,...) or a URL",
                param=f"{where}.file.file_data",
            )
    elif isinstance(fields.get("file_id"), str):
        made = {"type": "document", "source": {"type": "file", "file_id": fields["file_id"]}}
    else:
        raise bad_request(f"'{where}.file' has neither file_data nor file_id", param=f"{where}.file")
    if title and made["type"] == "document":
        made["title"] = title
    return made


def _embedded(media: str, data: str, where: str) -> Block:
    """Content that is in the request itself: an image, a PDF, or a text."""
    if media.startswith("image/"):
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
    if media == "application/pdf":
        return {"type": "document", "source": {"type": "base64", "media_type": media, "data": data}}
    if media.startswith("text/") or media == "application/json":
        try:
            text = base64.b64decode(data, validate=True).decode()
        except ValueError:
            raise bad_request(f"'{where}' is no text in UTF-8 as base64", param=where) from None
        return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}}
    raise UnsupportedOperation(
        f"Anthropic's Messages API takes images, PDF and plain text, not {media or 'what has no type'} ('{where}')"
    )


def _data_url(url: str, where: str) -> tuple[str, str]:
    """Media type and base64 of a data URL (RFC 2397)."""
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise bad_request(f"'{where}' is no data URL: it has no comma", param=where)
    media, *parameters = head.split(";")
    if "base64" not in parameters:
        data = base64.b64encode(unquote_to_bytes(data)).decode("ascii")
    return media.strip().lower() or "text/plain", data
