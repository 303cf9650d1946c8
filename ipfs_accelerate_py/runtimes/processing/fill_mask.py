"""What may stand in the place of masks in a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.errors import ContextLengthExceeded, RuntimeUnavailable
from ipfs_accelerate_py.results import Fill, Fills

from .arrays import softmax
from .base import Context, Piece
from .options import bad_input, bad_option, whole
from .texts import TextProcessing, read_text

__all__ = ["FillMask"]

# What people write for a mask; any of them is taken for the tokenizer's own.
_WRITTEN = ("[MASK]", "<mask>")


class FillMask(TextProcessing):
    """Input: a text with one mask or several (the tokenizer's own, ``[MASK]`` or ``<mask>``), or token ids.

    Options: ``top_k`` (5), ``targets`` (words: only these are judged; their scores stay those among the whole
    vocabulary). Of several masks each is judged by itself.
    """

    along_text: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        tokenizer = self.tokenizer.inner
        known = tokenizer.mask_token_id if tokenizer is not None else getattr(self.config, "mask_token_id", None)
        if known is None:
            raise RuntimeUnavailable("the checkpoint's tokenizer has no mask token, so there is nothing to fill")
        self._mask = int(known)

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        text, pair = read_text(given)
        if isinstance(text, str) and (own := self.tokenizer.needed().mask_token) not in text:
            for written in _WRITTEN:
                text = text.replace(written, own)
        tokens = self.tokenizer.encode(text, pair)
        masks = [at for at, each in enumerate(tokens.ids) if each == self._mask]
        if not masks:
            raise bad_input(f"input has no mask: write {getattr(self.tokenizer.inner, 'mask_token', self._mask)}")
        cut = tokens.cut(self.limit)
        if cut.ids.count(self._mask) < len(masks):
            raise ContextLengthExceeded(
                f"input has {len(tokens)} tokens, the model takes {self.limit}, and a mask is beyond them",
                status=400, param="input",
            )  # fmt: skip
        return [self.piece(cut, note=[at for at, each in enumerate(cut.ids) if each == self._mask])]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Fills:
        logits, piece = rows[0]["logits"], pieces[0]
        ids = [int(each) for each in piece.features["input_ids"]]
        targets = self._targets(options, logits.shape[-1])
        top = whole(options, "top_k", 5, low=1)
        found = []
        for at in piece.note:
            scores = softmax(logits[at])
            order = sorted(targets, key=lambda each: -scores[each]) if targets else (-scores).argsort(kind="stable")
            fills = []
            for each in [int(number) for number in order[:top]]:
                filled = [*ids[:at], each, *ids[at + 1 :]]
                fills.append(Fill(self._say([each]), each, float(scores[each]), self._say(filled, len(piece.note))))
            found.append(fills)
        return Fills(found)

    def _say(self, ids: list[int], masks: int = 0) -> str:
        if self.tokenizer.inner is None:
            return " ".join(str(each) for each in ids)
        # The other masks are special tokens too, and stay.
        said = self.tokenizer.inner.decode(ids, skip_special_tokens=masks == 1)
        return str(said).strip() if masks else str(said)

    def _targets(self, options: Mapping[str, Any], size: int) -> list[int]:
        wanted = options.get("targets")
        if wanted is None:
            return []
        wanted = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(wanted, list | tuple) or not wanted or not all(isinstance(each, str) for each in wanted):
            raise bad_option("targets", "is a list of words")
        vocabulary = self.tokenizer.needed().get_vocab()
        found = []
        for word in wanted:
            number = vocabulary.get(word)
            if number is None:
                number = self.tokenizer.encode(word, special=False).ids[0]
            if number < size and number not in found:
                found.append(int(number))
        return found
