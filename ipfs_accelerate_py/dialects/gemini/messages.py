"""Messages and tools of the vocabulary as Google writes them: contents, system instruction, function declarations.

Source: ai.google.dev/gemini-api/docs ("Function calling", "Thought signatures", "File input methods") and the protobuf
google.ai.generativelanguage.v1beta.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from ipfs_accelerate_py.dialects.leftover import beside, unread
from ipfs_accelerate_py.dialects.reading import name as text_or_empty
from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import Message

__all__ = ["UNSIGNED", "Contents", "thinks_in_levels", "wrong"]

#: Tells Gemini 3 and later not to look for a signature on a call that another model made ("Thought signatures").
UNSIGNED = "skip_thought_signature_validator"

_BUDGETED = re.compile(r"(^|/)gemini-(1|2)(\.|-|$)")
_DATA_URL = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", re.S)
#: For URLs and file names; what is not here goes without a type, and the service looks for itself.
_TYPES = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "csv": "text/csv",
    "json": "application/json",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "webm": "video/webm",
    "mpeg": "video/mpeg",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
}
_RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
#: Members of a message that are carried or refused where they are met.
_READ = frozenset(
    """
    audio content extra_content function_call is_error reasoning reasoning_content refusal role thinking_blocks
    tool_call_id tool_calls
    """.split()  # noqa: SIM905
)


def thinks_in_levels(model: str) -> bool:
    """Whether the model is of Gemini 3 or later: it thinks in levels instead of budgets, and wants its signatures."""
    return "gemini" in model and _BUDGETED.search(model) is None


def wrong(message: str, param: str) -> InvalidRequest:
    """What cannot be said because it is wrong in any format."""
    return InvalidRequest(message, param=param, code="invalid_value")


class Contents:
    """The messages of one request, translated.

    Attributes:
        system: parts of the system instruction: every system and developer message, in order.
        contents: the turns.
        ignored: names of what was left out because no answer depends on it.
        details: how finely images are to be looked at, where that was said of them and parts cannot say it.
    """

    def __init__(self, messages: Sequence[Message], model: str) -> None:
        self.system: list[dict[str, Any]] = []
        self.contents: list[dict[str, Any]] = []
        self.ignored: set[str] = set()
        self.details: list[str] = []
        self._levels = thinks_in_levels(model)
        self._called: dict[str, str] = {}
        self._results: list[dict[str, Any]] | None = None
        for position, message in enumerate(messages):
            self._add(message, f"messages[{position}]")
        if not self.contents:
            raise wrong("the service needs at least one message that is not the system's", "messages")

    def _add(self, message: Message, place: str) -> None:
        role = message.get("role")
        self.ignored.update(key for key in unread(message, _READ) if key != "name" or role != "tool")
        if role == "tool":
            if self._results is None:
                self._results = []
                self.contents.append({"role": "user", "parts": self._results})
            self._results.append(self._result(message, place))
            return
        self._results = None
        if role in ("system", "developer"):
            self.system += self._parts(message.get("content"), f"{place}.content")
        elif role == "user":
            self.contents.append({"role": "user", "parts": self._parts(message.get("content"), f"{place}.content")})
        elif role == "assistant":
            self._assistant(message, place)
        else:
            raise wrong(f"the service has no role {role!r}", f"{place}.role")

    def _assistant(self, message: Message, place: str) -> None:
        parts: list[dict[str, Any]] = []
        thought = (
            message.get("reasoning_content")
            or message.get("reasoning")
            or "".join(
                text_or_empty(block.get("thinking")) for block in _blocks(message, place) if isinstance(block, dict)
            )
        )
        if thought:
            parts.append({"text": thought, "thought": True})
        if message.get("thinking_blocks"):
            self.ignored.add("thinking_blocks")  # the words are sent; another vendor's signatures mean nothing here
        for field in ("content", "refusal"):
            if message.get(field):
                parts += self._parts(message[field], f"{place}.{field}")
        signature = _signature(message)
        if signature and parts:
            parts[-1]["thoughtSignature"] = signature
        for number, call in enumerate(message.get("tool_calls") or ()):
            parts.append(self._call(call, f"{place}.tool_calls[{number}]", first=number == 0))
        for field in ("audio", "function_call"):
            if message.get(field):
                raise UnsupportedOperation(f"the service has no counterpart of {place}.{field}")
        if parts:
            self.contents.append({"role": "model", "parts": parts})

    def _call(self, call: Any, place: str, *, first: bool) -> dict[str, Any]:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise UnsupportedOperation(f"the service has function tools only, and {place} is no call of one")
        self.ignored.update(key for key in unread(call, ("id", "type", "function", "extra_content", "index")))
        text = function.get("arguments") or "{}"
        try:
            given = msgspec.json.decode(text) if isinstance(text, str) else text
        except msgspec.DecodeError:
            given = None
        if not isinstance(given, dict):
            raise wrong("arguments of a tool call must be a JSON object", f"{place}.function.arguments")
        made: dict[str, Any] = {"name": text_or_empty(function.get("name")), "args": given}
        identity = text_or_empty(call.get("id"))
        if identity:
            made["id"] = identity
            self._called[identity] = made["name"]
        part: dict[str, Any] = {"functionCall": made}
        # Of calls made together only the first one is signed.
        signature = _signature(call) or (UNSIGNED if self._levels and first else "")
        if signature:
            part["thoughtSignature"] = signature
        return part

    def _result(self, message: Message, place: str) -> dict[str, Any]:
        identity = text_or_empty(message.get("tool_call_id"))
        called = self._called.get(identity) or text_or_empty(message.get("name"))
        if not called:
            raise wrong(
                f"the service wants the function's name with its result, and no call before has the id {identity!r}",
                f"{place}.tool_call_id",
            )
        parts = self._parts(message.get("content") or "", f"{place}.content")
        text = "".join(part["text"] for part in parts if "text" in part)
        made: dict[str, Any] = {"name": called, "response": _response(text, message.get("is_error") is True)}
        if identity:
            made["id"] = identity
        media = [part for part in parts if "text" not in part]
        if media:
            if any("fileData" in part for part in media):
                raise UnsupportedOperation(f"a tool's result takes media as data, not by URL ({place}.content)")
            made["parts"] = media
        return {"functionResponse": made}

    # --- parts ---------------------------------------------------------------------------------------------------

    def _parts(self, content: Any, place: str) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"text": content}]
        if not isinstance(content, list):
            raise wrong(f"content must be a text or a list of parts, not {type(content).__name__}", place)
        return [self._part(part, f"{place}[{number}]") for number, part in enumerate(content)]

    def _part(self, part: Any, place: str) -> dict[str, Any]:
        if isinstance(part, str):
            return {"text": part}
        if not isinstance(part, dict):
            raise wrong("a part of a message must be an object", place)
        kind = part.get("type")
        if kind is not None:
            beside(part, place, "Google's Gemini API", self.ignored.add)
        if kind in ("text", "refusal"):
            return {"text": text_or_empty(part.get(kind))}
        if kind == "image_url":
            return self._image(part.get("image_url"), place)
        if kind == "video_url":
            given = part.get("video_url")
            return _media(given.get("url") if isinstance(given, dict) else given, f"{place}.video_url")
        if kind == "input_audio":
            given = part.get("input_audio")
            if not isinstance(given, dict) or not isinstance(given.get("data"), str):
                raise wrong("input_audio needs data and format", f"{place}.input_audio")
            return {"inlineData": {"mimeType": f"audio/{given.get('format') or 'wav'}", "data": given["data"]}}
        if kind == "file":
            return self._file(part.get("file"), f"{place}.file")
        if kind is None and part:
            return part  # one of Google's own
        raise UnsupportedOperation(f"the service has no counterpart of content of type {kind!r} ({place})")

    def _file(self, given: Any, place: str) -> dict[str, Any]:
        if isinstance(given, dict) and given.get("filename"):
            self.ignored.add("file.filename")  # but for its ending, where nothing else tells the type
        return _file(given, place)

    def _image(self, given: Any, place: str) -> dict[str, Any]:
        made = _media(given.get("url") if isinstance(given, dict) else given, f"{place}.image_url")
        detail = given.get("detail") if isinstance(given, dict) else None
        if detail not in (None, "auto", *_RESOLUTIONS):
            raise UnsupportedOperation(f"the service has no detail {detail!r} of images ({place}.image_url.detail)")
        if self._levels and detail in _RESOLUTIONS:
            made["mediaResolution"] = {"level": _RESOLUTIONS[detail]}
        elif not self._levels:
            self.details.append(detail or "auto")
        return made

    @property
    def resolution(self) -> str | None:
        """For models that have one resolution for the whole request: the finest that was asked for."""
        if "high" in self.details:
            return _RESOLUTIONS["high"]
        return _RESOLUTIONS["low"] if self.details and set(self.details) == {"low"} else None


def _blocks(message: Message, place: str) -> list[Any]:
    blocks = message.get("thinking_blocks") or []
    if not isinstance(blocks, list):
        raise wrong("thinking_blocks must be a list of blocks", f"{place}.thinking_blocks")
    return blocks


def _media(url: Any, place: str) -> dict[str, Any]:
    """Data of a data URL, or a URI: of a file that was uploaded, of a video, of anything public."""
    if not isinstance(url, str) or not url:
        raise wrong("a URL is missing", f"{place}.url")
    found = _DATA_URL.fullmatch(url)
    if found is not None:
        kind, parameters, data = found.groups()
        if ";base64" not in parameters:
            data = base64.b64encode(unquote_to_bytes(data)).decode()
        return {"inlineData": {"mimeType": kind or "text/plain", "data": data}}
    if url.startswith("data:"):
        raise wrong("the data URL cannot be read", f"{place}.url")
    made = {"fileUri": url}
    kind = _TYPES.get(_ending(url.partition("?")[0]))
    if kind:
        made["mimeType"] = kind
    return {"fileData": made}


def _file(given: Any, place: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise wrong("file must be an object", place)
    data, uri = given.get("file_data"), given.get("file_id") or given.get("file_url")
    if isinstance(data, str) and data:
        if data.startswith("data:"):
            return _media(data, place)
        kind = _TYPES.get(_ending(text_or_empty(given.get("filename"))))
        if kind is None:
            raise wrong("file_data without a type: write it as a data URL, or give a filename", f"{place}.file_data")
        return {"inlineData": {"mimeType": kind, "data": data}}
    if isinstance(uri, str) and uri:
        return _media(uri, place)
    raise wrong("a file needs file_data or file_id", place)


def _ending(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def _response(text: str, failed: bool) -> dict[str, Any]:
    """A tool's result: an object as it is, anything else under ``output``; what went wrong under ``error``."""
    if failed:
        return {"error": text}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        value = None
    return value if isinstance(value, dict) else {"output": text}


def _signature(value: Any) -> str:
    extra = value.get("extra_content") if isinstance(value, dict) else None
    google = extra.get("google") if isinstance(extra, dict) else None
    return text_or_empty(google.get("thought_signature")) if isinstance(google, dict) else ""
