"""Answers from a table: the cells that answer a question, and what is to be done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import MissingExtra, RuntimeUnavailable
from ipfs_accelerate_py.results import Span, Spans
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import only, sigmoid
from .base import Context, Piece
from .options import bad_input, number
from .texts import TextProcessing

__all__ = ["TableQuestionAnswering"]


class TableQuestionAnswering(TextProcessing):
    """Input: ``{"query": ..., "table": ...}``; the table is a mapping of columns to lists of cells, or a list of rows
    that are mappings. Rows that do not fit are dropped from the end.

    Result: the cells, surest first, each with its row as ``start`` and its column as ``end``, counted from 0. Where the
    model aggregates, the first answer is the aggregation, as ``SUM > 3, 4``, at -1 and -1.

    Options: ``threshold`` (0.5: cells of a higher probability are answers).
    """

    def __init__(self, context: Context) -> None:
        try:
            import pandas  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
        except ImportError as exc:
            raise MissingExtra(
                "this model's tokenizer (TAPAS) reads tables by pandas, which is not installed: pip install pandas"
            ) from exc
        super().__init__(context)
        if not hasattr(self.tokenizer.needed(), "convert_logits_to_predictions"):
            raise RuntimeUnavailable("the checkpoint's tokenizer reads no tables; TAPAS' does")

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        np, pandas = require("numpy"), require("pandas")
        query, table = _read(given)
        frame = pandas.DataFrame(table).astype(str)
        try:
            made = self.tokenizer.inner(
                table=frame, queries=query, truncation="drop_rows_to_fit", max_length=self.limit, return_tensors="np"
            )
        except ValueError as exc:
            raise bad_input(f"input cannot be read as a question about a table: {exc}") from exc
        features = {name: np.asarray(array[0]).astype(np.int64) for name, array in made.items()}
        length = int(features["input_ids"].shape[0])
        # The tokenizer pads to its own limit; what is padding is left out.
        length = int(features["attention_mask"].sum()) or length
        features = {name: array[:length] for name, array in features.items()}
        note = {"frame": frame, "types": features["token_type_ids"], "threshold": number(options, "threshold", 0.5)}
        return [Piece(only(features, self.context.inputs), length, self.rule.group(length), note)]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Spans:
        np = require("numpy")
        row, note = rows[0], pieces[0].note
        types, frame = note["types"], note["frame"]
        shares = sigmoid(row["logits"][: len(types)])
        # Type ids of a token: segment, column, row (both from 1), then the rest.
        answers = []
        for line in range(frame.shape[0]):
            for column in range(frame.shape[1]):
                inside = (types[:, 0] == 1) & (types[:, 1] == column + 1) & (types[:, 2] == line + 1)
                share = float(shares[inside].mean()) if inside.any() else 0.0
                if share > note["threshold"]:
                    answers.append(Span(str(frame.iat[line, column]), share, line, column))
        answers.sort(key=lambda each: -each.score)
        operators = getattr(self.config, "aggregation_labels", None)
        if operators and "logits_aggregation" in row:
            chosen = int(np.argmax(row["logits_aggregation"]))
            name = {int(key): str(value) for key, value in operators.items()}.get(chosen, "NONE")
            if name != "NONE" and answers:
                cells = sorted(answers, key=lambda each: (each.start, each.end))
                said = f"{name} > {', '.join(each.text for each in cells)}"
                answers.insert(0, Span(said, min(each.score for each in answers), -1, -1))
        return Spans(answers)


def _read(given: Any) -> tuple[str, Any]:
    if not isinstance(given, Mapping) or not isinstance(query := given.get("query", given.get("question")), str):
        raise bad_input("input is {'query': ..., 'table': ...}")
    table = given.get("table")
    if isinstance(table, Mapping) and table and all(isinstance(cells, list | tuple) for cells in table.values()):
        if len({len(cells) for cells in table.values()}) == 1 and len(next(iter(table.values()))):
            return query, dict(table)
    elif isinstance(table, list | tuple) and table and all(isinstance(line, Mapping) for line in table):
        return query, list(table)
    raise bad_input("input has no 'table' of columns of equal length, or of rows that are mappings")
