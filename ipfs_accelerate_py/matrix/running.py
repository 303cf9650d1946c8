"""A run of the matrix: its cells tried in processes of their own, each result kept as soon as it is there."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.runtimes.engines.machine import describe_machine
from ipfs_accelerate_py.runtimes.probes.isolation import Limits, Lost, isolated
from ipfs_accelerate_py.runtimes.probes.results import FAILED, Cell, Result

from .plan import Plan, devices_here, runtimes_here
from .store import Run, Store

__all__ = ["begin", "describe", "found_as", "run_cells", "to_try"]

_PACKAGES = ("torch", "transformers", "openvino", "nncf", "iree-base-compiler", "iree-base-runtime", "numpy")
_CACHE = "IPFS_ACCELERATE_CACHE"


def describe() -> tuple[dict[str, Any], dict[str, str]]:
    """This machine, and versions of what computes on it."""
    machine = describe_machine()
    machine.pop("versions", None)
    versions = {"ipfs_accelerate_py": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return machine, versions


def begin(store: Store, plan: Plan, *, label: str = "", command: str = "", new: bool = False) -> tuple[Run, bool]:
    """The run for a plan, and whether it goes on with one that was interrupted.

    The newest run is gone on with when it has not ended, was asked for the same and with the same label, on this
    machine and with these versions; ``new`` makes another in any case.
    """
    machine, versions = describe()
    runs = store.runs()
    if runs and not new:
        last = runs[-1]
        same = (last.machine, last.versions, last.plan) == (machine, versions, plan.said)
        if last.ended is None and same and last.label == label:
            return last, True
    made = store.begin(plan.cells, machine=machine, versions=versions, plan=plan.said, label=label, command=command)
    return made, False


def run_cells(
    store: Store,
    run: Run,
    limits: Limits,
    *,
    seconds: float = 0.3,
    again: Collection[Cell] = (),
    work: Callable[[], Callable[[Cell], Result]] | None = None,
    warming: Callable[[Sequence[str]], None] | None = None,
) -> Iterator[Result]:
    """Try the cells of a run that have no result yet; each result is in the store before it is given.

    What a cell exports or compiles goes into a cache of this run, which is removed at its end: an export is timed, not
    found. When the iterator is closed, what is under way is ended and stays untried.

    Args:
        seconds: for the timing of a batch size.
        again: cells of the run that are tried once more; what was found of one stays until there is another.
        work, warming: in place of the real probes and of importing what they need.
    """
    from ipfs_accelerate_py.runtimes.probes.probe import Probe, warm

    left = _possible(to_try(store, run, again))
    if left:
        (warming or warm)(sorted({cell.runtime for cell in left}))
        groups = [
            list(group)
            for _, group in itertools.groupby(left, key=lambda cell: (cell.subject, cell.runtime, cell.device))
        ]
        with tempfile.TemporaryDirectory(prefix="matrix-") as cache, _environment(_CACHE, cache):
            for done in isolated(groups, work or partial(Probe, seconds=seconds), limits):
                result = done.answer
                if isinstance(result, Lost):
                    result = _lost(done.piece, result, done.seconds)
                store.put(run.id, result)
                yield result
    if not _possible(store.left(run.id)):
        store.end(run.id)


def to_try(store: Store, run: Run, again: Collection[Cell] = ()) -> list[Cell]:
    """Cells of a run without a result, and those of ``again``, in the order of the run's plan."""
    wanted = {*store.left(run.id), *again}
    return [cell for cell in store.planned(run.id) if cell in wanted]


def found_as(store: Store, run: Run, cells: Collection[Cell], outcomes: Collection[str]) -> list[Cell]:
    """Which of these cells have one of these outcomes in a run."""
    return [each.cell for each in store.results(run.id) if each.outcome in outcomes and each.cell in set(cells)]


def _possible(cells: Sequence[Cell]) -> list[Cell]:
    """Those on runtimes and devices that are here; the others stay untested."""
    devices = devices_here() if any(cell.device != "cpu" for cell in cells) else {}
    runtimes = runtimes_here()
    return [
        cell
        for cell in cells
        if not runtimes.get(cell.runtime, "") and not devices.get(cell.device.partition(":")[0], "")
    ]


def _lost(cell: Cell, lost: Lost, seconds: float) -> Result:
    return Result(
        cell,
        FAILED,
        failure=lost.kind,
        reason=lost.reason,
        seconds=round(seconds, 3),
        measured_at=time.time(),
    )


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
