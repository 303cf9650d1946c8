"""What is in an image, of the classes that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, label_names, sigmoid, softmax
from .base import Piece
from .options import choice, whole
from .vision import ImageTask

__all__ = ["ImageClassification", "label_scores"]


class ImageClassification(ImageTask):
    """Options: ``top_k`` (5), ``function_to_apply`` (``softmax``, ``sigmoid``, ``none``; as the model was trained
    where it is not given)."""

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        # PaddlePaddle's classifiers give their logits by this name.
        logits = rows[0]["logits"] if "logits" in rows[0] else rows[0]["last_hidden_state"]
        return label_scores(logits, self.config, options)


def label_scores(logits: Any, config: Any, options: Mapping[str, Any]) -> Labels:
    """Labels by score, the best first.

    A model with one label, or trained for several at once, gets a sigmoid, a regression nothing, any other a softmax.

    Args:
        logits: one for each label.
        config: the model's configuration.
        options: ``top_k``, ``function_to_apply``.
    """
    np = require("numpy")
    logits = np.asarray(logits, dtype=np.float64).reshape(-1)
    problem = getattr(config, "problem_type", None)
    trained = "softmax"
    if problem == "regression":
        trained = "none"
    elif problem == "multi_label_classification" or logits.size == 1:
        trained = "sigmoid"
    function = choice(options, "function_to_apply", ("softmax", "sigmoid", "none"), trained)
    scores = {"softmax": softmax, "sigmoid": sigmoid, "none": np.asarray}[function](logits)
    top = whole(options, "top_k", 5, low=1)
    return Labels(labels=best_labels(label_names(config, logits.size), scores.tolist(), top))
