"""Rows of the table of families, and their file of JSON lines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["FAILED", "OK", "SKIPPED", "UNTESTED", "Row", "one_line", "read_rows", "write_row"]

#: Outcomes of one check or of a whole row.
OK, FAILED, SKIPPED, UNTESTED = "ok", "failed", "skipped", "untested"


@dataclass(slots=True)
class Row:
    """What was found of one type on one runtime.

    Attributes:
        type: the model type.
        runtime: ``torch`` or ``openvino``.
        precision: of weights and arithmetic.
        outcome: ``ok``, ``failed``, ``skipped`` (with the reason) or ``untested``.
        auto: Auto class that was built.
        checks: by check, an outcome; in the order they were made.
        figures: measured numbers.
        reason: of what is not ok, in one line, beginning with the error's class.
        seconds: what it took.
    """

    type: str
    runtime: str = "torch"
    precision: str = "float32"
    outcome: str = UNTESTED
    auto: str = ""
    checks: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is the row of."""
        return self.type, self.runtime, self.precision


def read_rows(path: Path) -> dict[tuple[str, str, str], Row]:
    """Rows of a file of JSON lines, the last of each; none where there is no file."""
    rows: dict[tuple[str, str, str], Row] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError):
                continue  # cut off when it was interrupted
            rows[row.key] = row
    return rows


def one_line(exc: BaseException) -> str:
    """Class and message of an error, in one line of at most 240 characters."""
    message = " ".join(str(exc).split())
    line = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
    return line if len(line) <= 240 else line[:237] + "..."


def write_row(path: Path, row: Row) -> None:
    """Add a row to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), separators=(",", ":")) + "\n")
