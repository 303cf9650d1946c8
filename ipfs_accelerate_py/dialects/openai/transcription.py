"""Transcriptions as a server takes and answers them: a form with a recording in, one of five formats out. Pure.

Source: OpenAI's API specification (openai.openapi.yaml), ``/audio/transcriptions`` and ``/audio/translations``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.checking import FORBIDDEN
from ipfs_accelerate_py.dialects.forms import decode_form
from ipfs_accelerate_py.dialects.serving import Answer, bad_request
from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.types import Operation, Passthrough, Reply, Request, Segment, TranscriptionRequest

__all__ = ["TranscriptionForm", "decode_transcription", "encode_transcription"]

_encode = msgspec.json.Encoder().encode
_FORMATS = ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")
_NUMBERS = ("temperature",)


class TranscriptionForm:
    """A form that has passed the check (a `ServedRequest`)."""

    operation = Operation.TRANSCRIBE
    stream = False

    def __init__(self, model: str, audio: bytes, filename: str, translate: bool, options: dict[str, Any]) -> None:
        self.model = model
        self.format: str = options.get("response_format") or "json"
        self._audio = audio
        self._filename = filename
        self._translate = translate
        self._options = options

    def passthrough(self, model: str, *, stream_usage: bool = True) -> Passthrough | None:
        """A form is put together anew for its target, with the target's name of the model."""
        return None

    def summary(self, model: str) -> Request:
        return self.request(model)

    def request(self, model: str) -> Request:
        return TranscriptionRequest(model, self._audio, self._filename, self._translate, dict(self._options))


def decode_transcription(body: bytes, content_type: str, *, translate: bool) -> TranscriptionForm:
    """Check a form. Raises `InvalidRequest` whose ``param`` names the field that is wrong."""
    model = ""
    audio: bytes | None = None
    filename = ""
    options: dict[str, Any] = {}
    for part in decode_form(body, content_type):
        if part.name == "file":
            audio, filename = part.data, part.filename or "audio"
        elif part.name == "model":
            model = part.text
        elif part.name in FORBIDDEN:
            raise bad_request(f"Unsupported parameter: '{part.name}'.", "unsupported_parameter", part.name)
        elif part.name.endswith("[]"):
            options.setdefault(part.name[:-2], []).append(part.text)
        else:
            options[part.name] = part.text
    for name, value in (("file", audio), ("model", model)):
        if not value:
            raise bad_request(f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    for name in _NUMBERS:
        if name in options:
            options[name] = _number(name, options[name])
    if str(options.pop("stream", "false")).lower() not in ("false", "0", ""):
        raise bad_request("Unsupported parameter: 'stream'.", "unsupported_parameter", "stream")
    wanted = options.get("response_format", "json")
    if wanted not in _FORMATS:
        raise bad_request(
            f"Invalid value for 'response_format': expected one of {', '.join(_FORMATS)}.",
            "invalid_value",
            "response_format",
        )
    assert audio is not None
    return TranscriptionForm(model, audio, filename, translate, options)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise bad_request(f"Invalid type for '{name}': expected number.", "invalid_type", name) from None


def encode_transcription(request: TranscriptionForm, reply: Reply) -> Answer:
    """The text in the format that was asked for; the provider's own words, where it answered in that format."""
    if request.format in ("srt", "vtt"):
        if reply.body:
            return Answer(reply.body, reply.content_type)
        if not reply.segments:
            raise UnsupportedOperation(f"the backend gave no times, and {request.format!r} is made of them")
        return Answer(_subtitles(reply.segments, request.format), "text/plain; charset=utf-8")
    if request.format == "text":
        return Answer(reply.text.encode() + b"\n", "text/plain; charset=utf-8")
    if isinstance(reply.raw, dict) and "text" in reply.raw:
        return Answer(_encode(reply.raw))
    body: dict[str, Any] = {"text": reply.text}
    if request.format == "verbose_json":
        body["segments"] = [
            {"id": index, "start": each.start, "end": each.end, "text": each.text}
            for index, each in enumerate(reply.segments)
        ]
        body["duration"] = reply.segments[-1].end if reply.segments else 0.0
    return Answer(_encode(body))


def _subtitles(segments: Any, kind: str) -> bytes:
    blocks = ["WEBVTT"] if kind == "vtt" else []
    for number, segment in enumerate(segments, 1):
        times = f"{_time(segment.start, kind)} --> {_time(segment.end, kind)}"
        head = f"{number}\n{times}" if kind == "srt" else times
        blocks.append(f"{head}\n{_spoken(segment)}")
    return ("\n\n".join(blocks) + "\n").encode()


def _spoken(segment: Segment) -> str:
    text = segment.text.strip()
    return f"{segment.speaker}: {text}" if segment.speaker else text


def _time(seconds: float, kind: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, rest = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{',' if kind == 'srt' else '.'}{rest:03}"
