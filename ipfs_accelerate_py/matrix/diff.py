"""Two runs held against one another: what broke, healed, slowed; with bounds within which a difference is noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.matrix.recommend import cosine_words
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.matrix.summaries import Column, megabytes, milliseconds
from ipfs_accelerate_py.runtimes.probes.results import CHECKS, FAILED, OK, SKIPPED, UNTESTED, Cell, Result

__all__ = ["KINDS", "Bounds", "Change", "Diff", "compare", "diff"]

#: Kinds of changes, the worse first, and what each says.
KINDS = {
    "broke": "was ok, and fails now",
    "lost": "was ok, and is skipped now",
    "fails anew": "failed before, and now also a check that was ok; or was skipped, and fails",
    "slowed": "takes longer than noise explains",
    "more memory": "takes more memory",
    "agrees less": "its cosine with PyTorch in float32 fell",
    "untested": "was measured, is in the plan, and was not tried",
    "vanished": "was measured, and is not in the plan",
    "healed": "is ok now",
    "faster": "takes less time than noise explains",
    "less memory": "takes less memory",
    "agrees more": "its cosine with PyTorch in float32 rose",
    "fails otherwise": "fails as before, but its failure is of another class",
    "skipped": "failed before, and is skipped now",
    "appeared": "was not measured before",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What counts as a difference.

    Attributes:
        slower: the least ratio of two medians of time. Their quartiles must be apart as well.
        slower_ms: the least difference of the same, in milliseconds: the smallest models take microseconds.
        memory: the least ratio of two peaks of memory.
        memory_bytes: the least difference of the same.
        cosine: the least difference of two cosines.
        times: compare times and memory of different machines, or of runs that tried another number of cells at once.
    """

    slower: float = 1.5
    slower_ms: float = 0.2
    memory: float = 1.5
    memory_bytes: float = 4e6
    cosine: float = 0.005
    times: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One difference in one cell.

    Attributes:
        kind: of `KINDS`.
        cell: where.
        what: in words: the check and the reason, or both figures.
        check: of a failure, the first check that fails now and did not.
        ratio: of figures, after over before.
        model_type: of the cell's subject.
    """

    kind: str
    cell: Cell
    what: str
    check: str = ""
    ratio: float | None = None
    model_type: str = ""

    @property
    def line(self) -> str:
        """``slowed  bert, torch float32: 0.9 ms to 2.1 ms (x2.33)``."""
        return f"{self.kind}: {self.cell.subject}, {Column(*self.cell[1:]).title}{': ' * bool(self.what)}{self.what}"


@dataclass(frozen=True, slots=True)
class Diff:
    """What is different in ``after``.

    Attributes:
        before, after: the runs.
        changes: the worse kinds first, by cell.
        compared: cells that both measured.
        untimed: why times and memory were not compared; empty where they were.
        versions: of each library that changed, both versions, "" where it was not there.
    """

    before: Run
    after: Run
    changes: Sequence[Change]
    compared: int
    untimed: str = ""
    versions: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind there are, of those that there are."""
        found = Counter(change.kind for change in self.changes)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def plain(self) -> dict[str, Any]:
        """As JSON can say it."""
        return {
            "before": self.before.id,
            "after": self.after.id,
            "compared": self.compared,
            "untimed": self.untimed,
            "versions": {name: list(pair) for name, pair in self.versions.items()},
            "counts": self.counts,
            "changes": [
                {
                    **change.cell._asdict(),
                    "kind": change.kind,
                    "check": change.check,
                    "what": change.what,
                    "ratio": change.ratio,
                }
                for change in self.changes
            ],
        }


