"""Tokens to text as they come: no character in halves, no byte lost, and not the whole answer decoded at every token.

A token's text depends on those before it (a space at its beginning, a character of which it is only one byte), so a
few are decoded along: the difference of two short windows is what the new ones add. A window that ends in U+FFFD ends
within a character, most likely, and waits; what is still unreadable after more tokens than a character has bytes is
shown as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Decode", "Detokenizer"]

#: Longer than the bytes of one character, UTF-8 has at most 4; a window of so many that is unreadable stays so.
_PATIENCE = 8
_BROKEN = "�"


class Decode(Protocol):
    def __call__(self, ids: list[int]) -> str: ...


class Detokenizer:
    """One answer's text. ``before``: the prompt's last ids, of which nothing is told."""

    __slots__ = ("_decode", "_from", "_ids", "_read")

    def __init__(self, decode: Decode, before: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(before[-6:])
        self._from = 0
        self._read = len(self._ids)

    def feed(self, token: int) -> str:
        """The text that is complete with this token."""
        self._ids.append(token)
        if self._read and self._from > 64:  # what is no longer looked at
            del self._ids[: self._from]
            self._read -= self._from
            self._from = 0
        known = self._decode(self._ids[self._from : self._read])
        text = self._decode(self._ids[self._from :])
        if len(text) <= len(known):
            return ""
        if text.endswith(_BROKEN) and len(self._ids) - self._read < _PATIENCE:
            return ""
        self._from, self._read = self._read, len(self._ids)
        return text[len(known) :]

    def flush(self) -> str:
        """What was held back, when nothing more comes."""
        known = self._decode(self._ids[self._from : self._read])
        text = self._decode(self._ids[self._from :])
        self._from = self._read = len(self._ids)
        return text[len(known) :]
