"""Samples to files: what speech is handed out as, in OpenAI's names of the formats.

Source: https://platform.openai.com/docs/api-reference/audio/createSpeech. ``pcm`` is 24000 samples a second, 16 bits,
little-endian, mono, as OpenAI's is. ``aac`` is not made: libsndfile does not write it.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.runtimes.extras import require

from .sound import resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ipfs_accelerate_py.results import Audio

__all__ = ["SPEECH_FORMATS", "encode_audio", "encode_sound"]

#: Formats by OpenAI's name: media type.
SPEECH_FORMATS = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
}
_KINDS = {
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "ogg": ("OGG", "VORBIS"),
}
# Rates that a format has; others are brought to the next higher one.
_OPUS = (8000, 12000, 16000, 24000, 48000)
_MP3 = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_PCM_RATE = 24000


def encode_audio(audio: Audio, kind: str = "wav") -> tuple[bytes, str]:
    """A result of text-to-audio as a file: its bytes and media type. See `encode_sound`."""
    np = require("numpy")
    return encode_sound(np.frombuffer(audio.samples.data, dtype="<f4"), audio.rate, kind)


def encode_sound(samples: NDArray[Any] | Sequence[float], rate: int, kind: str = "wav") -> tuple[bytes, str]:
    """Mono samples from -1 to 1 (what is beyond is clipped) as a file of that format: bytes and media type.

    Raises:
        UnsupportedOperation: the format is one of OpenAI's that cannot be made here (``aac``).
        InvalidRequest: it is no format at all.
        MissingExtra: it needs soundfile, which is not installed.
    """
    np = require("numpy")
    if kind == "aac":
        raise UnsupportedOperation(f"speech is not made as aac here: ask for {', '.join(SPEECH_FORMATS)}")
    if kind not in SPEECH_FORMATS:
        raise InvalidRequest(
            f"unknown response_format {kind!r}: use one of {', '.join(SPEECH_FORMATS)}", status=400,
            param="response_format",
        )  # fmt: skip
    wanted = _rate(kind, rate)
    clipped = np.clip(np.asarray(samples, dtype=np.float32).reshape(-1), -1, 1)
    clipped = np.clip(resample(clipped, rate, wanted), -1, 1)
    if kind in ("wav", "pcm"):
        whole = np.round(clipped * 32767).astype("<i2").tobytes()
        return (whole if kind == "pcm" else _wave(whole, wanted)), SPEECH_FORMATS[kind]
    soundfile = require("soundfile")
    container, coding = _KINDS[kind]
    out = io.BytesIO()
    try:
        soundfile.write(out, clipped, wanted, format=container, subtype=coding)
    except (soundfile.SoundFileError, ValueError) as exc:
        raise UnsupportedOperation(f"the libsndfile that is installed does not write {kind}: {exc}") from exc
    return out.getvalue(), SPEECH_FORMATS[kind]


def _rate(kind: str, rate: int) -> int:
    if kind == "pcm":
        return _PCM_RATE
    allowed = _OPUS if kind == "opus" else _MP3 if kind == "mp3" else (rate,)
    return next((each for each in allowed if each >= rate), allowed[-1])


def _wave(whole: bytes, rate: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole)
    return out.getvalue()
