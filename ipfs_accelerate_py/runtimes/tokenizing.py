"""Texts to token ids, by the tokenizer that lies in a model's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .extras import require
from .folder import ModelFolder

__all__ = ["Encoded", "TextEncoder"]

# transformers marks "no limit" by a number of this order.
_NO_LIMIT = 1_000_000

# What holds where neither folder nor tokenizer nor model sets a limit (T5 and its relative positions): work grows with
# the square of the length, so somebody must.
_LIMIT_OF_LAST_RESORT = 8192

# A text of more characters than this per token of the limit is tokenised from its beginning only, when that fills the
# limit. Else one text of ten megabytes holds up everybody for seconds, all but 256 of its tokens being thrown away.
_CHARACTERS_PER_TOKEN = 32


@dataclass(slots=True)
class Encoded:
    """One text as tokens.

    Attributes:
        ids: token ids with special tokens, cut to the limit.
        type_ids: segment ids where the model takes them, else None.
        full_length: tokens before the cut; more than ``len(ids)`` when the text was too long. For a text that is very
            much too long this is a lower bound: its end is not looked at.
    """

    ids: list[int]
    type_ids: list[int] | None
    full_length: int


class TextEncoder:
    """A tokenizer, ready to run in any thread.

    It is built by transformers' ``AutoTokenizer`` (which applies ``tokenizer_config.json`` to ``tokenizer.json``, as
    sentence-transformers does), and then the compiled tokenizer inside is used directly: it releases the interpreter
    lock, and does no padding of its own.

    Args:
        folder: the model's folder.
        max_positions: positions that the model has room for, or None where it has no such limit.

    Raises:
        RuntimeUnavailable: the folder's tokenizer cannot be loaded.
    """

    def __init__(self, folder: ModelFolder, max_positions: int | None = None) -> None:
        transformers = require("transformers")
        options = {"model_max_length": folder.max_tokens} if folder.max_tokens else {}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(folder.transformer), local_files_only=True, trust_remote_code=False,
                **(options | dict(folder.tokenizer_options)),
            )  # fmt: skip
        except Exception as exc:
            raise RuntimeUnavailable(
                f"model {folder.name!r} cannot be served: its tokenizer does not load: {exc}"
            ) from exc
        limits = [tokenizer.model_max_length, max_positions or _NO_LIMIT]
        #: Longest input in tokens, special tokens counted.
        self.max_tokens = min((int(limit) for limit in limits if limit < _NO_LIMIT), default=_LIMIT_OF_LAST_RESORT)
        self.pad_id: int = tokenizer.pad_token_id or 0
        self.pad_type_id: int = getattr(tokenizer, "pad_token_type_id", 0)
        self._enough: int | None = None
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self._typed = "token_type_ids" in tokenizer.model_input_names
        self._tokenizer = tokenizer
        self._compiled: Any = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        self._lower = folder.lower_case
        if self._compiled is not None:
            if folder.lower_case:
                self._lower_case()
            # A tokenizer.json carries the padding and truncation of whoever saved it.
            self._compiled.no_padding()
            self._compiled.enable_truncation(self.max_tokens, direction=tokenizer.truncation_side)
            if tokenizer.truncation_side == "right":
                self._enough = self.max_tokens * _CHARACTERS_PER_TOKEN
            self._own_tokens = self._compiled.num_special_tokens_to_add(False)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokens of each text.

        Raises:
            Exception: whatever the tokenizer raises when a text is not valid Unicode (a lone surrogate).
        """
        if self._compiled is None:
            return [self._encode_slowly(text) for text in texts]
        shortened = [self._beginning(text) for text in texts]
        encodings = self._compiled.encode_batch_fast(shortened)
        for at, text in enumerate(texts):
            if len(shortened[at]) < len(text) and not encodings[at].overflowing:
                encodings[at] = self._compiled.encode(text)
        return [
            Encoded(
                ids=encoding.ids,
                type_ids=encoding.type_ids if self._typed else None,
                full_length=len(encoding.ids) + sum(len(more.ids) - self._own_tokens for more in encoding.overflowing),
            )
            for encoding in encodings
        ]

    def prompt_length(self, prompt: str) -> int:
        """Tokens at the start of a text that belong to ``prompt``, its leading special tokens included."""
        ids = self.encode([prompt])[0].ids
        return len(ids) - (1 if ids and ids[-1] in self._special_ids else 0)

    def _beginning(self, text: str) -> str:
        """The part of ``text`` that can matter, ended between two words, where tokenisers split anyway."""
        if self._enough is None or len(text) <= self._enough:
            return text
        end = max(text.rfind(" ", 0, self._enough), text.rfind("\n", 0, self._enough))
        return text[:end] if end > 0 else text

    def _encode_slowly(self, text: str) -> Encoded:
        text = text.lower() if self._lower else text
        whole = self._tokenizer(text, verbose=False)
        full_length = len(whole["input_ids"])
        if full_length > self.max_tokens:
            whole = self._tokenizer(text, truncation=True, max_length=self.max_tokens, verbose=False)
        return Encoded(whole["input_ids"], whole.get("token_type_ids") if self._typed else None, full_length)

    def _lower_case(self) -> None:
        normalizers = require("tokenizers").normalizers
        present = self._compiled.normalizer
        # A BERT normaliser lower-cases in the middle of other work; doing it first is what sentence-transformers does.
        chain = [] if present is None else [present]
        self._compiled.normalizer = normalizers.Sequence([normalizers.Lowercase(), *chain])
