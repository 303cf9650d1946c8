"""Questions about a document, answered by a stretch of its words (LayoutLM and its kin)."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.results import Span, Spans
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import softmax
from .base import Context, Piece
from .candidates import among
from .options import choice, whole
from .pictures import picture, refuse
from .processors import image_processor, tokenizer
from .vision import ImageTask

__all__ = ["DocumentQuestions"]


class DocumentQuestions(ImageTask):
    """Input: a mapping of ``question``, ``words`` and ``boxes`` (or ``word_boxes``: pairs of both), and ``image`` for
    the models that look at it (LayoutLMv2, LayoutLMv3).

    There is no text recognition here: words and their boxes ``[x0, y0, x1, y1]`` come from the caller's. Options:
    ``box_unit`` (``thousandths`` of the page, or ``pixels`` of the image), ``top_k`` (1), ``max_answer_len`` (15, in
    words), ``doc_stride`` (128, tokens that two windows of a long document share). ``start`` and ``end`` of an answer
    count characters of the words joined by single spaces.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.looks = self.takes("pixel_values") or self.takes("image")
        self.tokenizer = tokenizer(context)
        #: Whether the tokenizer places the boxes itself.
        self.own = "boxes" in type(self.tokenizer).__call__.__code__.co_varnames
        self.lock = threading.Lock()
        if self.looks:
            self.images = image_processor(context)
            self.images.apply_ocr = False

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        question = among(given, "question", options) or among(given, "text", options)
        if not isinstance(question, str) or not question.strip():
            raise refuse("input must have a 'question' beside the words", "question")
        words, boxes = self.words(given, options)
        shown = self.shown(given) if self.looks else {}
        windows = self.windows(question, words, boxes, options)
        return [self.piece({**arrays, **shown}, (words, places)) for arrays, places in windows]

    def words(self, given: Any, options: Mapping[str, Any]) -> tuple[list[str], list[list[int]]]:
        """The document's words, and where each stands, in thousandths of the page."""
        pairs = among(given, "word_boxes", options)
        if pairs is not None:
            words, boxes = [each[0] for each in pairs], [each[1] for each in pairs]
        else:
            words, boxes = among(given, "words", options), among(given, "boxes", options)
        if not words or boxes is None:
            raise UnsupportedOperation(
                "the words of the document are needed, as 'words' and 'boxes': nothing here reads text off an image"
            )
        np = require("numpy")
        try:
            places = np.asarray(boxes, dtype="float64").reshape(len(words), 4)
        except (TypeError, ValueError) as exc:
            raise refuse(f"boxes must be [x0, y0, x1, y1] for each of the {len(words)} words", "boxes") from exc
        if choice(options, "box_unit", ("thousandths", "pixels"), "thousandths") == "pixels":
            image = picture(given)
            places = places * 1000 / [image.width, image.height, image.width, image.height]
        places = places.round()
        if places.min() < 0 or places.max() > 1000:
            raise refuse("boxes lie outside the page: give 'box_unit': 'pixels' if they are in pixels", "boxes")
        if not all(isinstance(each, str) for each in words):
            raise refuse("words must be texts", "words")
        return list(words), places.astype(int).tolist()

    def shown(self, given: Any) -> dict[str, Any]:
        """The page itself, for models that look at it."""
        name = "pixel_values" if self.takes("pixel_values") else "image"
        made = self.images(images=picture(given), return_tensors="np")
        return {name: made["pixel_values"][0]}

    def windows(
        self, question: str, words: list[str], boxes: list[list[int]], options: Mapping[str, Any]
    ) -> list[tuple[dict[str, Any], list[int | None]]]:
        """Arrays of each stretch of the document that the model takes at once, and by token the word it is of."""
        np = require("numpy")
        # LayoutLMv3 counts positions from 2 on, as RoBERTa does.
        positions = self.config.max_position_embeddings - (2 if self.config.model_type == "layoutlmv3" else 0)
        longest = min(self.tokenizer.model_max_length, 512, positions)
        asked = len(self.tokenizer.tokenize(question))
        settings: dict[str, Any] = {
            "truncation": "only_second",
            "max_length": longest,
            "stride": min(whole(options, "doc_stride", 128, low=0), max(0, longest - asked - 4) // 2),
            "return_overflowing_tokens": True,
        }
        try:
            with self.lock:
                if self.own:
                    made = self.tokenizer(question, words, boxes=boxes, **settings)
                else:
                    made = self.tokenizer(
                        question.split(), words, is_split_into_words=True, return_token_type_ids=True, **settings
                    )
        except Exception as exc:
            raise refuse(f"question leaves no room for the document: {exc}", "question") from exc
        found = []
        for at in range(len(made["input_ids"])):
            parts, numbers = made.sequence_ids(at), made.word_ids(at)
            places = [number if part == 1 else None for part, number in zip(parts, numbers, strict=True)]
            columns = {
                name: np.asarray(made[name][at], dtype="int64")
                for name in ("input_ids", "attention_mask", "token_type_ids", "bbox")
                if name in made and self.takes(name)
            }
            if not self.own:
                columns["bbox"] = np.asarray(
                    [self._box(place, part, token, boxes) for place, part, token in zip(
                        places, parts, made["input_ids"][at], strict=True)], dtype="int64"
                )  # fmt: skip
            found.append((columns, places))
        return found

    def _box(self, place: int | None, part: int | None, token: int, boxes: list[list[int]]) -> list[int]:
        if place is not None:
            return boxes[place]
        # What is not on the page: the separator stands at its far corner, as the model was trained; all else at 0.
        return [1000] * 4 if token == self.tokenizer.sep_token_id else [0] * 4

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Spans:
        np = require("numpy")
        most = whole(options, "max_answer_len", 15, low=1)
        words = pieces[0].note[0]
        best: dict[tuple[int, int], float] = {}
        for row, piece in zip(rows, pieces, strict=True):
            places = piece.note[1]
            # Behind the text's positions, LayoutLMv2 and v3 have those of the page's parts.
            start, end = (
                np.array(row[name][: len(places)], dtype="float64") for name in ("start_logits", "end_logits")
            )
            hidden = np.array([place is None for place in places])
            start[hidden] = end[hidden] = -1e9
            first, last = softmax(start), softmax(end)
            numbers = np.array([-1 if place is None else place for place in places])
            spans = np.outer(first, last)
            reach = numbers[None, :] - numbers[:, None]
            spans[(reach < 0) | (reach >= most) | hidden[:, None] | hidden[None, :]] = 0
            spans = np.triu(spans)
            for flat in np.argsort(-spans, axis=None)[: 8 * most]:
                left, right = divmod(int(flat), len(places))
                if spans[left, right] > 0:
                    key = (int(numbers[left]), int(numbers[right]))
                    best[key] = max(best.get(key, 0.0), float(spans[left, right]))
        starts = np.cumsum([0] + [len(word) + 1 for word in words]).tolist()
        order = sorted(best, key=lambda key: -best[key])[: whole(options, "top_k", 1, low=1)]
        return Spans(
            answers=[
                Span(" ".join(words[a : b + 1]), best[a, b], starts[a], starts[b] + len(words[b])) for a, b in order
            ]
        )
