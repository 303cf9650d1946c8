"""Classes of a recording: commands, languages, emotions, sounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, label_names, sigmoid, softmax
from .base import Piece
from .options import choice, whole
from .recordings import AudioProcessing

__all__ = ["AudioClassification"]


class AudioClassification(AudioProcessing):
    """Input: a recording (see `sound.read_sound`). One longer than a window (the model's own, or 30 seconds) is heard
    in several, and their logits' mean counts.

    Options: ``top_k`` (all), ``function_to_apply`` (``softmax``, ``sigmoid``, ``none``), ``chunk_length_s`` (0: whole).
    """

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        return [self.piece(window) for window in self.windows(self.read(given), options)]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        np = require("numpy")
        logits = np.mean([row["logits"].reshape(-1) for row in rows], axis=0)
        usual = "sigmoid" if getattr(self.config, "problem_type", None) == "multi_label_classification" else "softmax"
        kind = choice(options, "function_to_apply", ("softmax", "sigmoid", "none"), usual)
        scores = softmax(logits) if kind == "softmax" else sigmoid(logits) if kind == "sigmoid" else logits
        top = whole(options, "top_k", len(logits), low=1)
        return Labels(best_labels(label_names(self.config, len(logits)), scores, top))
