"""Which of the caller's labels fits an image: models that put both in one space (CLIP, SigLIP, ALIGN, ...)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels

from .base import Context, Piece
from .candidates import candidate_labels, encode, ranked, run_together, sentences, shared_text
from .options import flag, whole
from .pictures import picture
from .processors import tokenizer
from .vision import ImageTask

__all__ = ["ZeroShotImage"]


class ZeroShotImage(ImageTask):
    """Input: an image, or a mapping of ``image`` and ``candidate_labels``.

    Options: ``candidate_labels``, ``hypothesis_template`` ("This is a photo of {}."), ``multi_label`` (each label by
    itself; as the model was trained where it is not given), ``top_k``. Images with equal labels share one pass, and in
    it the texts are read once.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.tokenizer = tokenizer(context)
        self.lock = threading.Lock()

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        labels = candidate_labels(given, options)
        texts = sentences(labels, given, options, "This is a photo of {}.")
        image = picture(given)
        piece = self.piece(self.pixels(image), labels, also=tuple(texts))
        piece.features.update(encode(self.tokenizer, texts, self.config, self.takes, self.lock))
        return [piece]

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        batch = shared_text(pieces)
        if self.config.model_type == "blip-2":
            batch["use_image_text_matching_head"] = False
        return batch

    def rows(self, outputs: Mapping[str, Any], pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        return run_together(pieces, outputs, "logits_per_image")

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        labels = pieces[0].note
        alone = flag(options, "multi_label", "siglip" in self.config.model_type)
        return ranked(rows[0]["logits"], labels, alone, whole(options, "top_k", len(labels), low=1))
