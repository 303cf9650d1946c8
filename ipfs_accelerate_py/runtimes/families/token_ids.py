"""Special tokens' numbers for a small vocabulary."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["REGULAR", "VOCABULARY", "Renumbering"]

#: Size of every text vocabulary.
VOCABULARY = 512
#: Numbers below it are special tokens', those from it on text's.
REGULAR = 96
#: Special numbers below it stay as they are: code and tokenizers know 0, 1, 2 by heart.
_KEPT = 16

_NAME = re.compile(r".*_token_(ids?|index)|.*_start_token|(.*_)?(image|video|audio|boi|eoi)_token|.*_token_indices")


class Renumbering:
    """New numbers for the special tokens of one configuration and all that are inside it, the same wherever one occurs.

    Those near the end of a vocabulary stay as near to its end, since some mean "the one after the last".
    """

    def __init__(self) -> None:
        self._new: dict[int, int] = {}

    def new(self, name: str, value: Any, config: Any) -> Any:
        """The new value of a field; None where it is no token and no vocabulary."""
        if name == "vocab_size" and isinstance(value, int):
            return min(value, VOCABULARY)
        if not _NAME.fullmatch(name) or isinstance(value, bool):
            return None
        vocabulary = getattr(config, "vocab_size", None)
        if isinstance(value, int):
            return self._number(value, vocabulary if isinstance(vocabulary, int) else None)
        if isinstance(value, list | tuple) and all(isinstance(each, int) for each in value):
            return type(value)(self._number(each, vocabulary) for each in value)
        return None

    def _number(self, value: int, vocabulary: int | None) -> int:
        if value < _KEPT:
            return value
        if vocabulary is not None and vocabulary > VOCABULARY and 0 <= vocabulary - value < 2:
            return VOCABULARY - (vocabulary - value)
        if value not in self._new:
            self._new[value] = _KEPT + len(self._new) % (REGULAR - _KEPT)
        return self._new[value]
