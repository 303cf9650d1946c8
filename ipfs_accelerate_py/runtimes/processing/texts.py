"""What all text tasks share: reading inputs, pieces of tokens, batches with padding, and cutting it away again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import only, stack
from .base import Context, Piece, Processing
from .options import bad_input
from .padding import padding_rule
from .tokens import Tokenizer, Tokens

__all__ = ["TextProcessing", "read_pair", "read_text"]


def read_text(given: Any) -> tuple[Any, str | None]:
    """A text (or token ids) and perhaps its pair: of a text, a list of ids or of two texts, or a mapping with ``text``
    and ``text_pair``."""
    pair: Any = None
    text = given
    if isinstance(given, Mapping):
        if "text" not in given:
            raise bad_input("input is a mapping without 'text'")
        text, pair = given["text"], given.get("text_pair")
    elif isinstance(given, list | tuple) and len(given) == 2 and isinstance(given[0], str):
        text, pair = given
    if not isinstance(text, str) and not (
        isinstance(text, list | tuple) and text and all(isinstance(each, int) for each in text)
    ):
        raise bad_input("input is a text, a list of token ids, a list of two texts, or {'text': ..., 'text_pair': ...}")
    if pair is not None and not isinstance(pair, str):
        raise bad_input("input has a 'text_pair' that is no text")
    return text, pair


def read_pair(given: Any, first: str, second: str) -> tuple[str, Any]:
    """Two things from a mapping by their names, or from a list of two. The first is a text."""
    if isinstance(given, Mapping) and first in given and second in given:
        one, two = given[first], given[second]
    elif isinstance(given, list | tuple) and len(given) == 2:
        one, two = given
    else:
        raise bad_input(f"input is {{{first!r}: ..., {second!r}: ...}}, or a list of the two")
    if not isinstance(one, str):
        raise bad_input(f"input has a {first!r} that is no text")
    return one, two


class TextProcessing(Processing):
    """Base of the tasks whose pieces are tokens."""

    #: Outputs whose second axis is the text's: padding is cut off them.
    along_text: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.tokenizer = Tokenizer(context)
        self.rule = padding_rule(context)
        self.limit = self.tokenizer.limit
        inputs = context.inputs
        # T5's kin take the decoder's own ids, where BART's make them of the encoder's. Given, they are the same.
        self._decodes = bool(getattr(self.config, "is_encoder_decoder", False)) and (
            inputs is not None and "decoder_input_ids" in inputs
        )
        paged = any(hasattr(self.config, name) for name in ("max_2d_position_embeddings", "dim_bbox"))
        self._boxes = paged and inputs is not None and "bbox" in inputs
        self._language = _language(self.config) if inputs is not None and "lang_ids" in inputs else None
        if inputs is not None and "visual_feats" in inputs:
            raise RuntimeUnavailable("the model takes features of an image's regions beside the text, made by another")

    def piece(self, tokens: Tokens, note: Any = None) -> Piece:
        """Tokens as a piece."""
        np = require("numpy")
        length = len(tokens)
        features = {name: np.asarray(column, dtype=np.int64) for name, column in tokens.columns.items()}
        if self.rule.masked:
            features["attention_mask"] = np.ones(length, dtype=np.int64)
        if self._boxes and "bbox" not in features:
            # Where the words stand on a page, which a plain text does not say.
            features["bbox"] = np.zeros((length, 4), dtype=np.int64)
        if self._language is not None:
            features["lang_ids"] = np.asarray(self._language, dtype=np.int64)
        if self._decodes:
            start = getattr(self.config, "decoder_start_token_id", None)
            start = self.tokenizer.pad_id if start is None else start
            features["decoder_input_ids"] = np.concatenate(([start], features["input_ids"][:-1])).astype(np.int64)
        return Piece(only(features, self.context.inputs), length, self.rule.group(length), note)

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        width = max(piece.length for piece in pieces)
        # What a decoder keeps for its next token is not wanted here, and some models keep it in ways that fail.
        fixed = {"use_cache": False} if "use_cache" in (self.context.inputs or ()) else {}
        fill = {
            "input_ids": self.tokenizer.pad_id,
            "decoder_input_ids": self.tokenizer.pad_id,
            "token_type_ids": self.tokenizer.pad_type_id,
        }
        arrays = {
            name: stack(
                [piece.features[name] for piece in pieces],
                fill=fill.get(name, 0),
                width=width if pieces[0].features[name].shape[:1] == (pieces[0].length,) else None,
                left=self.rule.left,
            )
            for name in pieces[0].features
        }
        return arrays | fixed

    def rows(self, outputs: Mapping[str, Any], pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        found = super().rows(outputs, pieces)
        width = max(piece.length for piece in pieces)
        for row, piece in zip(found, pieces, strict=True):
            for name, array in row.items():
                if piece.length < width and name.split(".")[0] in self.along_text and array.shape[0] == width:
                    row[name] = array[width - piece.length :] if self.rule.left else array[: piece.length]
        return found


def _language(config: Any) -> int:
    """The number of an X-MOD's language: the config's default, or its first."""
    known = list(getattr(config, "languages", None) or [])
    default = getattr(config, "default_language", None)
    return known.index(default) if default in known else 0
