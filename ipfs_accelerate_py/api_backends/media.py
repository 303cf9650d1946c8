"""Sound for the classes whose service hears and speaks: recordings as bytes, as files, or by path."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Protocol

from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.api_backends.results import media_result
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Segment

__all__ = ["Hearing", "Recording", "Speaking"]


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self) -> bytes: ...


Recording = bytes | bytearray | memoryview | str | os.PathLike[str] | Readable


class Hearing(ApiBackend):
    """`speech_to_text`."""

    async def _speech_to_text(
        self,
        client: AsyncClient,
        /,
        model: str,
        audio: Recording,
        language: str | None = None,
        prompt: str | None = None,
        response_format: str | None = None,
        temperature: float | None = None,
        translate: bool = False,
        filename: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """The ``text`` of a recording, and its ``segments`` where times were asked for.

        ``audio`` is the recording's bytes, its path, or an open file; the ending of ``filename`` (which bytes do not
        have: ``audio.wav`` unless it is given) tells the service the format. ``translate`` asks for the text in
        English. ``response_format`` is ``json``, ``text``, ``srt``, ``vtt``, ``verbose_json`` (with segments) or what
        else the service has; with ``srt`` and ``vtt``, ``text`` is the whole document.
        """
        options = asked(
            options,
            language=language,
            prompt=prompt,
            response_format=response_format,
            temperature=temperature,
        )
        data, name = await _read(audio)
        reply = await client.transcribe(
            model, data, filename=filename or name or "audio.wav", translate=translate, **options
        )
        return media_result(reply, text=reply.text, segments=[_segment(segment) for segment in reply.segments])

    speech_to_text = blocking(_speech_to_text)
    aspeech_to_text = awaitable(_speech_to_text)


class Speaking(ApiBackend):
    """`text_to_speech`."""

    async def _text_to_speech(
        self,
        client: AsyncClient,
        /,
        model: str,
        text: str,
        voice: str,
        response_format: str | None = None,
        speed: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """``text`` spoken aloud: ``audio`` has the recording's bytes, ``content_type`` says what they are.

        ``response_format`` (``mp3``, ``wav``, ...) and the names of the voices are the service's own.
        """
        options = asked(options, voice=voice, response_format=response_format, speed=speed)
        reply = await client.speak(model, text, **options)
        return media_result(reply, audio=reply.body, content_type=reply.content_type)

    text_to_speech = blocking(_text_to_speech)
    atext_to_speech = awaitable(_text_to_speech)


async def _read(audio: Recording) -> tuple[bytes, str]:
    """The bytes of a recording, and the name of its file. Files are read off the loop, which others use as well."""
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio), ""
    if isinstance(audio, str | os.PathLike):
        path = Path(audio)
        try:
            return await asyncio.to_thread(path.read_bytes), path.name
        except OSError as problem:
            raise ConfigurationError(f"the recording cannot be read: {problem}") from None
    if not hasattr(audio, "read"):
        raise ConfigurationError(f"audio must be bytes, a path or an open file, not {type(audio).__name__}")
    data = await asyncio.to_thread(audio.read)
    if not isinstance(data, bytes):
        raise ConfigurationError("the file with the recording is open for text; open it with mode 'rb'")
    name = getattr(audio, "name", "")
    return data, Path(name).name if isinstance(name, str) else ""


def _segment(segment: Segment) -> dict[str, Any]:
    found: dict[str, Any] = {"start": segment.start, "end": segment.end, "text": segment.text}
    return {**found, "speaker": segment.speaker} if segment.speaker else found
