"""Which of the caller's labels fits a recording: models that put recordings and texts in one space (CLAP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, only, softmax, stack
from .base import Context, Piece
from .options import bad_input, bad_option, words
from .recordings import AudioProcessing
from .tokens import Tokenizer

__all__ = ["ZeroShotAudio"]


class ZeroShotAudio(AudioProcessing):
    """Input: a recording, or ``{"audio": ..., "candidate_labels": [...]}``. One longer than the model's window is heard
    in several, and the mean of their logits counts.

    Options: ``candidate_labels`` (needed), ``hypothesis_template`` ("This is a sound of {}."), ``chunk_length_s``.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tokenizer = Tokenizer(context)
        self.tokenizer.needed()
        # A model that does not fuse several views of a recording takes one, whatever the extractor's settings say.
        fuses = bool(getattr(getattr(self.config, "audio_config", None), "enable_fusion", False))
        self._settings = {} if fuses or not hasattr(self.extractor, "truncation") else {"truncation": "rand_trunc"}

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        if isinstance(given, Mapping) and "candidate_labels" in given:
            options = {**options, "candidate_labels": given["candidate_labels"]}
        labels = words(options, "candidate_labels", "the sounds to choose from")
        template = options.get("hypothesis_template") or "This is a sound of {}."
        if not isinstance(template, str) or template.format("a") == template.format("b"):
            raise bad_option("hypothesis_template", "is a text with {} where the label belongs")
        texts = [template.format(label) for label in labels]
        if any(len(self.tokenizer.encode(text)) > self.tokenizer.limit for text in texts):
            raise bad_input("a candidate label is longer than the model's limit")
        return [
            self.piece(window, (labels, texts), **self._settings) for window in self.windows(self.read(given), options)
        ]

    # Each label is read once a batch, whichever recordings ask for it.
    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        np = require("numpy")
        batch = super().collate(pieces)
        tokens = [self.tokenizer.encode(text) for text in _texts(pieces)]
        for name in tokens[0].columns:
            fill = self.tokenizer.pad_id if name == "input_ids" else 0
            batch[name] = stack([np.asarray(each.columns[name], dtype=np.int64) for each in tokens], fill=fill)
        batch["attention_mask"] = stack([np.ones(len(each), dtype=np.int64) for each in tokens])
        return only(batch, self.context.inputs)

    def rows(self, outputs: Mapping[str, Any], pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        logits = outputs["logits_per_audio"]
        place = {text: at for at, text in enumerate(_texts(pieces))}
        return [{"logits": logits[at][[place[text] for text in piece.note[1]]]} for at, piece in enumerate(pieces)]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        np = require("numpy")
        return Labels(best_labels(pieces[0].note[0], softmax(np.mean([row["logits"] for row in rows], axis=0))))


def _texts(pieces: Sequence[Piece]) -> list[str]:
    return list(dict.fromkeys(text for piece in pieces for text in piece.note[1]))
