"""Sound, images and verdicts in OpenAI's format: requests and answers.

Source: OpenAI's API specification: ``/images/generations``, ``/audio/speech``, ``/audio/transcriptions``,
``/audio/translations``, ``/moderations``. Groq and vLLM have the audio among them.
"""

from __future__ import annotations

import base64
import binascii
import math
import mimetypes
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.forms import Part, encode_form
from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.dialects.reading import count, name, part
from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError
from ipfs_accelerate_py.types import (
    Call,
    Image,
    Moderation,
    ModerationRequest,
    Reply,
    Segment,
    SpeechRequest,
    TranscriptionRequest,
    Usage,
)

__all__ = ["encode_transcription", "read_images", "read_moderations", "read_speech", "read_transcription"]

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# --- transcriptions ----------------------------------------------------------------------------------------------

#: What `mimetypes` calls otherwise, or does not know on every machine.
_SOUNDS = {"flac": "audio/flac", "m4a": "audio/mp4", "ogg": "audio/ogg", "opus": "audio/ogg", "wav": "audio/wav"}
_SUBTITLES = ("srt", "vtt")
_CUE = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[,.](\d{3}) *--> *(?:(\d+):)?(\d{1,2}):(\d{2})[,.](\d{3})")


def encode_transcription(request: TranscriptionRequest) -> tuple[bytes, str]:
    """The form and its type. A list is a field for each item; what has an inside of its own is written as JSON."""
    parts = [Part("model", request.model.encode())]
    for field, value in request.options.items():
        if isinstance(value, list | tuple):
            parts += [Part(field + "[]", _field(field, item)) for item in value]
        elif value is not None:
            parts.append(Part(field, _field(field, value)))
    parts.append(Part("file", request.audio, request.filename, _sound(request.filename)))
    return encode_form(parts)


def _field(field: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, bytes):
        return value
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(f"{field!r} cannot be written in a form: {type(value).__name__}") from None


def _sound(filename: str) -> str:
    ending = filename.rpartition(".")[2].lower()
    return _SOUNDS.get(ending) or mimetypes.guess_type(filename)[0] or "application/octet-stream"


