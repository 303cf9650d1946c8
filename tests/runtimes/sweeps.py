"""What the sweeps over all types share: rows in a file, a process for each type, and the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ipfs_accelerate_py.runtimes.probes.causes import one_line
from ipfs_accelerate_py.runtimes.probes.isolation import Limits, Lost, isolated
from ipfs_accelerate_py.runtimes.probes.results import FAILED, OK, UNTESTED

__all__ = ["FAILED", "OK", "Row", "Sweep", "one_line", "read_rows", "write_row"]

Key = tuple[str, str, str]


@dataclass(slots=True)
class Row:
    """What was found of one type; ``runtime`` has what the sweep is over: a task, or a kind of writing."""

    type: str
    runtime: str
    precision: str = "float32"
    outcome: str = UNTESTED
    auto: str = ""
    checks: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What it is the row of."""
        return self.type, self.runtime, self.precision


def read_rows(path: Path) -> dict[Key, Row]:
    """Rows of a file of JSON lines, the last of each; none where there is no file."""
    rows: dict[Key, Row] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError):
                continue  # cut off when it was interrupted
            rows[row.key] = row
    return rows


def write_row(path: Path, row: Row) -> None:
    """Add a row to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), separators=(",", ":")) + "\n")


@dataclass(slots=True)
class Sweep:
    """A sweep over types, by kinds.

    Attributes:
        kinds: all there are.
        types_of: types of a kind.
        check: makes a row of a type and a kind.
        page: the table of all rows.
        notable: whether a row that is ok is printed.
        warm: imports what every process needs.
    """

    kinds: Sequence[str]
    types_of: Callable[[str], list[str]]
    check: Callable[[str, str], Row]
    page: Callable[[Iterable[Row]], str]
    notable: Callable[[Row], bool]
    warm: Callable[[], None]

    def main(self, text: str | None, argv: list[str] | None, show: list[bool]) -> int:
        """Run it; 1 where a row is not ok."""
        parser = argparse.ArgumentParser(description=text)
        parser.add_argument("kinds", nargs="*", help="names, or 'all'")
        parser.add_argument("--out", type=Path, default=None)
        parser.add_argument("--types", default="")
        parser.add_argument("--jobs", type=int, default=1)
        parser.add_argument("--show", action="store_true", help="print where errors come from")
        parser.add_argument("--again", action="store_true", help="make rows again that are not ok")
        parser.add_argument("--page", type=Path, default=None)
        given = parser.parse_args(argv)
        show.extend([True] * given.show)
        self.warm()
        rows = read_rows(given.out) if given.out else {}
        if given.again:
            rows = {key: row for key, row in rows.items() if row.outcome == OK and not self.notable(row)}
        failed = 0
        for kind in self.kinds if given.kinds == ["all"] else given.kinds:
            types = given.types.split(",") if given.types else self.types_of(kind)
            for row in self.rows(types, kind, given.jobs, rows):
                rows[row.key] = row
                failed += row.outcome != OK
                if given.out:
                    write_row(given.out, row)
                if row.outcome != OK or self.notable(row) or given.types:
                    print(kind, row.type, row.outcome, row.reason, row.checks, f"{row.seconds:.1f} s", flush=True)
            known = [row for row in rows.values() if row.runtime == kind]
            print("==", kind, sum(each.outcome == OK for each in known), "of", len(known), flush=True)
        if given.page:
            given.page.write_text(self.page(rows.values()), "utf-8")
        return int(failed > 0)

    def rows(self, types: Sequence[str], kind: str, jobs: int, done: Mapping[Key, Row]) -> Iterator[Row]:
        """Rows that are not done, as they come."""
        wanted = [[(each, kind)] for each in types if Row(each, kind).key not in done]
        for answer in isolated(wanted, lambda: lambda piece: self.check(*piece), Limits(jobs=jobs)):
            row = answer.answer
            if isinstance(row, Lost):
                row = Row(*answer.piece, outcome=FAILED, reason=row.reason)
            row.seconds = round(answer.seconds, 2)
            yield row
