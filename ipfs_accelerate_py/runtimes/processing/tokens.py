"""Texts to tokens, with where each token lies in its text: what all text tasks begin with."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context
from .options import bad_input

__all__ = ["Tokenizer", "Tokens", "text_config"]

# transformers marks "no limit" by a number of this order.
_NO_LIMIT = 1_000_000
# What holds where neither tokenizer nor model sets a limit: work grows with the square of the length.
_LIMIT_OF_LAST_RESORT = 8192
# Names under which configs say how many positions there are.
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_seq_length", "seq_length", "n_ctx")
# What a tokenizer makes that the compiled one inside it makes as well.
_PLAIN = {"input_ids", "attention_mask", "token_type_ids"}
# Models that count positions from the padding token's number on, and have room for that many fewer.
_COUNT_FROM_PADDING = frozenset(
    ("camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet",
     "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")
)  # fmt: skip


@dataclass(slots=True)
class Tokens:
    """One text, or a pair, as tokens.

    Attributes:
        columns: by the model's name of it (``input_ids``, ``token_type_ids``, ...), one entry per token.
        part: 0 for a token of the text, 1 for one of its pair, None for a special one in between.
        offsets: where each begins and ends in its text, in characters.
        words: number of the word that each is a part of, where the tokenizer tells.
        full_length: tokens before any cut.
    """

    columns: dict[str, list[Any]]
    part: list[int | None]
    offsets: list[tuple[int, int]]
    words: list[int | None]
    full_length: int = 0

    @property
    def ids(self) -> list[int]:
        return self.columns["input_ids"]

    def __len__(self) -> int:
        return len(self.part)

    def places(self, part: int) -> list[int]:
        """Where the tokens of the text (0) or of its pair (1) are."""
        return [at for at, each in enumerate(self.part) if each == part]

    def take(self, keep: Sequence[int]) -> Tokens:
        """These tokens only, in this order."""
        return Tokens(
            {name: [column[at] for at in keep] for name, column in self.columns.items()},
            [self.part[at] for at in keep],
            [self.offsets[at] for at in keep],
            [self.words[at] for at in keep],
            self.full_length,
        )

    def slice(self, part: int, start: int, stop: int) -> Tokens:
        """All tokens, but of that part only those from ``start`` to ``stop``."""
        kept = set(self.places(part)[start:stop])
        return self.take([at for at, each in enumerate(self.part) if each != part or at in kept])

    def windows(self, part: int, limit: int, overlap: int) -> list[tuple[int, Tokens]]:
        """Cuts of at most ``limit`` tokens that cover that part, each beginning with ``overlap`` tokens of the last;
        with each, which of the part's tokens is its first."""
        if len(self) <= limit:
            return [(0, self)]
        count = len(self.places(part))
        room = limit - (len(self) - count)
        if room < 1:
            raise bad_input(f"input is too long: {len(self) - count} tokens besides the part that can be cut")
        step = max(1, room - min(overlap, room // 2))
        starts = range(0, max(1, count - room + step), step)
        return [(start, self.slice(part, start, start + room)) for start in starts]

    def cut(self, limit: int, part: int | None = None) -> Tokens:
        """At most ``limit`` tokens: off the end of that part, or of the longer one where ``part`` is None."""
        surplus = len(self) - limit
        if surplus <= 0:
            return self
        lengths = [len(self.places(0)), len(self.places(1))]
        for _ in range(min(surplus, sum(lengths))):
            longer = part if part is not None else int(lengths[1] > lengths[0])
            lengths[longer] = max(0, lengths[longer] - 1)
        return self.slice(0, 0, lengths[0]).slice(1, 0, lengths[1])


@dataclass(slots=True)
class Tokenizer:
    """A checkpoint's tokenizer; texts are tokenised in any thread. Without one, inputs are token ids.

    Raises:
        RuntimeUnavailable: there is a tokenizer, and it does not load.
    """

    context: Context
    inner: Any = None
    limit: int = _LIMIT_OF_LAST_RESORT
    pad_id: int = 0
    pad_type_id: int = 0
    reason: str = ""
    _compiled: Any = None
    _typed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        transformers = require("transformers")
        try:
            self.inner = transformers.AutoTokenizer.from_pretrained(
                str(self.context.path), local_files_only=True, trust_remote_code=self.context.trust_remote_code
            )
        except ImportError as exc:
            raise RuntimeUnavailable(f"the checkpoint's tokenizer needs a package that is missing: {exc}") from exc
        except Exception as exc:
            self.reason = str(exc).split("\n")[0]
        config = text_config(self.context.config)
        tokenizer = self.inner
        pad = getattr(config, "pad_token_id", None)
        limits = [_positions(config)]
        if tokenizer is not None:
            limits.append(int(tokenizer.model_max_length or _NO_LIMIT))
            pad = tokenizer.pad_token_id if pad is None else pad
            self.pad_type_id = int(getattr(tokenizer, "pad_token_type_id", 0) or 0)
            self._typed = "token_type_ids" in tokenizer.model_input_names
            if tokenizer.is_fast and set(tokenizer.model_input_names) <= _PLAIN:
                self._compiled = tokenizer.backend_tokenizer
                # A tokenizer.json carries the padding and truncation of whoever saved it.
                self._compiled.no_padding()
                self._compiled.no_truncation()
        self.pad_id = pad if isinstance(pad, int) and pad >= 0 else 0
        self.limit = min((limit for limit in limits if 0 < limit < _NO_LIMIT), default=_LIMIT_OF_LAST_RESORT)

    def needed(self) -> Any:
        """Transformers' tokenizer. Raises `RuntimeUnavailable` where the checkpoint has none."""
        if self.inner is None:
            raise RuntimeUnavailable(f"the checkpoint has no tokenizer that loads: {self.reason}")
        return self.inner

    def encode(self, text: Any, pair: str | None = None, *, special: bool = True, **extra: Any) -> Tokens:
        """Tokens of a text and perhaps its pair, whole; or of a list of ids, as they are.

        Raises:
            InvalidRequest: it is neither, or it makes no token at all.
        """
        if isinstance(text, list | tuple) and text and all(isinstance(each, int) for each in text):
            found = _given([int(each) for each in text])
        elif not isinstance(text, str):
            raise bad_input(f"input is a text or a list of token ids, not {type(text).__name__}")
        elif self.inner is None:
            raise bad_input(f"the checkpoint has no tokenizer ({self.reason}): give token ids")
        elif self._compiled is not None and not extra:
            found = self._fast(text, pair, special)
        else:
            found = self._slow(text, pair, special, extra)
        if not len(found):
            start = [self.inner.bos_token_id, self.inner.eos_token_id] if self.inner is not None and special else []
            found = _given([each for each in start if each is not None][:1])
            if not len(found):
                raise bad_input("input is empty: it makes no token")
            found.part = [None]
        found.full_length = len(found)
        return found

    def _fast(self, text: str, pair: str | None, special: bool) -> Tokens:
        try:
            made = self._compiled.encode(text, pair, add_special_tokens=special)
        except (TypeError, UnicodeError) as exc:
            raise bad_input(f"input is not valid Unicode: {exc}") from exc
        columns: dict[str, list[Any]] = {"input_ids": made.ids}
        if self._typed:
            columns["token_type_ids"] = made.type_ids
        return Tokens(columns, made.sequence_ids, made.offsets, made.word_ids)

    # Python's tokenizers, and those whose model takes more than ids. They set what is shared while they run.
    def _slow(self, text: str, pair: str | None, special: bool, extra: dict[str, Any]) -> Tokens:
        tokenizer, fast = self.inner, bool(self.inner.is_fast)
        with self._lock:
            made = tokenizer(
                text, pair, add_special_tokens=special, return_special_tokens_mask=True, verbose=False,
                **({"return_offsets_mapping": True} if fast else {}), **extra,
            )  # fmt: skip
        mask = made.pop("special_tokens_mask")
        offsets = made.pop("offset_mapping", None)
        count = len(made["input_ids"])
        columns = {
            name: list(column) for name, column in made.items() if name != "attention_mask" and len(column) == count
        }
        if fast:
            return Tokens(columns, list(made.sequence_ids(0)), [tuple(each) for each in offsets], made.word_ids(0))
        first = count if pair is None else len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        part: list[int | None] = []
        for is_special in mask:
            part.append(None if is_special else int(first <= 0))
            first -= 0 if is_special else 1
        pieces = tokenizer.convert_ids_to_tokens(columns["input_ids"])
        return Tokens(columns, part, _find_offsets(pieces, part, (text, pair or "")), [None] * count)


def text_config(config: Any) -> Any:
    """The part of a model's configuration that is about its text."""
    get = getattr(config, "get_text_config", None)
    return get() if callable(get) else config


def _given(ids: list[int]) -> Tokens:
    return Tokens({"input_ids": ids}, [0] * len(ids), [(at, at + 1) for at in range(len(ids))], [None] * len(ids))


def _positions(config: Any) -> int:
    for name in _POSITIONS:
        found = getattr(config, name, None)
        if isinstance(found, int) and found > 0:
            if config.model_type in _COUNT_FROM_PADDING and isinstance(config.pad_token_id, int):
                return max(1, found - config.pad_token_id - 1)
            return found
    return _NO_LIMIT


def _find_offsets(pieces: Sequence[str], part: Sequence[int | None], texts: tuple[str, str]) -> list[tuple[int, int]]:
    """Where tokens of a tokenizer that does not tell lie: each is looked for after the last one."""
    cursor = [0, 0]
    lowered = [text.lower() if len(text.lower()) == len(text) else text for text in texts]
    found = []
    for piece, which in zip(pieces, part, strict=True):
        if which is None:
            found.append((0, 0))
            continue
        text, start = texts[which], cursor[which]
        while start < len(text) and text[start].isspace():
            start += 1
        bare = str(piece).removeprefix("##").removesuffix("</w>").removesuffix("@@").replace("▁", "").replace("Ġ", "")
        at = text.find(bare, start, start + len(bare) + 32)
        at = lowered[which].find(bare.lower(), start, start + len(bare) + 32) if at < 0 else at
        begin, end = (at, at + len(bare)) if at >= 0 else (start, min(len(text), start + max(1, len(bare))))
        cursor[which] = end
        found.append((begin, end))
    return found
