"""The few hundred tokens that tiny models' tokenizers have: special ones, bytes, pieces of words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

from .token_ids import REGULAR, VOCABULARY

__all__ = ["SENTENCES", "byte_characters", "byte_level", "fill", "metaspace", "word_ends", "word_pieces"]

#: What the pieces are learned from.
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "A cat sat on the mat and looked at the moon.",
    "Paris is the capital of France, and Berlin is the capital of Germany.",
    "What is the name of the river that runs through the city?",
    "I like this film very much, but the book was better.",
    "The model answers a question with a sentence of its own words.",
    "My name is Ada and I live in London near the station.",
    "This is a picture of two people in front of a house.",
    "She sells sea shells by the sea shore.",
    "Numbers: 0 1 2 3 4 5 6 7 8 9, 10, 42 and 1984.",
)


@cache
def byte_characters() -> tuple[str, ...]:
    """The character that stands for each byte in byte-level vocabularies, as GPT-2 chose them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return tuple(chr(byte if byte in plain else next(spare)) for byte in range(256))


def _learn(words: list[list[str]], room: int) -> list[tuple[str, str]]:
    """Merges of byte-pair encoding, the most frequent pair first; ties by the pair itself."""
    merges: list[tuple[str, str]] = []
    while len(merges) < room:
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts or (best := max(counts, key=lambda pair: (counts[pair], pair)))[0] == "" or counts[best] < 2:
            break
        merges.append(best)
        for word in words:
            at = 0
            while at < len(word) - 1:
                if (word[at], word[at + 1]) == best:
                    word[at : at + 2] = ["".join(best)]
                at += 1
    return merges


@cache
def byte_level() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Tokens and merges over bytes; a space is part of the word after it."""
    characters = byte_characters()
    words = [
        [characters[byte] for byte in ((" " if at else "") + word).encode()]
        for sentence in SENTENCES
        for at, word in enumerate(sentence.split())
    ]
    merges = _learn(words, VOCABULARY - REGULAR - 256)
    return (*characters, *("".join(pair) for pair in merges)), tuple(merges)


@cache
def metaspace(byte_fallback: bool = True) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Tokens and merges over characters, with a mark for spaces, and tokens for bytes of all other text."""
    words = [list("▁" + word) for sentence in SENTENCES for word in sentence.split()]
    letters = sorted({chr(code) for code in range(33, 127)} | {"▁"})
    bytes_ = tuple(f"<0x{byte:02X}>" for byte in range(256)) if byte_fallback else ()
    merges = _learn(words, VOCABULARY - REGULAR - len(letters) - len(bytes_))
    return (*bytes_, *letters, *("".join(pair) for pair in merges)), tuple(merges)


@cache
def word_ends() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Tokens and merges over bytes in lower case, where the last of a word is marked ``</w>``, as CLIP has them."""
    characters = tuple(chr(code) for code in range(33, 127))
    words = [
        [*word[:-1], word[-1] + "</w>"]
        for sentence in SENTENCES
        for word in re.findall(r"\w+|[^\w\s]", sentence.lower())
    ]
    merges = _learn(words, VOCABULARY - REGULAR - 2 * len(characters))
    return (*characters, *(f"{each}</w>" for each in characters), *("".join(pair) for pair in merges)), tuple(merges)


@cache
def word_pieces() -> tuple[str, ...]:
    """Tokens of WordPiece: every printable ASCII character as a beginning and as a continuation, and common words."""
    characters = [chr(code) for code in range(33, 127)]
    words: dict[str, None] = {}
    for sentence in SENTENCES:
        for word in sentence.replace(".", " ").replace(",", " ").replace("?", " ").replace(":", " ").split():
            words[word] = None
            words[word.lower()] = None
    pieces = [*characters, *(f"##{each}" for each in characters if each.isalnum() or each == "'")]
    return tuple(dict.fromkeys([*pieces, *words]))


def fill(special: Mapping[str, int], tokens: tuple[str, ...], size: int = VOCABULARY) -> list[str]:
    """All tokens by number: the special ones at theirs, the others from the first regular number on, as many as fit."""
    placed: dict[int, str] = {}
    for token, number in special.items():
        placed.setdefault(number, token)
    names = set(placed.values())
    rest = iter([token for token in tokens if token not in names])
    listed: list[str] = []
    for number in range(size):
        if number in placed:
            listed.append(placed[number])
        elif number < min(REGULAR, size // 4):
            listed.append(f"<unused{number}>")
        else:
            listed.append(next(rest, f"<unused{number}>"))
    return listed
