"""Pictures and recordings made by hashing: real files of their formats, and the same ones each time."""

from __future__ import annotations

import array
import hashlib
import struct
import sys
import zlib
from functools import lru_cache
from typing import Final

__all__ = ["RATE", "duration", "png", "samples", "wav"]

#: Samples a second of the recordings made here.
RATE: Final = 16_000


@lru_cache(maxsize=64)
def png(width: int, height: int, source: bytes) -> bytes:
    """A picture of this size in one colour, which the source decides."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = hashlib.blake2b(source, digest_size=3).digest()
    rows = (b"\0" + bytes((width + 7) // 8)) * height  # one bit a pixel, of a palette of one
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)),
            chunk(b"PLTE", colour),
            chunk(b"IDAT", zlib.compress(rows, 1)),
            chunk(b"IEND", b""),
        )
    )


def samples(source: bytes, seconds: float) -> bytes:
    """Faint noise of this length: 16-bit samples, little-endian, one channel."""
    noise = array.array("h", [byte - 128 for byte in hashlib.shake_128(source).digest(int(seconds * RATE))])
    if sys.byteorder == "big":
        noise.byteswap()
    return noise.tobytes()


def wav(data: bytes, rate: int = RATE) -> bytes:
    """Samples as a WAV file."""
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + struct.pack("<4sI", b"data", len(data)) + data


def duration(recording: bytes) -> float:
    """Seconds of a recording: of a WAV file by its own head, of anything else a guess by its size."""
    if recording[:4] == b"RIFF" and len(recording) > 44:
        per_second: int
        (per_second,) = struct.unpack_from("<I", recording, 28)
        if per_second:
            return round((len(recording) - 44) / per_second, 3)
    return round(len(recording) / 16_000, 3)
