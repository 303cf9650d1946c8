"""Which of several answers fits a text best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ipfs_accelerate_py.results import Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, softmax
from .base import Context, Piece
from .options import bad_input
from .texts import TextProcessing, read_pair

__all__ = ["MultipleChoice"]

# Types whose head for this task reads the last position, padding or not (Transformers' SequenceSummary).
_READ_LAST = frozenset(("convbert", "roformer"))


class MultipleChoice(TextProcessing):
    """Input: ``{"text": ..., "choices": [...]}``. The result has the choices by their probability among each other.

    Each choice is a piece of its own: the model's forward pass gives one logit a choice, whatever stands beside it.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if self.config.model_type in _READ_LAST:
            self.rule = replace(self.rule, equal=True)

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        text, choices = read_pair(given, "text", "choices")
        if isinstance(choices, str) or not isinstance(choices, Sequence) or len(choices) < 2:
            raise bad_input("input has 'choices' that are no list of at least two texts")
        if not all(isinstance(each, str) for each in choices):
            raise bad_input("input has a choice that is no text")
        return [self.piece(self.tokenizer.encode(text, each).cut(self.limit, 0), note=each) for each in choices]

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        # The model wants (batch, choices, length).
        batch = super().collate(pieces)
        return {name: value[:, None] if getattr(value, "ndim", 0) > 1 else value for name, value in batch.items()}

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        np = require("numpy")
        logits = np.asarray([row["logits"].reshape(-1)[0] for row in rows])
        return Labels(best_labels([piece.note for piece in pieces], softmax(logits)))