def diff(store: Store, before: Run, after: Run, bounds: Bounds | None = None, *, other: Store | None = None) -> Diff:
    """Compare two runs of a store, or ``before`` of ``other`` with ``after`` of the first."""
    bounds = bounds or Bounds()
    untimed = "" if bounds.times else _apart(before, after)
    old = {each.cell: each for each in (other or store).results(before.id, untested=False)}
    new = {each.cell: each for each in store.results(after.id)}
    changes = [
        change for cell in {**old, **new} for change in compare(old.get(cell), new.get(cell), bounds, not untimed)
    ]
    order = list(KINDS)
    changes.sort(key=lambda change: (order.index(change.kind), change.cell))
    names = sorted({*before.versions, *after.versions})
    pairs = {name: (before.versions.get(name, ""), after.versions.get(name, "")) for name in names}
    return Diff(
        before,
        after,
        changes,
        sum(cell in new and new[cell].outcome != UNTESTED for cell in old),
        untimed,
        {name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
    )


def _apart(before: Run, after: Run) -> str:
    """Why times of two runs cannot be compared; empty where they can."""
    if before.machine == after.machine and "of" not in after.machine:
        return ""
    names = sorted(
        name for name in {*before.machine, *after.machine} if before.machine.get(name) != after.machine.get(name)
    )
    said = ", ".join(f"{name} {before.machine.get(name)!r} and {after.machine.get(name)!r}" for name in names)
    return f"they were measured on different machines ({said or 'each on several'})"


def compare(before: Result | None, after: Result | None, bounds: Bounds, times: bool = True) -> Iterator[Change]:
    """What changed in one cell; ``times`` says whether times and memory may be compared."""
    if before is None or before.outcome == UNTESTED:
        if after is not None and after.outcome != UNTESTED:
            yield _change("appeared", after, after.outcome)
        return
    if after is None:
        yield _change("vanished", before, f"was {before.outcome}")
    elif after.outcome == UNTESTED:
        yield _change("untested", before, f"was {before.outcome}")
    elif after.outcome == OK:
        if before.outcome != OK:
            yield _change("healed", after, f"was {_why(before)}")
    elif after.outcome == SKIPPED:
        if before.outcome != SKIPPED:
            yield _change("lost" if before.outcome == OK else "skipped", after, after.reason)
    elif before.outcome == OK:
        yield _change("broke", after, _why(after), check=_first_failed(after))
    else:
        fallen = [name for name in CHECKS if after.checks.get(name) == FAILED and before.checks.get(name) == OK]
        if fallen or before.outcome == SKIPPED:
            yield _change("fails anew", after, _why(after), check=fallen[0] if fallen else _first_failed(after))
        elif after.failure != before.failure:
            yield _change("fails otherwise", after, f"was {before.failure or 'without a class'}; {_why(after)}")
    if after is not None and before.outcome == after.outcome == OK:
        yield from _figures(before, after, bounds, times)


def _figures(before: Result, after: Result, bounds: Bounds, times: bool) -> Iterator[Change]:
    old, new = before.figures, after.figures
    if times:
        yield from _time(before, after, bounds)
        if "peak_bytes" in old and "peak_bytes" in new:
            was, now = old["peak_bytes"], new["peak_bytes"]
            ratio = now / was if was > 0 else float("inf") if now > 0 else 1.0
            if abs(now - was) >= bounds.memory_bytes and not 1 / bounds.memory < ratio < bounds.memory:
                kind = "more memory" if now > was else "less memory"
                yield _change(kind, after, f"{megabytes(was)} to {megabytes(now)} (x{ratio:.2f})", ratio=ratio)
    if "cosine" in old and "cosine" in new and abs(new["cosine"] - old["cosine"]) >= bounds.cosine:
        kind = "agrees less" if new["cosine"] < old["cosine"] else "agrees more"
        yield _change(kind, after, f"cosine {cosine_words(old['cosine'])} to {cosine_words(new['cosine'])}")


@dataclass(frozen=True, slots=True)
class _Span:
    """A time with its quartiles, in milliseconds, or in those of the machine as it was before."""

    low: float
    median: float
    high: float


def _time(before: Result, after: Result, bounds: Bounds) -> Iterator[Change]:
    spans = _spans(before, after)
    if spans is None:
        return
    was, now, note = spans
    ratio = now.median / was.median
    if abs(now.median - was.median) < bounds.slower_ms or 1 / bounds.slower < ratio < bounds.slower:
        return
    if now.low > was.high or now.high < was.low:
        kind = "slowed" if ratio > 1 else "faster"
        said = f"{milliseconds(was.median)} to {milliseconds(now.median)}{note} (x{ratio:.2f})"
        yield _change(kind, after, said, ratio=ratio)


def _spans(before: Result, after: Result) -> tuple[_Span, _Span, str] | None:
    """Both times on one scale; None where one was not taken.

    On the processor that is processor time, in units of a piece of arithmetic that was timed in turns with the passes:
    other work on the machine, and how fast its clock ran, are in both and cancel. How far the passes spread is told by
    the quartiles of their latency.
    """
    old, new = before.figures, after.figures
    named = ("cpu_ms", "gauge_ms")
    on_processor = before.cell.device.lower() == "cpu"
    if on_processor and all(each.get(name, 0) > 0 for each in (old, new) for name in named):
        scale = old["gauge_ms"] / new["gauge_ms"]
        return _span(old, old["cpu_ms"]), _span(new, new["cpu_ms"] * scale), " of processor time, by the gauge"
    if all(each.get("latency_ms", 0) > 0 for each in (old, new)):
        return _span(old, old["latency_ms"]), _span(new, new["latency_ms"]), ""
    return None


def _span(figures: Mapping[str, float], median: float) -> _Span:
    latency = figures.get("latency_ms", 0.0)
    low, high = figures.get("latency_low_ms", latency), figures.get("latency_high_ms", latency)
    if latency <= 0:
        return _Span(median, median, median)
    return _Span(median * low / latency, median, median * high / latency)


def _first_failed(result: Result) -> str:
    return next((name for name in CHECKS if result.checks.get(name) == FAILED), "")


def _why(result: Result) -> str:
    check = _first_failed(result)
    said = ": ".join(filter(None, (result.failure, result.reason)))
    return ", ".join(filter(None, (result.outcome, f"not {check}" if check else "", said)))


def _change(kind: str, result: Result, what: str, *, check: str = "", ratio: float | None = None) -> Change:
    return Change(kind, result.cell, what, check, ratio, result.model_type)
