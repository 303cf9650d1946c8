"""Documents by how well each answers a query: a cross-encoder reads both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Ranked, Ranking

from .arrays import sigmoid, softmax
from .base import Piece
from .options import bad_input, choice, flag, whole
from .text_classification import SequenceHead
from .texts import read_pair

__all__ = ["TextRanking"]


class TextRanking(SequenceHead):
    """Input: ``{"query": ..., "documents": [...]}``; documents are texts, or mappings with ``text``.

    Options: ``top_n``, ``return_documents`` (False), ``max_length`` (tokens of query and document together; the
    document is cut, and the query only to leave it half), ``function_to_apply``: ``sigmoid`` (the default of one logit:
    scores from 0 to 1), ``none`` (the raw logit, as cross-encoders are trained), ``softmax`` (the default of several:
    the score is the last class's, which is the fitting one).
    """

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        query, documents = read_pair(given, "query", "documents")
        if isinstance(documents, str) or not isinstance(documents, Sequence) or not documents:
            raise bad_input("input has 'documents' that are no list, or an empty one")
        limit = whole(options, "max_length", self.limit, low=4)
        limit = min(limit, self.limit)
        pieces = []
        for document in documents:
            text = document.get("text") if isinstance(document, Mapping) else document
            if not isinstance(text, str):
                raise bad_input("input has a document that is neither a text nor a mapping with 'text'")
            tokens = self.tokenizer.encode(query, text)
            asked = len(tokens.places(0))
            if asked > limit // 2:
                # Else nothing of the document were left.
                tokens = tokens.slice(0, 0, max(limit // 2, limit - (len(tokens) - asked)))
            pieces.append(self.piece(tokens.cut(limit, 1), note=document))
        return pieces

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Ranking:
        scores = [self._score(row["logits"].reshape(-1), options) for row in rows]
        order = sorted(range(len(scores)), key=lambda at: -scores[at])[: whole(options, "top_n", len(scores), low=1)]
        shown = flag(options, "return_documents")
        return Ranking([Ranked(at, scores[at], pieces[at].note if shown else None) for at in order])

    def _score(self, logits: Any, options: Mapping[str, Any]) -> float:
        usual = "sigmoid" if len(logits) == 1 else "softmax"
        kind = choice(options, "function_to_apply", ("sigmoid", "softmax", "none"), usual)
        values = softmax(logits) if kind == "softmax" else sigmoid(logits) if kind == "sigmoid" else logits
        return float(values[-1])
