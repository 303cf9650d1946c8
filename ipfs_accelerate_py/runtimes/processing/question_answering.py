"""Answers that are in a context: the stretch of it that answers a question best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ipfs_accelerate_py.results import Span, Spans
from ipfs_accelerate_py.runtimes.extras import require

from .base import Piece
from .options import bad_input, flag, whole
from .texts import TextProcessing, read_pair
from .tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["QuestionAnswering"]

# The usual length of a window and overlap of two, as the models were trained (SQuAD).
_WINDOW, _OVERLAP, _QUESTION = 384, 128, 64


@dataclass(slots=True)
class _Note:
    context: str
    #: Where the window's tokens of the context are, and where a question without an answer points.
    places: list[int]
    nowhere: int
    offsets: list[tuple[int, int]]
    words: list[int | None]
    #: By number of a word of the context: its characters.
    whole: dict[int, tuple[int, int]]


class QuestionAnswering(TextProcessing):
    """Input: ``{"question": ..., "context": ...}``. A context longer than a window is read in overlapping ones; their
    scores are probabilities among all positions of all of them, so they compare.

    Options: ``top_k`` (1), ``max_answer_len`` (15 tokens), ``handle_impossible_answer`` (False; True: an empty text may
    be the answer), ``align_to_words`` (True), ``max_seq_len`` (384), ``doc_stride`` (128), ``max_question_len`` (64).
    """

    along_text: ClassVar[frozenset[str]] = frozenset({"start_logits", "end_logits"})

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        question, context = read_pair(given, "question", "context")
        if not isinstance(context, str) or not context.strip() or not question.strip():
            raise bad_input("input has a 'question' or a 'context' that is empty or no text")
        limit = min(self.limit, whole(options, "max_seq_len", _WINDOW, low=8))
        overlap = whole(options, "doc_stride", min(_OVERLAP, limit // 2), low=1)
        # XLNet's kin read the question last.
        asked, read = (1, 0) if self.rule.left else (0, 1)
        pair = (context, question) if self.rule.left else (question, context)
        tokens = self.tokenizer.encode(*pair)
        longest = min(whole(options, "max_question_len", _QUESTION, low=1), max(1, limit // 2))
        tokens = tokens.slice(asked, 0, longest)
        if not tokens.places(read):
            raise bad_input("input has a 'context' that makes no token")
        spans = _words(tokens, read)
        return [
            self.piece(window, self._note(context, window, read, spans))
            for _, window in tokens.windows(read, limit, overlap)
        ]

    def _note(self, context: str, window: Tokens, part: int, spans: dict[int, tuple[int, int]]) -> _Note:
        places = window.places(part)
        first = getattr(self.tokenizer.inner, "cls_token_id", None)
        return _Note(
            context,
            places,
            window.ids.index(first) if first in window.ids else 0,
            [window.offsets[at] for at in places],
            [window.words[at] for at in places],
            spans,
        )

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Spans:
        top = whole(options, "top_k", 1, low=1)
        longest = whole(options, "max_answer_len", 15, low=1)
        impossible = flag(options, "handle_impossible_answer")
        notes: list[_Note] = [piece.note for piece in pieces]
        starts, none_starts = _shares([row["start_logits"] for row in rows], notes)
        ends, none_ends = _shares([row["end_logits"] for row in rows], notes)
        found: dict[tuple[int, int], float] = {}
        for note, start, end in zip(notes, starts, ends, strict=True):
            for first, last, score in _best(start, end, longest, top):
                span = self._characters(note, first, last, flag(options, "align_to_words", True))
                found[span] = max(score, found.get(span, 0.0))
        context = notes[0].context
        answers = [Span(context[start:end], score, start, end) for (start, end), score in found.items()]
        if impossible:
            answers.append(Span("", min(s * e for s, e in zip(none_starts, none_ends, strict=True)), 0, 0))
        answers.sort(key=lambda each: -each.score)
        return Spans(answers[:top])

    def _characters(self, note: _Note, first: int, last: int, align: bool) -> tuple[int, int]:
        start, end = note.offsets[first][0], note.offsets[last][1]
        if align:
            begin, finish = note.words[first], note.words[last]
            start = note.whole[begin][0] if begin is not None else start
            end = note.whole[finish][1] if finish is not None else end
        return int(start), int(end)


def _words(tokens: Tokens, part: int) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for at in tokens.places(part):
        word = tokens.words[at]
        if word is not None:
            start, end = tokens.offsets[at]
            known = found.get(word, (start, end))
            found[word] = (min(known[0], start), max(known[1], end))
    return found


def _shares(
    logits: Sequence[NDArray[np.float32]], notes: Sequence[_Note]
) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Probabilities among all windows' positions in the context and their "nowhere": of each, apart."""
    np = require("numpy")
    inside = [each[note.places].astype(np.float64) for each, note in zip(logits, notes, strict=True)]
    nowhere = [float(each[note.nowhere]) for each, note in zip(logits, notes, strict=True)]
    highest = max(*nowhere, *(float(each.max()) for each in inside))
    powers = [np.exp(each - highest) for each in inside]
    none = [float(np.exp(each - highest)) for each in nowhere]
    total = sum(float(each.sum()) for each in powers) + sum(none)
    return [each / total for each in powers], [each / total for each in none]


def _best(
    starts: NDArray[np.float64], ends: NDArray[np.float64], longest: int, top: int
) -> list[tuple[int, int, float]]:
    """The likeliest spans of at most ``longest`` tokens: first token, last token, probability."""
    np = require("numpy")
    longest = min(longest, len(starts))
    # By length less one and start: ends run past the last token as zeros.
    padded = np.concatenate([ends, np.zeros(longest - 1)])
    table = np.stack([starts * padded[more : more + len(starts)] for more in range(longest)])
    # Aligned to words several may become one, so more are taken than asked for.
    count = min(table.size, top * 4)
    order = np.argpartition(-table.ravel(), count - 1)[:count]
    order = order[np.argsort(-table.ravel()[order], kind="stable")]
    spans = [(int(at % len(starts)), int(at // len(starts))) for at in order]
    return [(start, start + more, float(table[more, start])) for start, more in spans if table[more, start] > 0]
