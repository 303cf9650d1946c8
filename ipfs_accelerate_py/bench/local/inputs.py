"""What models are asked: texts of so many tokens, recordings, pictures. Others each time, the same for everybody."""

from __future__ import annotations

import io
import random
import struct
import wave
import zlib
from array import array

__all__ = ["numbers", "picture", "recording", "text"]

#: Each is one token of BERT's vocabulary (https://huggingface.co/google-bert/bert-base-uncased) and of small ones.
_WORDS = (
    *("the", "quick", "brown", "fox", "over", "lazy", "dog", "cat", "sat", "on", "mat", "and", "looked", "at", "moon"),
    *("is", "capital", "of", "what", "name", "river", "that", "runs", "city", "like", "this", "film", "very", "much"),
    *("but", "book", "was", "better", "model", "answers", "question", "with", "a", "its", "own", "words", "near"),
)

#: Numbers of tokens that are text in all vocabularies here, small ones too.
_LOWEST, _HIGHEST = 100, 380


def numbers(count: int, seed: int) -> list[int]:
    """So many tokens by number."""
    draw = random.Random(seed)
    return [draw.randrange(_LOWEST, _HIGHEST) for _ in range(count)]


def text(tokens: int, seed: int) -> str:
    """A text of about so many tokens of a vocabulary of words; it may be two more or less for special ones."""
    draw = random.Random(seed)
    return " ".join(draw.choice(_WORDS) for _ in range(max(1, tokens - 2)))


def recording(seconds: float, seed: int, rate: int = 16000) -> bytes:
    """A WAV file of faint noise with a tone in it."""
    draw = random.Random(seed)
    step = draw.randrange(20, 60)
    noise = draw.randbytes(1 << 16)
    count = round(seconds * rate)
    samples = array(
        "h", ((noise[at % len(noise)] - 128) * 40 + (2000 if at // step % 2 else -2000) for at in range(count))
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def picture(side: int, seed: int) -> bytes:
    """A PNG of coloured noise, ``side`` pixels each way. https://www.w3.org/TR/png-3/"""
    draw = random.Random(seed)
    rows = b"".join(b"\0" + draw.randbytes(3 * side) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    made = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")):
        made.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(made)
