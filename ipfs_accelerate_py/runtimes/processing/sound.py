"""Recordings to samples: of the file formats that libsndfile reads, of arrays and lists; mono, at the model's rate.

Formats: WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU (https://libsndfile.github.io/libsndfile/formats.html). M4A, WebM
and AMR are not among them.
"""

from __future__ import annotations

import base64
import binascii
import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import MissingExtra
from ipfs_accelerate_py.runtimes.extras import require

from .options import bad_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Sound", "read_sound", "resample"]

#: Longest recording that is read, in seconds: a compressed file of little silence can be days.
MAX_SECONDS = 6 * 3600
_RATES = (1000, 768_000)
_MAX_CHANNELS = 32
# The resampling filter: how many zero crossings to each side, and where it begins to fall, of the lower half rate.
_CROSSINGS, _ROLL_OFF, _BETA = 32, 0.95, 9.0


@dataclass(frozen=True, slots=True)
class Sound:
    """A mono recording: samples from -1 to 1 (float32), and how many there are a second."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_sound(given: Any, rate: int) -> Sound:
    """A recording at ``rate`` samples a second.

    Args:
        given: a file's bytes, a ``data:`` URL or base64 of them, a `Path`; or samples: a list or array (at ``rate``
            already), ``(samples, rate)``, or a mapping with ``array`` (or ``raw``) and ``sampling_rate``, or with
            ``audio`` for any of these.

    Raises:
        InvalidRequest: it is none of them, empty, too long, or has samples that are no finite numbers.
        MissingExtra: the file is no plain WAV, and soundfile is not installed.
    """
    samples, own = _samples(given, rate)
    np = require("numpy")
    if not samples.size:
        raise bad_input("input is a recording without samples")
    if not np.isfinite(samples).all():
        raise bad_input("input has samples that are no finite numbers")
    if not _RATES[0] <= own <= _RATES[1]:
        raise bad_input(f"input has {own} samples a second; {_RATES[0]} to {_RATES[1]} are read")
    if len(samples) / own > MAX_SECONDS:
        raise bad_input(f"input is longer than {MAX_SECONDS // 3600} hours")
    return Sound(resample(samples, own, rate), rate)


def resample(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """The recording at another rate: a polyphase filter, a Kaiser-windowed sinc that falls off below both half rates.

    Of ``n`` samples, ``ceil(n * wanted / rate)`` are made.
    """
    if rate == wanted:
        return samples
    np = require("numpy")
    common = gcd(rate, wanted)
    up, down = wanted // common, rate // common
    cutoff = _ROLL_OFF * min(1.0, up / down)
    reach = int(np.ceil(_CROSSINGS / cutoff))
    count = -(-len(samples) * up // down)
    padded = np.zeros(len(samples) + 2 * reach + down + 2, dtype=np.float32)
    padded[reach : reach + len(samples)] = samples
    taps = np.arange(-reach, reach + 1)
    out = np.zeros(count, dtype=np.float32)
    step = padded.strides[0]
    for phase in range(min(up, count)):
        # Output phase + k * up lies at input (phase * down) / up + k * down.
        start, rest = divmod(phase * down, up)
        times = taps - rest / up
        window = np.i0(_BETA * np.sqrt(np.maximum(0, 1 - (times / (reach + 1)) ** 2))) / np.i0(_BETA)
        kernel = (cutoff * np.sinc(cutoff * times) * window).astype(np.float32)
        rows = -(-(count - phase) // up)
        # Overlapping views of the samples, one row an output: nothing is copied.
        view = np.lib.stride_tricks.as_strided(padded[start:], (rows, len(taps)), (step * down, step), writeable=False)
        out[phase::up] = view @ kernel
    return out  # type: ignore[no-any-return]


def _samples(given: Any, rate: int) -> tuple[NDArray[np.float32], int]:
    if isinstance(given, Mapping):
        if "audio" in given:
            return _samples(given["audio"], int(given.get("sampling_rate", rate)))
        values = next((given[name] for name in ("array", "raw", "samples") if given.get(name) is not None), None)
        if values is None:
            raise bad_input("input is a mapping with neither 'audio' nor 'array' and 'sampling_rate'")
        return _samples((values, given.get("sampling_rate", given.get("rate"))), rate)
    if isinstance(given, tuple) and len(given) == 2 and (given[1] is None or isinstance(given[1], int)):
        if isinstance(given[1], bool) or given[1] is None:
            raise bad_input("input has an array without its 'sampling_rate'")
        return _array(given[0]), given[1]
    if isinstance(given, bytes | bytearray | memoryview):
        return _file(bytes(given))
    if isinstance(given, Path):
        try:
            return _file(given.read_bytes())
        except OSError as exc:
            raise bad_input(f"input is a file that cannot be read: {exc}") from exc
    if isinstance(given, str):
        return _file(_text(given))
    return _array(given), rate


def _text(given: str) -> bytes:
    body = given.partition(",")[2] if given.startswith("data:") else given
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise bad_input(
            "input is a text, but neither a data: URL nor base64: give the recording's bytes (files are not opened by "
            "name here)"
        ) from None


def _array(values: Any) -> NDArray[np.float32]:
    np = require("numpy")
    try:
        array = np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)
    except (ValueError, TypeError) as exc:
        raise bad_input(f"input is no array of samples: {exc}") from exc
    if array.dtype.kind in "iu" and array.dtype.itemsize <= 4 and isinstance(values, np.ndarray):
        # Whole numbers of a file's own width; a list of whole numbers is a list of samples.
        info = np.iinfo(array.dtype)
        middle = 0.0 if array.dtype.kind == "i" else (info.max + 1) / 2
        array = (array - middle) / (info.max + 1 - middle)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise bad_input(f"input is no recording: it has {array.ndim} axes of type {array.dtype}")
    if array.ndim == 2:
        channels = min(array.shape)
        if channels > _MAX_CHANNELS:
            raise bad_input(f"input has the shape {array.shape}: neither axis can be that of channels")
        array = array.mean(axis=0 if array.shape[0] == channels else 1)
    return array.astype(np.float32)  # type: ignore[no-any-return]


def _file(data: bytes) -> tuple[NDArray[np.float32], int]:
    try:
        soundfile = require("soundfile")
    except MissingExtra:
        if data[:4] == b"RIFF":
            return _plain_wave(data)
        raise
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > MAX_SECONDS * file.samplerate:
                raise bad_input(f"input is longer than {MAX_SECONDS // 3600} hours")
            samples = file.read(dtype="float32", always_2d=True)
            return samples.mean(axis=1), int(file.samplerate)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as exc:
        raise bad_input(
            f"input is no recording that can be read ({str(exc).rstrip('.')}): WAV, FLAC, Ogg, MP3 and AIFF can"
        ) from exc


def _plain_wave(data: bytes) -> tuple[NDArray[np.float32], int]:
    """Whole-number WAV, by the standard library."""
    np = require("numpy")
    try:
        with wave.open(io.BytesIO(data)) as file:
            width, channels, own = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as exc:
        raise bad_input(f"input is no WAV that can be read: {exc}") from exc
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == 1:
        values = (np.frombuffer(raw, dtype=np.uint8).astype(np.float32) - 128) / 128
    else:
        # Widened to 32 bits at the low end: 24 bits have no type of their own.
        bytes_ = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
        wide = np.zeros((len(bytes_), 4), dtype=np.uint8)
        wide[:, 4 - width :] = bytes_
        values = wide.view("<i4").reshape(-1).astype(np.float32) / 2**31
    return values.reshape(-1, channels).mean(axis=1), own
