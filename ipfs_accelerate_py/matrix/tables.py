"""A run as a page of documentation, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from ipfs_accelerate_py.matrix.recommend import choose
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.matrix.summaries import (
    Column,
    alive,
    columns,
    counts,
    describe,
    failures,
    is_tiny,
    origin,
    reference,
    speedup,
)
from ipfs_accelerate_py.runtimes.families.catalog import listed_types
from ipfs_accelerate_py.runtimes.families.gone import GONE
from ipfs_accelerate_py.runtimes.probes.causes import FAILURES
from ipfs_accelerate_py.runtimes.probes.results import CHECKS, FAILED, OK, OUTCOMES, UNTESTED, Result

__all__ = ["markdown"]

#: What the reason of a failure may take of a line.
_LONGEST = 240


def markdown(store: Store, run: Run, *, gone: Mapping[str, str] = GONE) -> str:
    """The page of one run.

    Args:
        store: has it.
        run: whose.
        gone: types that Transformers no longer has, and what became of each.
    """
    results = store.results(run.id)
    subjects: dict[str, dict[Column, Result]] = {}
    for each in results:
        subjects.setdefault(each.cell.subject, {})[Column(*each.cell[1:])] = each
    shown = columns(results)
    lines = [
        *_head(run, subjects),
        *_counts(results, shown, run.plan.get("absent") or {}, len(subjects)),
        *_speed(subjects, shown),
        *_classes(results, shown),
        *_table(subjects, shown, set(listed_types())),
        *_reasons(subjects, shown),
    ]
    if gone:
        lines += ["", "## Types that are gone", "", *(f"- `{name}`: {what}." for name, what in sorted(gone.items()))]
    return "\n".join(lines) + "\n"


def _head(run: Run, subjects: Mapping[str, Mapping[Column, Result]]) -> Iterator[str]:
    tiny = all(is_tiny(each) for cells in subjects.values() for each in cells.values())
    day = datetime.fromtimestamp(run.started, UTC).strftime("%d %B %Y").lstrip("0")
    what = f"{len(subjects)} model types" if tiny else f"{len(subjects)} model types and checkpoints"
    yield from ("# What runs where", "")
    yield f"{what}, measured on {day}{'' if run.ended is not None else '; the run is not finished'}."
    if run.command:
        yield from ("", "```console", f"$ {run.command}", "```")
    yield from ("", f"Machine: {describe(run.machine)}.")
    if run.versions:
        yield f"Versions: {', '.join(f'{name} {version}' for name, version in sorted(run.versions.items()))}."
    yield ""
    if tiny:
        yield from (
            "Each model is a small random one, made of its type's own configuration class: the page shows what runs",
            "and agrees. How fast a checkpoint of full size is has to be measured with it.",
        )
    yield "A cell is *ok* when all its checks passed:"
    yield ""
    yield from (f"- *{name}*: {what}." for name, what in CHECKS.items())
    yield ""
    yield "*failed* was tried; *skipped* cannot be here, and the reason says why; *untested* was not tried."


def _counts(
    results: Sequence[Result], shown: Sequence[Column], absent: Mapping[str, str], subjects: int
) -> Iterator[str]:
    counted = counts(results)
    living = Counter(Column(*each.cell[1:]) for each in results if alive(each))
    yield from ("", "## In all", "")
    yield f"| | {' | '.join(OUTCOMES)} | ran, finite and reacting, of those tried |"
    yield "| --- " * (len(OUTCOMES) + 2) + "|"
    for column in shown:
        found = counted[column]
        numbers = " | ".join(str(found[name]) for name in OUTCOMES)
        tried = found[OK] + found[FAILED]
        share = f"{living[column]} ({100 * living[column] / tried:.1f} %)" if tried else ""
        yield f"| {column.title} | {numbers} | {share} |"
    for name, why in absent.items():
        yield f"| {name} | | | | {subjects} | untested: {why} |"


def _speed(subjects: Mapping[str, Mapping[Column, Result]], shown: Sequence[Column]) -> Iterator[str]:
    """By column, how many times faster than PyTorch in float32 the middle one is, and how often it is the fastest."""
    times: dict[Column, list[float]] = {}
    wins: Counter[Column] = Counter()
    for name, cells in subjects.items():
        against = next((each for each in cells.values() if each.cell == reference(name)), None)
        for column, each in cells.items():
            if each is not against and (found := speedup(each, against)) is not None:
                times.setdefault(column, []).append(found)
        best, _ = choose(cells.values())
        if best:
            wins[Column(*best[0].result.cell[1:])] += 1
    if not times:
        return
    yield from ("", "## Beside PyTorch in float32", "")
    yield from (
        "How many times faster a pass of one input is than torch float32's in the same run (on the processor: by",
        "processor time on one thread, in units of the gauge); and for how many subjects it is the fastest of those",
        "whose outputs agree (cosine 0.99 or more).",
        "",
        "| | measured | first quartile | median | third quartile | fastest |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for column in shown:
        found_ = sorted(times.get(column, ()))
        if found_:
            quartiles = (f"{found_[len(found_) * part // 4]:.2f}x" for part in (1, 2, 3))
            yield f"| {column.title} | {len(found_)} | {' | '.join(quartiles)} | {wins[column]} |"
        elif wins[column]:
            yield f"| {column.title} | | | | | {wins[column]} |"


def _classes(results: Sequence[Result], shown: Sequence[Column]) -> Iterator[str]:
    by_column = {column: failures(each for each in results if each.cell[1:] == column) for column in shown}
    total: Counter[str] = sum(by_column.values(), Counter())
    if not total:
        return
    there = [column for column in shown if by_column[column]]
    yield from ("", "## Why cells failed", "")
    yield f"| Class | {' | '.join(column.title for column in there)} | |"
    yield "| --- " * (len(there) + 2) + "|"
    for name, _ in total.most_common():
        numbers = " | ".join(str(by_column[column][name] or "") for column in there)
        yield f"| {name} | {numbers} | {FAILURES.get(name, '')} |"


def _table(
    subjects: Mapping[str, Mapping[Column, Result]], shown: Sequence[Column], listed: Collection[str]
) -> Iterator[str]:
    yield from ("", "## Each type", "")
    yield from (
        "Milliseconds of a forward pass of one input, where a cell is ok. A star marks the types of the list of 300",
        "that the older releases had. Reasons of what is not ok stand below.",
        "",
    )
    yield f"| Type | Class | {' | '.join(column.title for column in shown)} |"
    yield "| --- " * (len(shown) + 2) + "|"
    for name, cells in sorted(subjects.items()):
        auto = next((each.auto for each in cells.values() if each.auto), "")
        auto = auto.replace("AutoModelFor", "").replace("AutoModel", "Model")
        star = "\\*" if name in listed else ""
        marks = " | ".join(_mark(cells.get(column)) for column in shown)
        yield f"| {_plain(name)}{star} | {auto} | {marks} |"


def _mark(result: Result | None) -> str:
    if result is None or result.outcome == UNTESTED:
        return "untested"
    if result.outcome != OK:
        return f"**{result.outcome}**" if result.outcome == "failed" else result.outcome
    latency = result.figures.get("latency_ms")
    return "ok" if latency is None else f"ok {latency:.3g}" if latency < 1000 else f"ok {latency:.0f}"


def _reasons(subjects: Mapping[str, Mapping[Column, Result]], shown: Sequence[Column]) -> Iterator[str]:
    """What is not ok, and why: a line for each reason, so that what fails everywhere alike is told once."""
    found: list[str] = []
    for name, cells in sorted(subjects.items()):
        told: dict[tuple[str, str, str, str], list[str]] = {}
        for column in shown:
            each = cells.get(column)
            if each is not None and each.outcome not in (OK, UNTESTED):
                key = (each.outcome, each.failure, each.reason, each.cause)
                told.setdefault(key, []).append(column.title)
        for (outcome, failure, reason, cause), where in told.items():
            said = ": ".join(filter(None, (failure, _cut(reason))))
            source = _cut(origin(reason, cause))
            said += f" ({source})" if source else ""
            found.append(f"| {_plain(name)} | {', '.join(where)} | {outcome} | {_plain(said)} |")
    if found:
        yield from ("", "## What is not ok", "", "| Type | Where | | Reason |", "| --- | --- | --- | --- |", *found)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    for mark, instead in (
        ("\\", "\\\\"),
        ("|", "\\|"),
        ("<", "&lt;"),
        ("`", "'"),
        ("*", "\\*"),
        ("[", "\\["),
        ("__", "\\_\\_"),
    ):
        text = text.replace(mark, instead)
    return text
