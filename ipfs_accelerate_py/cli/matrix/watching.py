"""What is seen of a run while it goes: a bar with an estimate on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.runtimes.probes.results import OUTCOMES, Cell, Result

__all__ = ["Estimate", "watching"]

#: Seconds between two lines where there is no terminal.
_PAUSE = 30.0


class Estimate:
    """How long the rest will take: each runtime's mean so far, for the cells of it that are left, at today's pace.

    Args:
        cells: all that are to be tried.
        clock: seconds.
    """

    def __init__(self, cells: Sequence[Cell], clock: Callable[[], float] = time.monotonic) -> None:
        self._left = Counter(cell.runtime for cell in cells)
        self._done: Counter[str] = Counter()
        self._took: dict[str, float] = {}
        self._clock, self._begun = clock, clock()

    def add(self, result: Result) -> None:
        """Count a result."""
        runtime = result.cell.runtime
        self._left[runtime] -= 1
        self._done[runtime] += 1
        self._took[runtime] = self._took.get(runtime, 0.0) + result.seconds

    def seconds(self) -> float | None:
        """Seconds to the end; None while nothing is known of a runtime that is left."""
        means = {name: self._took[name] / count for name, count in self._done.items()}
        worked = sum(self._took.values())
        if not worked or any(count and name not in means for name, count in self._left.items()):
            return None
        pace = (self._clock() - self._begun) / worked  # of several at a time, and of what is between them
        return pace * sum(count * means[name] for name, count in self._left.items() if count)


@contextmanager
def watching(terminal: Terminal, cells: Sequence[Cell]) -> Iterator[Callable[[Result], None]]:
    """Gives what is to be told of each result."""
    estimate = Estimate(cells)
    counts: Counter[str] = Counter()
    if terminal.quiet or terminal.json or not terminal.colourful(sys.stderr):
        last = time.monotonic()

        def line(result: Result) -> None:
            nonlocal last
            estimate.add(result)
            counts[result.outcome] += 1
            terminal.detail(_words(result))
            if time.monotonic() - last >= _PAUSE and not terminal.json:
                last = time.monotonic()
                terminal.note(f"{counts.total()} of {len(cells)}, {_outcomes(counts)}; {_rest(estimate)}")

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    # Without a thread that repaints: workers are forked from this process.
    with Progress(*columns, console=terminal.console(), transient=True, auto_refresh=False) as bars:
        task = bars.add_task("", total=len(cells))

        def bar(result: Result) -> None:
            estimate.add(result)
            counts[result.outcome] += 1
            if terminal.verbosity > 0:
                bars.console.print(_words(result), markup=False)
            bars.update(task, advance=1, description=f"{_outcomes(counts)}; {_rest(estimate)}; {result.cell.subject}")
            bars.refresh()

        yield bar


def _words(result: Result) -> str:
    return "\t".join((*result.cell, result.outcome, result.reason))


def _outcomes(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])


def _rest(estimate: Estimate) -> str:
    seconds = estimate.seconds()
    return "no estimate yet" if seconds is None else f"about {max(1, round(seconds / 60))} min to go"
