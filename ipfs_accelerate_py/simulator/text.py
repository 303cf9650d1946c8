"""Deterministic answers: texts, vectors and values made from the request by hashing.

Nothing here thinks. The same input, seed and length always give the same output, in every process, so that tests can
compare a streamed answer with a unary one, and a cached one with a fresh one.
"""

from __future__ import annotations

import array
import hashlib
import math
import sys
from functools import lru_cache
from typing import Final

__all__ = ["count_tokens", "generate", "unit", "vector"]

# 64 words: six bits of a hash byte choose one. Some are not ASCII, for clients' decoders to meet multi-byte characters.
_WORDS: Final = """
the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what
all were we when your can said there use an each which she do how their if will up other about out many then them
café naïve Zürich 世界 日本 señor привет 😀
""".split()  # noqa: SIM905  # a literal would be 64 lines
_PIECES: Final = tuple(" " + word for word in _WORDS)
assert len(_WORDS) == 64


def count_tokens(text: str) -> int:
    """Tokens of a text by the rule of thumb of four characters a token; 0 for an empty one."""
    return (len(text) + 3) >> 2


def generate(source: bytes, tokens: int, seed: int = 0) -> tuple[str, ...]:
    """A text of ``tokens`` tokens, as its tokens. ``"".join`` of them is the text."""
    if tokens <= 0:
        return ()
    digest = hashlib.shake_128(b"%d:" % seed + source).digest(tokens)
    return (_WORDS[digest[0] & 63], *[_PIECES[byte & 63] for byte in digest[1:]])


def unit(source: bytes, seed: int = 0) -> float:
    """A number in [0, 1) from a hash of the source."""
    return int.from_bytes(hashlib.blake2b(b"%d:" % seed + source, digest_size=7).digest(), "big") / (1 << 56)


def vector(source: bytes, dimensions: int, seed: int = 0) -> array.array[float]:
    """A unit vector of float32, shape ``(dimensions,)``, from a hash of the source.

    Components are uniform in [-1, 1) before they are scaled, so that vectors of different texts are close to
    orthogonal, as those of unrelated texts should be.
    """
    return _vector(hashlib.blake2b(b"%d:" % seed + source, digest_size=16).digest(), dimensions)


@lru_cache(maxsize=1024)
def _vector(digest: bytes, dimensions: int) -> array.array[float]:
    raw = array.array("H")
    raw.frombytes(hashlib.shake_128(digest).digest(2 * dimensions))
    if sys.byteorder == "big":
        raw.byteswap()
    centred = [value - 32767.5 for value in raw]
    norm = math.sqrt(sum(value * value for value in centred))
    return array.array("f", [value / norm for value in centred])
