"""A text's vector, and what a model makes of each of its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Features, Vector
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import tensor
from .base import Context, Piece
from .options import bad_input, bad_option, choice, flag, whole
from .texts import TextProcessing, read_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SentenceVectors", "TextFeatures", "TextPieces"]

# Outputs that are a vector of the whole text, in the order in which they are looked for.
_POOLED = ("sentence_embedding", "text_embeds", "text_embedding", "pooler_output")
# Outputs of each token, in the same way. An encoder-decoder's text is what its encoder sees.
_TOKENS = ("last_hidden_state", "encoder_last_hidden_state", "hidden_states", "token_embeddings")
_POOLINGS = ("mean", "cls", "last", "max", "pooler")


class TextPieces(TextProcessing):
    """Base of what follows from a text's tokens: texts cut to the limit, and rows without padding."""

    along_text: ClassVar[frozenset[str]] = frozenset({*_TOKENS, "logits"})

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        tokens = self.tokenizer.encode(*read_text(given))
        limit = min(self.limit, whole(options, "max_length", self.limit, low=1))
        if options.get("prompt_name"):
            raise bad_option(
                "prompt_name", "is of models in the layout of sentence-transformers, and this one has no prompts"
            )
        # "truncate" is TEI's word for it.
        if len(tokens) > limit and not flag(options, "truncate", flag(options, "truncation", True)):
            raise bad_input(f"input has {len(tokens)} tokens, and the model takes {limit}")
        return [self.piece(tokens.cut(limit))]


class SentenceVectors(TextPieces):
    """One vector a text, of a model that says nothing of its own on how to make it.

    Options: ``pooling``: ``mean`` (over the tokens; the default of encoders), ``cls`` (the first), ``last`` (the
    default of decoders, whose last token alone has seen the whole text), ``max``, ``pooler`` (the model's own pooled
    output); ``normalize`` (True: to unit length), ``dimensions`` (the first so many, before normalising),
    ``max_length``, ``truncation``.
    """

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Vector:
        np = require("numpy")
        row = rows[0]
        kind = choice(options, "pooling", _POOLINGS, "last" if self._causal() else "mean")
        hidden = self._hidden(row)
        if kind == "pooler":
            found = next((row[name] for name in _POOLED if name in row), None)
            if found is None:
                raise bad_option("pooling", "is 'pooler', and the model has no pooled output")
            vector = found.reshape(-1)
        elif hidden is None:
            vector = next(row[name] for name in _POOLED if name in row).reshape(-1)
        else:
            vector = _pool(hidden, kind)
        size = whole(options, "dimensions", len(vector), low=1, high=len(vector))
        vector = vector[:size].astype(np.float64)
        if flag(options, "normalize", True):
            vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        return Vector([float(each) for each in vector])

    def _hidden(self, row: Mapping[str, Any]) -> Any:
        names: tuple[str, ...] = _TOKENS
        if getattr(self.config, "is_encoder_decoder", False):
            names = ("encoder_last_hidden_state", *_TOKENS)
        for name in names:
            if name in row and row[name].ndim == 2:
                return row[name]
        if not any(name in row for name in _POOLED):
            raise RuntimeUnavailable(
                f"the model gives no hidden states to make a vector of, but {', '.join(sorted(row)) or 'nothing'}"
            )
        return None

    def _causal(self) -> bool:
        config = self.config
        if getattr(config, "is_encoder_decoder", False) or getattr(config, "is_causal", None) is False:
            return False
        return _is_decoder(self.context)


class TextFeatures(TextPieces):
    """What the model gives for a text: tensors by Transformers' names of its outputs, each cut to the text's own
    tokens (shape ``(tokens, hidden)``); pooled outputs (``pooler_output``) as vectors.

    Options: ``outputs`` (names wanted; all where it is not there), ``max_length``, ``truncation``.
    """

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Features:
        row = {name: array for name, array in rows[0].items() if not name.startswith("past_key_values")}
        wanted = options.get("outputs")
        if wanted is not None:
            missing = [name for name in wanted if name not in row]
            if missing:
                raise bad_option("outputs", f"has {missing[0]!r}, and the model gives {', '.join(sorted(row))}")
            row = {name: row[name] for name in wanted}
        return Features([tensor(name, array) for name, array in row.items()])


def _pool(hidden: NDArray[np.float32], kind: str) -> Any:
    if kind == "cls":
        return hidden[0]
    if kind == "last":
        return hidden[-1]
    return hidden.max(axis=0) if kind == "max" else hidden.mean(axis=0)


def _is_decoder(context: Context) -> bool:
    """Whether the type has a causal language model and no masked one: such models look backwards only."""
    auto = require("transformers.models.auto.modeling_auto")
    kind = getattr(context.config, "model_type", "")
    return (
        kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and kind not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and not (kind.startswith("t5") or kind.endswith("t5"))
    )