def read_transcription(call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
    """JSON of one kind or another; plain text and subtitles where they were asked for."""
    request = call.request
    asked = request.options.get("response_format")
    raw: Any = None
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if asked not in ("text", *_SUBTITLES):
            raise ProtocolError(
                f"the upstream's transcription is not JSON; it begins with {body[:80].decode('utf-8', 'replace')!r}"
            ) from None
    if not isinstance(raw, dict):
        as_json = asked not in ("text", *_SUBTITLES) or headers.get("content-type", "").startswith("application/json")
        if as_json and not isinstance(raw, str):
            raise ProtocolError(f"the upstream's transcription is not a JSON object but a {type(raw).__name__}")
        return _transcribed_text(raw if isinstance(raw, str) else body.decode("utf-8", "replace"), asked, body, headers)
    if "text" not in raw and raw.get("error"):
        raise error_from_body(raw)
    if not isinstance(raw.get("text"), str):
        raise ProtocolError("the upstream's transcription has no text", body=raw)
    return Reply(
        model=name(raw.get("model")),
        text=raw["text"],
        segments=[_segment(part(segment)) for segment in raw.get("segments") or ()],
        usage=_audio_usage(raw.get("usage"), raw.get("duration")),
        raw=raw,
    )


def _transcribed_text(text: str, asked: Any, body: bytes, headers: Mapping[str, str]) -> Reply:
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if kind == "text/html":
        raise ProtocolError("the upstream answered with a page of HTML in the place of a transcription")
    segments = _cues(text) if asked in _SUBTITLES else []
    return Reply(text=text, segments=segments, body=body, content_type=kind or "text/plain")


def _segment(raw: dict[str, Any]) -> Segment:
    return Segment(float(raw["start"]), float(raw["end"]), str(raw["text"]), name(raw.get("speaker")))


def _cues(document: str) -> list[Segment]:
    """The stretches of a document of subtitles, SRT or WebVTT."""
    found = []
    for block in re.split(r"\r?\n[ \t]*\r?\n", document):
        times = _CUE.search(block)
        if times is not None:
            numbers = [int(number or 0) for number in times.groups()]
            start, end = (h * 3600 + m * 60 + s + ms / 1000 for h, m, s, ms in (numbers[:4], numbers[4:]))
            text = block[times.end() :].partition("\n")[2]
            found.append(Segment(start, end, text.replace("\r\n", "\n").strip()))
    return found


def _audio_usage(raw: Any, duration: Any) -> Usage:
    """Counts of tokens; or the duration, which older models are billed by."""
    if not isinstance(raw, dict) or "input_tokens" not in raw:
        length = raw.get("seconds") if isinstance(raw, dict) else duration
        return Usage(seconds=_seconds(length))
    details = raw.get("input_token_details")
    sound = count(details.get("audio_tokens")) if isinstance(details, dict) else 0
    return Usage(count(raw["input_tokens"]), count(raw.get("output_tokens")), input_audio_tokens=sound, reported=True)


def _seconds(value: Any) -> float:
    """A length of time; some servers send it as text."""
    try:
        length = float(value)
    except (TypeError, ValueError):
        return 0.0
    return length if 0.0 < length < math.inf else 0.0


# --- speech ------------------------------------------------------------------------------------------------------


def read_speech(call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
    """The recording as it is."""
    kind = headers.get("content-type", "").strip()
    if kind.startswith(("application/json", "text/")):
        raise _said_instead(body, kind)
    if not body:
        raise ProtocolError("the upstream answered with an empty recording")
    spoken = len(call.request.input) if isinstance(call.request, SpeechRequest) else 0
    return Reply(body=body, content_type=kind or "application/octet-stream", usage=Usage(characters=spoken))


def _said_instead(body: bytes, kind: str) -> Exception:
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raw = None
    if isinstance(raw, dict) and raw.get("error"):
        return error_from_body(raw)
    return ProtocolError(f"the upstream answered with {kind.partition(';')[0]} in the place of a recording")


# --- images ------------------------------------------------------------------------------------------------------

_MAGIC = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


def read_images(raw: dict[str, Any], call: Call) -> Reply:
    items = raw["data"]
    if not items:
        raise ProtocolError("the upstream answered without an image", body=raw)
    return Reply(
        model=name(raw.get("model")),
        images=[_image(item, name(raw.get("output_format"))) for item in items],
        usage=_image_usage(raw.get("usage"), len(items)),
    )


def _image(item: dict[str, Any], form: str) -> Image:
    packed = item.get("b64_json")
    if not packed:
        return Image(url=str(item["url"]), prompt=name(item.get("revised_prompt")))
    try:
        data = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("an image of the upstream's answer is not base64") from None
    kind = next((kind for magic, kind in _MAGIC if data.startswith(magic)), f"image/{form}" if form else "")
    return Image(data=data, media_type=kind, prompt=name(item.get("revised_prompt")))


def _image_usage(raw: Any, images: int) -> Usage:
    if not isinstance(raw, dict):
        return Usage(images=images)
    return Usage(count(raw.get("input_tokens")), count(raw.get("output_tokens")), reported=True, images=images)


# --- verdicts ----------------------------------------------------------------------------------------------------


def read_moderations(raw: dict[str, Any], call: Call) -> Reply:
    results = raw["results"]
    request = call.request
    if isinstance(request, ModerationRequest):
        # A verdict belongs to its input by position. Parts (a text and its images) are judged together, as one.
        wanted = len(request.input) if all(isinstance(item, str) for item in request.input) else 1
        if len(results) != wanted:
            raise ProtocolError(f"{wanted} inputs were sent and the upstream answered with {len(results)} verdicts")
    return Reply(
        id=name(raw.get("id")), model=name(raw.get("model")), moderations=[_verdict(result) for result in results]
    )


def _verdict(raw: dict[str, Any]) -> Moderation:
    if not isinstance(raw["flagged"], bool):
        raise ProtocolError("a verdict of the upstream's does not say whether it flagged the input", body=raw)
    # null: the model does not judge this category
    return Moderation(
        raw["flagged"],
        {category: bool(value) for category, value in raw["categories"].items() if value is not None},
        {category: float(value) for category, value in raw["category_scores"].items() if value is not None},
    )
