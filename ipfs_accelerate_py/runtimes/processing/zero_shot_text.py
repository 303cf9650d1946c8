"""Classes that nobody trained for: by a model of natural language inference, asked once for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, softmax
from .base import Context, Piece
from .options import bad_input, bad_option, flag, words
from .text_classification import SequenceHead

__all__ = ["ZeroShotText"]


class ZeroShotText(SequenceHead):
    """Input: a text, or ``{"text": ..., "candidate_labels": [...]}``. A long one is cut, never the hypothesis.

    Options: ``candidate_labels`` (needed), ``hypothesis_template`` ("This example is {}."), ``multi_label`` (False: the
    scores sum to 1; True: each class by itself, entailment against contradiction).
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        names = {str(name).lower(): int(at) for name, at in (getattr(self.config, "label2id", None) or {}).items()}
        found = [at for name, at in names.items() if name.startswith("entail")]
        if not found and len(names) < 2:
            raise RuntimeUnavailable(
                "the model tells no entailment from contradiction (it has one class): it was not made for this task"
            )
        # As Transformers does: where no class is called entailment, it is the last one; contradiction is the first.
        self._entailment = found[0] if found else len(names) - 1
        contradicted = [at for name, at in names.items() if name.startswith("contra")]
        self._contradiction = contradicted[0] if contradicted else (len(names) - 1 if self._entailment == 0 else 0)

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        if isinstance(given, Mapping):
            options = {**options, **{key: value for key, value in given.items() if key != "text"}}
            given = given.get("text", given.get("sequence"))
        if not isinstance(given, str) or not given.strip():
            raise bad_input("input is a text that is not empty")
        labels = words(options, "candidate_labels", "the classes to choose from")
        template = options.get("hypothesis_template") or "This example is {}."
        if not isinstance(template, str) or template.format("a") == template.format("b"):
            raise bad_option("hypothesis_template", "is a text with {} where the class belongs")
        note = (labels, flag(options, "multi_label"))
        return [
            self.piece(self.tokenizer.encode(given, template.format(label)).cut(self.limit, 0), note)
            for label in labels
        ]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        np = require("numpy")
        labels, multi_label = pieces[0].note
        logits = np.stack([row["logits"].reshape(-1) for row in rows])
        if multi_label or len(labels) == 1:
            scores = softmax(logits[:, [self._contradiction, self._entailment]])[:, 1]
        else:
            scores = softmax(logits[:, self._entailment])
        return Labels(best_labels(labels, scores))
