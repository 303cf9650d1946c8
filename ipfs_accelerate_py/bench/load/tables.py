"""A load test's figures as rows, for a terminal, a page, or Markdown."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.measurement import Case, Measurement
from ipfs_accelerate_py.bench.pairing import compare
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["COLUMNS", "cases", "comparisons", "goodput", "level", "limits", "markdown", "rows", "seconds"]

COLUMNS = (
    "target", "load", "calls", "failed", "late", "answered/s", "tokens/s", "first p50", "first p95", "first p99",
    "latency p50", "latency p95", "latency p99", "between p50", "between p99", "in time",
)  # fmt: skip
#: Figures that two targets are compared by.
_COMPARED = (
    "answered", "output", "goodput", "first token", "first token p95", "first token p99", "latency", "latency p95",
    "latency p99", "between tokens", "between tokens p99",
)  # fmt: skip
_SEARCHED = ("highest in time", "lowest not in time")


def cases(session: Session) -> list[Case]:
    """Those that are steps of a load, in the order in which they were first made."""
    found: list[Case] = []
    for each in session.measurements:
        if each.case.kind == "load" and each.figure == "calls" and each.case not in found:
            found.append(each.case)
    return found


def level(case: Case) -> str:
    """``8/s``, ``16 callers``."""
    rate = case.parameters.get("rate")
    if rate is not None:
        return f"{rate:.4g}/s"
    return f"{case.batch} caller{'s' * (case.batch != 1)}"


def rows(session: Session) -> Iterator[tuple[str, ...]]:
    """A row of `COLUMNS` for each step: medians over the rounds. Empty: no such figure; ``few``: too few calls."""
    for case in cases(session):
        found = {each.figure: each for each in session.measurements if each.case == case}

        def number(figure: str, form: str = ".4g", found: dict[str, Measurement] = found) -> str:
            each = found.get(figure)
            return "" if each is None else format(each.median, form)

        def took(figure: str, percent: str, found: dict[str, Measurement] = found) -> str:
            each = found.get(figure if percent == "p50" else f"{figure} {percent}")
            if each is None:
                return "few" if figure in found else ""
            return seconds(each.median)

        def total(figure: str, found: dict[str, Measurement] = found) -> str:
            each = found.get(figure)
            return "" if each is None else f"{sum(each.values):.0f}"

        share = number("goodput share", ".1%")
        yield (
            case.runtime, level(case), total("calls"), total("failed"), total("late"), number("answered"),
            number("output"), took("first token", "p50"), took("first token", "p95"), took("first token", "p99"),
            took("latency", "p50"), took("latency", "p95"), took("latency", "p99"), took("between tokens", "p50"),
            took("between tokens", "p99"), share,
        )  # fmt: skip


def limits(session: Session) -> list[str]:
    """What was found of the highest level that keeps to the objective, a sentence for each target."""
    said = []
    searched = {
        (each.case.runtime, each.case.device): each.case
        for each in session.measurements
        if each.figure.startswith(_SEARCHED)
    }
    tried = {(case.runtime, case.device): case for case in cases(session) if "objective" in case.parameters}
    for key, case in (tried | searched).items():
        objective = case.parameters.get("objective", "")
        if key not in searched:
            said.append(f"{case.runtime}: no level kept to {objective}.")
            continue
        found = {
            each.figure.partition(" (")[0]: each
            for each in session.measurements
            if each.case == case and each.figure.startswith(_SEARCHED)
        }
        met, missed = found.get(_SEARCHED[0]), found.get(_SEARCHED[1])
        unit = next(iter(found.values())).unit
        share = next(iter(found.values())).figure.partition("(")[2].partition(" ")[0]
        if met is None and missed is not None:
            said.append(f"{case.runtime}: already {missed.median:.4g} {unit} miss {objective}.")
        elif met is not None:
            end = f", {missed.median:.4g} do not" if missed is not None else ", the highest that was tried"
            said.append(
                f"{case.runtime}: {met.median:.4g} {unit} keep to {objective} in {float(share):.4g} of calls{end}."
            )
    return said


def comparisons(session: Session) -> list[tuple[str, str, str]]:
    """Two targets that were asked in turns: the load, the figure, and how many times as good as the other one is."""
    found = []
    first = next((case.runtime for case in cases(session)), "")
    for one in session.measurements:
        if not one.turns or one.figure not in _COMPARED or one.case.runtime != first:
            continue
        for other in session.find(one.figure):
            if other.case.question != one.case.question or other.case.runtime == first:
                continue
            try:
                ratio = compare(one, other)
            except ConfigurationError:
                continue  # a round that one of them lacks, or nothing to divide by
            found.append((level(one.case), one.figure, f"{first}: {ratio.text()} {other.case.runtime}"))
    return found


def goodput(session: Session) -> float | None:
    """The share of calls that were to be in time; None where nobody said."""
    for each in session.measurements:
        if each.case.kind == "load" and each.figure.startswith(_SEARCHED):
            return float(each.figure.partition("(")[2].partition(" ")[0])
    return None


def markdown(session: Session) -> str:
    """The whole session as Markdown."""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(session.started))
    machine = session.machine
    lines = [
        "# Load",
        "",
        f"`{session.command}`",
        "",
        f"{when} UTC; the load came from {machine.get('processor', 'an unknown processor')}, "
        f"{machine.get('processors', '?')} of it; {_versions(session)}. {session.method}",
        "",
        f"Asked: {'; '.join(dict.fromkeys(case.length for case in cases(session)))}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows(session)]
    lines += ["", *(f"- {each}" for each in (*limits(session), *session.notes))]
    if pairs := comparisons(session):
        lines += ["", "| load | figure | how many times as good |", "|---|---|---|"]
        lines += ["| " + " | ".join(each) + " |" for each in pairs]
    return "\n".join(lines).rstrip() + "\n"


def seconds(value: float) -> str:
    """``1.23 s``, ``45.6 ms``, ``789 us``."""
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"


def _versions(session: Session) -> str:
    return ", ".join(f"{name} {version}" for name, version in session.versions.items())
