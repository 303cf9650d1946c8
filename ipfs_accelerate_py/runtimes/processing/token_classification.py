"""Names, places and the like in a text: a class for each token, put together to stretches of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ipfs_accelerate_py.results import Entities, Entity
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import label_names, softmax
from .base import Context, Piece
from .options import bad_option, choice, whole
from .texts import TextProcessing, read_text
from .tokens import Tokens
from .windows import merge

__all__ = ["TokenClassification"]

_STRATEGIES = ("none", "simple", "first", "average", "max")


@dataclass(slots=True)
class _Note:
    text: str
    tokens: Tokens
    #: The window's share of the text's own tokens: the first, the one after the last, and where they are in the piece.
    start: int
    stop: int
    places: list[int]


@dataclass(slots=True)
class _Unit:
    """A token, a word, or a group of them, with its class."""

    label: str
    score: float
    start: int
    end: int


class TokenClassification(TextProcessing):
    """Input: a text of any length: one longer than the model's limit is read in overlapping windows, and each token's
    class is taken from the window in which it is farthest from the edge.

    Options: ``aggregation_strategy``: ``none`` (each token with its own label), ``simple`` (the default: neighbours of
    one class are one entity, ``B-`` begins a new one), ``first``, ``average``, ``max`` (words get one class before: the
    first token's, the mean's, or the surest token's); ``ignore_labels`` (``["O"]``), ``stride`` (tokens of overlap).
    """

    along_text: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        inner = getattr(self.tokenizer.inner, "_tokenizer", None)
        #: Whether a token's own text tells that it continues a word (WordPiece).
        self._marked = bool(getattr(getattr(inner, "model", None), "continuing_subword_prefix", None))

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        text, pair = read_text(given)
        tokens = self.tokenizer.encode(text, pair)
        overlap = whole(options, "stride", self.limit // 4)
        own = tokens.take(tokens.places(0))
        said = text if isinstance(text, str) else " ".join(str(each) for each in text)
        pieces = []
        for start, window in tokens.windows(0, self.limit, overlap):
            places = window.places(0)
            pieces.append(self.piece(window, _Note(said, own, start, start + len(places), places)))
        return pieces

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Entities:
        notes: list[_Note] = [piece.note for piece in pieces]
        tokens, text = notes[0].tokens, notes[0].text
        if not len(tokens):
            return Entities([])
        views = [row["logits"][note.places] for row, note in zip(rows, notes, strict=True)]
        scores = softmax(merge(views, [(note.start, note.stop) for note in notes], len(tokens)))
        names = label_names(self.config, scores.shape[-1])
        kind = choice(options, "aggregation_strategy", _STRATEGIES, "simple")
        ignored = options.get("ignore_labels", ["O"])
        if not isinstance(ignored, list | tuple):
            raise bad_option("ignore_labels", "is a list of labels")
        units = [
            _unit(scores[group], [tokens.offsets[at] for at in group], names, kind)
            for group in self._groups(text, tokens, kind)
        ]
        found = units if kind == "none" else _entities(units)
        return Entities(
            [
                Entity(unit.label, unit.score, text[unit.start : unit.end], unit.start, unit.end)
                for unit in found
                if unit.label not in ignored
            ]
        )

    def _groups(self, text: str, tokens: Tokens, kind: str) -> list[list[int]]:
        groups: list[list[int]] = []
        for at in range(len(tokens)):
            if groups and kind not in ("none", "simple") and self._continues(text, tokens, at):
                groups[-1].append(at)
            else:
                groups.append([at])
        return groups

    def _continues(self, text: str, tokens: Tokens, at: int) -> bool:
        number, (start, end) = tokens.ids[at], tokens.offsets[at]
        if self.tokenizer.inner is None or number == self.tokenizer.inner.unk_token_id:
            return False
        if self._marked:
            return len(self.tokenizer.inner.convert_ids_to_tokens(number)) != end - start
        # Other tokenizers do not tell: a word begins after a space.
        return start > 0 and " " not in text[start - 1 : start + 1]


def _unit(scores: Any, offsets: Sequence[tuple[int, int]], names: Sequence[str], kind: str) -> _Unit:
    """One class for the tokens of a word: their scores are the rows."""
    np = require("numpy")
    if kind == "average":
        row = scores.mean(axis=0)
    elif kind == "max":
        row = scores[int(np.argmax(scores.max(axis=1)))]
    else:
        row = scores[0]
    best = int(np.argmax(row))
    return _Unit(names[best], float(row[best]), int(offsets[0][0]), int(offsets[-1][1]))


def _entities(units: Sequence[_Unit]) -> list[_Unit]:
    """Neighbours of one class put together; their score is the mean."""
    found: list[list[_Unit]] = []
    for unit in units:
        begins, name = _tag(unit.label)
        if found and not begins and name == _tag(found[-1][-1].label)[1]:
            found[-1].append(unit)
        else:
            found.append([unit])
    return [
        _Unit(
            _bare(group[0].label), sum(unit.score for unit in group) / len(group), group[0].start, group[-1].end
        )
        for group in found
    ]  # fmt: skip


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label begins an entity by force, and its class (``B-PER``, ``I-PER``, ``PER``)."""
    return (True, label[2:]) if label.startswith("B-") else (False, label.removeprefix("I-"))


def _bare(label: str) -> str:
    return label.split("-", 1)[-1]
