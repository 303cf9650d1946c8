"""What of a session is worth a plot: the numbers of each, without drawing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load.tables import cases, goodput
from ipfs_accelerate_py.bench.measurement import Case, Measurement, quantile

__all__ = ["Panel", "Series", "panels"]

#: Bars beside one another in a panel; of more, the first.
MOST_BARS = 16
#: Loads whose distributions of latency are drawn.
MOST_CURVES = 4


@dataclass(slots=True)
class Series:
    """One line, or the bars of one colour. ``low`` and ``high`` are the spread over the rounds.

    ``group`` decides the colour of a line, ``rank`` (0: solid) how it is drawn.
    """

    label: str
    x: list[float]
    y: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    group: str = ""
    rank: int = 0

    def __post_init__(self) -> None:
        self.low = self.low or list(self.y)
        self.high = self.high or list(self.y)
        self.group = self.group or self.label


@dataclass(slots=True)
class Panel:
    """One plot. ``ticks`` are the names under groups of ``bars``; ``line`` is a level to be marked."""

    title: str
    x: str
    y: str
    series: list[Series]
    bars: bool = False
    smooth: bool = False
    log_x: bool = False
    ticks: list[str] = field(default_factory=list)
    line: float | None = None
    floor: float | None = None
    ceiling: float | None = None


def panels(session: Session) -> list[Panel]:
    """Curves over the load for load tests, bars with their spread for everything else; in a sensible order."""
    loads = cases(session)
    made = _loads(session, loads) if loads else []
    return [*made, *_bars(each for each in session.measurements if each.case.kind != "load")]


# --- loads -------------------------------------------------------------------------------------------------------


def _loads(session: Session, loads: Sequence[Case]) -> list[Panel]:
    found: dict[tuple[str, str], list[tuple[float, Measurement]]] = {}
    for each in session.measurements:
        if each.case in loads:
            found.setdefault((each.case.runtime, each.figure), []).append((_level(each.case), each))
    for points in found.values():
        points.sort(key=lambda point: point[0])
    targets = list(dict.fromkeys(case.runtime for case in loads))
    x = "callers" if loads[0].batch else "arrivals (requests/s)"
    wide = len({_level(case) for case in loads}) > 2

    def curves(figures: Sequence[tuple[str, str]], scale: float = 1.0) -> list[Series]:
        made = []
        for target in targets:
            for rank, (figure, label) in enumerate(figures):
                if points := found.get((target, figure)):
                    name = " ".join(filter(None, (target if len(targets) > 1 else "", label))) or target
                    made.append(_series(name, target if len(targets) > 1 else label, points, scale, rank))
        return made

    made = []

    def add(title: str, y: str, series: list[Series], **how: float | None) -> None:
        if series:
            made.append(Panel(title, x, y, series, log_x=wide, floor=how.get("floor", 0.0), ceiling=how.get("ceiling")))

    for name, title in (
        ("first token", "Time to first token"),
        ("latency", "Latency"),
        ("between tokens", "Between tokens"),
    ):
        series = curves([(name, "p50"), (f"{name} p95", "p95"), (f"{name} p99", "p99")], 1e3)
        add(title, "ms", series)
    add("Answered", "requests/s", curves([("answered", "answered"), ("goodput", "in time")]))
    add("Output", "tokens/s", curves([("output", "")]))
    shares = curves([("goodput share", "")], 100)
    add("Goodput: calls in time", "% of calls", shares, floor=0.0, ceiling=102.0)
    if shares and (wanted := goodput(session)) is not None:
        made[-1].line = 100 * wanted
    if curve := _distribution(session, loads):
        made.append(curve)
    return made


def _series(label: str, group: str, points: Sequence[tuple[float, Measurement]], scale: float, rank: int) -> Series:
    return Series(
        label,
        [level for level, _ in points],
        [each.median * scale for _, each in points],
        [each.least * scale for _, each in points],
        [each.most * scale for _, each in points],
        group,
        rank,
    )


def _distribution(session: Session, loads: Sequence[Case]) -> Panel | None:
    """The share of answers that came within a time, for the lowest, the highest and some loads between."""
    levels = sorted({_level(case) for case in loads})
    chosen = levels
    if len(levels) > MOST_CURVES:
        chosen = [levels[round(place * (len(levels) - 1) / (MOST_CURVES - 1))] for place in range(MOST_CURVES)]
    unit = "callers" if loads[0].batch else "/s"
    several = len({case.runtime for case in loads}) > 1
    series = []
    for each in session.find("latency", kind="load"):
        level = _level(each.case)
        values = [value * 1e3 for samples in each.raw for value in samples]
        if level not in chosen or len(values) < 2:
            continue
        share = [place / 200 for place in range(201)]
        label = f"{level:.4g}{' ' if unit == 'callers' else ''}{unit}"
        name = f"{each.case.runtime} {label}" if several else label
        y = [100 * place for place in share]
        rank = list(dict.fromkeys(case.runtime for case in loads)).index(each.case.runtime)
        series.append(Series(name, [quantile(values, place) for place in share], y, group=label, rank=rank))
    if not series:
        return None
    return Panel("Distribution of the latency", "ms", "% of answers", series, smooth=True, log_x=True, floor=0.0)


def _level(case: Case) -> float:
    return float(case.parameters.get("rate", 0) or case.batch)


# --- everything else ---------------------------------------------------------------------------------------------


def _bars(measurements: Iterable[Measurement]) -> list[Panel]:
    """One panel for each kind and figure that has a better: grouped by what was asked; a colour a contestant."""
    found: dict[tuple[str, str, str], list[Measurement]] = {}
    for each in measurements:
        if each.better and each.values:
            found.setdefault((each.case.kind, each.figure, each.unit), []).append(each)
    return [
        _bar_panel(kind, figure, unit, chosen)
        for (kind, figure, unit), all_of in found.items()
        for chosen in _pieces(all_of, lambda each: _group(each.case))
    ]


def _bar_panel(kind: str, figure: str, unit: str, measurements: Sequence[Measurement]) -> Panel:
    groups = list(dict.fromkeys(_group(each.case) for each in measurements))
    by_contestant: dict[str, list[Measurement]] = {}
    for each in measurements:
        by_contestant.setdefault(each.case.contestant, []).append(each)
    series = [
        Series(
            name or kind,
            [float(groups.index(_group(each.case))) for each in values],
            [each.median for each in values],
            [each.low for each in values],
            [each.high for each in values],
        )
        for name, values in by_contestant.items()
    ]
    return Panel(f"{kind}: {figure}", "", unit, series, bars=True, ticks=groups, floor=0.0)


def _pieces(measurements: Sequence[Measurement], group: Callable[[Measurement], str]) -> list[list[Measurement]]:
    """Split so that no panel has too many groups to be read."""
    groups = list(dict.fromkeys(group(each) for each in measurements))
    return [
        [each for each in measurements if group(each) in groups[at : at + MOST_BARS]]
        for at in range(0, len(groups), MOST_BARS)
    ]


def _group(case: Case) -> str:
    said = [case.model]
    if case.batch != 1:
        said.append(f"x{case.batch}")
    if case.length:
        said.append(case.length)
    return " ".join(said)
