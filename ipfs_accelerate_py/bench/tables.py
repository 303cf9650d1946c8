"""A session as text: a table for each kind, in Markdown or as rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ipfs_accelerate_py.errors import ConfigurationError

from .figures import Session
from .measurement import Case, Measurement
from .pairing import compare

__all__ = ["Table", "amount", "described", "lines", "markdown", "tables"]

#: Units whose values are shown otherwise than as they are: factor and unit.
_SCALED = {"bytes": (1e-6, "MB"), "bytes/s": (1e-9, "GB/s"), "share": (100.0, "%")}


@dataclass(frozen=True, slots=True)
class Table:
    """One kind's figures: a row for each contestant of each question."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(session: Session) -> list[Table]:
    """In the order of measuring. The column ``beside`` sets the first figure beside that of the first contestant of the
    same question, where both were measured in turns."""
    return [_table(session, kind) for kind in dict.fromkeys(each.case.kind for each in session.measurements)]


def _table(session: Session, kind: str) -> Table:
    own = [each for each in session.measurements if each.case.kind == kind]
    figures = list(dict.fromkeys(each.figure for each in own))
    units = {each.figure: each.unit for each in own}
    groups: dict[tuple[str, str], tuple[Case, dict[str, Measurement]]] = {}
    for each in own:
        at = (each.turns, repr(each.case))
        groups.setdefault(at, (each.case, {}))[1][each.figure] = each
    first: dict[str, Measurement] = {}
    rows = []
    for (turns, _), (case, found) in groups.items():
        main = found.get(figures[0])
        beside = ""
        if main is not None and main.better:
            beside = _beside(main, first.setdefault(turns, main))
        rows.append(
            (
                case.model, case.contestant, str(case.batch or ""), case.length,
                *(amount(found[figure]) if figure in found else "" for figure in figures), beside,
            )
        )  # fmt: skip
    named = tuple(f"{figure} [{_unit(units[figure])}]" for figure in figures)
    return _dense(Table(kind, ("model", "by", "batch", "length", *named, "beside"), tuple(rows)))


def _dense(table: Table) -> Table:
    """Without the columns that are empty in every row."""
    kept = [at for at in range(len(table.columns)) if any(row[at] for row in table.rows)]
    rows = tuple(tuple(row[at] for at in kept) for row in table.rows)
    return Table(table.title, tuple(table.columns[at] for at in kept), rows)


def _beside(one: Measurement, first: Measurement) -> str:
    if one is first:
        return "1"
    try:
        return compare(one, first).text()
    except ConfigurationError:
        return ""


def _unit(unit: str) -> str:
    return _SCALED[unit][1] if unit in _SCALED else unit


def amount(measurement: Measurement) -> str:
    """Median, and in parentheses least and most where they differ from it: ``12.3 (12.1 to 12.9)``."""
    factor, _ = _SCALED.get(measurement.unit, (1.0, ""))
    middle, least, most = (f"{factor * value:.3g}" if abs(factor * value) < 1000 else f"{factor * value:.0f}"
                           for value in (measurement.median, measurement.least, measurement.most))  # fmt: skip
    return middle if least == middle == most else f"{middle} ({least} to {most})"


def described(session: Session) -> list[str]:
    """Where, when and how it was measured: a sentence each."""
    machine = session.machine
    versions = {**machine.get("versions", {}), **session.versions}
    found = [
        f"{machine.get('processor', 'unknown processor')}, {machine.get('processors', '?')} processors"
        + (f", {session.threads} threads for each contestant" if session.threads else ""),
        "begun " + time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(session.started))
        + (f", load {' to '.join(f'{each:.2f}' for each in session.load)}" if session.load else ""),
        ", ".join(f"{name} {number}" for name, number in versions.items()),
        f"command: {session.command}",
    ]  # fmt: skip
    return [each for each in [*found, session.method] if each]


def lines(session: Session) -> Iterable[tuple[str, ...]]:
    """A row for each figure: kind, model, runtime, precision, device, batch, length, figure, median, unit, least, most;
    then one for each case without figures: the same until length, its outcome and the reason."""
    for each in session.measurements:
        yield (
            *_fields(each.case), each.figure, f"{each.median:.6g}", each.unit, f"{each.least:.6g}", f"{each.most:.6g}",
        )  # fmt: skip
    for left in session.left:
        yield (*_fields(left.case), left.outcome, left.reason)


def _fields(case: Case) -> tuple[str, ...]:
    return (case.kind, case.model, case.runtime, case.precision, case.device, str(case.batch), case.length)


def markdown(session: Session) -> str:
    """The whole session as a page."""
    made = ["# Benchmark", "", *(f"- {_cell(each)}" for each in described(session)), ""]
    for table in tables(session):
        made += [f"## {table.title}", "", *_markdown(table.columns, table.rows), ""]
    if session.left:
        rows = list(dict.fromkeys((each.case.model, each.case.contestant, each.outcome, each.reason)
                                  for each in session.left))  # fmt: skip
        made += ["## Without figures", "", *_markdown(("model", "by", "outcome", "reason"), rows), ""]
    return "\n".join(made)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    found = [f"| {' | '.join(map(_cell, columns))} |", f"|{'---|' * len(columns)}"]
    return [*found, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
