"""Classes of a text or a pair of texts; whether one sentence follows another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels

from .arrays import best_labels, label_names, sigmoid, softmax
from .base import Context, Piece
from .options import bad_input, choice, flag, whole
from .texts import TextProcessing, read_pair, read_text
from .tokens import Tokens, text_config

__all__ = ["NextSentence", "SequenceHead", "TextClassification"]


class SequenceHead(TextProcessing):
    """Base of the tasks of sequence classifiers: one row of logits a text.

    Decoders read the last position that is no padding. Those whose config names no padding token read the last one, and
    so take one text at a time. Encoder-decoders read the last end token, and want equally many in all texts of a batch.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = self.config
        self._two_sided = bool(getattr(config, "is_encoder_decoder", False))
        self._end = getattr(config, "eos_token_id", None) if self._two_sided else None
        padded = getattr(text_config(config), "pad_token_id", None) is not None
        self._alone = not padded and not self._two_sided

    def piece(self, tokens: Tokens, note: Any = None) -> Piece:
        if isinstance(self._end, int) and self._end not in tokens.ids:
            tokens = _ended(tokens.cut(self.limit - 1), self._end)
        made = super().piece(tokens, note)
        # The head makes the decoder's ids itself, out of the encoder's.
        made.features.pop("decoder_input_ids", None)
        made.group = self._group(tokens, made.group)
        return made

    def _group(self, tokens: Tokens, group: Hashable) -> Hashable:
        if self._alone:
            return object()
        if isinstance(self._end, int):
            return (group, tokens.ids.count(self._end))
        return group


class TextClassification(SequenceHead):
    """Options: ``top_k`` (all classes where it is not there), ``function_to_apply`` (``softmax``, ``sigmoid``,
    ``none``; by the config where it is not there), ``truncation`` (True: texts longer than the model's limit are cut;
    False: they are an error)."""

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        tokens = self.tokenizer.encode(*read_text(given))
        if len(tokens) > self.limit and not flag(options, "truncation", True):
            raise bad_input(f"input has {len(tokens)} tokens, and the model takes {self.limit}")
        return [self.piece(tokens.cut(self.limit))]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        logits = rows[0]["logits"].reshape(-1)
        kind = choice(options, "function_to_apply", ("softmax", "sigmoid", "none"), self._function(len(logits)))
        scores: Any = softmax(logits) if kind == "softmax" else sigmoid(logits) if kind == "sigmoid" else logits
        top = whole(options, "top_k", len(logits), low=1)
        return Labels(best_labels(label_names(self.config, len(logits)), scores, top))

    def _function(self, count: int) -> str:
        kind = getattr(self.config, "problem_type", None)
        if kind == "regression":
            return "none"
        return "sigmoid" if kind == "multi_label_classification" or count == 1 else "softmax"


class NextSentence(TextProcessing):
    """Whether the second text follows the first: ``IS_NEXT`` and ``NOT_NEXT`` with their probabilities."""

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        if isinstance(given, Mapping) and "text" in given:
            text, pair = read_pair(given, "text", "text_pair")
        else:
            text, pair = read_pair(given, "first", "second")
        if not isinstance(pair, str):
            raise bad_input("input is two texts")
        return [self.piece(self.tokenizer.encode(text, pair).cut(self.limit))]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        return Labels(best_labels(("IS_NEXT", "NOT_NEXT"), softmax(rows[0]["logits"].reshape(-1))))


def _ended(tokens: Tokens, end: int) -> Tokens:
    longer = tokens.take([*range(len(tokens)), len(tokens) - 1])
    longer.columns["input_ids"][-1] = end
    longer.part[-1] = None
    return longer
