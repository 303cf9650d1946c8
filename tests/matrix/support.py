"""Runs made up for tests: what a matrix would have found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.runtimes.probes.results import FAILED, OK, SKIPPED, Cell, Result

MACHINE = {"processor": "A Processor 9000", "processors": 2, "flags": ["avx2"]}
VERSIONS = {"torch": "2.13.0", "transformers": "5.23.0"}
PASSED = dict.fromkeys(("built", "ran", "finite", "reacts", "batched"), OK)
#: Processor time of the gauge, in milliseconds, on the machine as it usually is.
GAUGE = 1.0


def measured(cell: Cell, latency: float = 2.0, *, gauge: float = GAUGE, at: float = 1000.0, **figures: float) -> Result:
    """A cell that is ok: its median latency in milliseconds, and quartiles ten percent from it."""
    found = {
        "parameters": 50000.0,
        "weights_bytes": 200000.0,
        "latency_ms": latency,
        "latency_low_ms": latency * 0.9,
        "latency_high_ms": latency * 1.1,
        "cpu_ms": latency,
        "gauge_ms": gauge,
        "batch": 8.0,
        "batch_ms": latency * 4,
        "throughput": 2000 / latency,
        "peak_bytes": 12e6,
        **({} if cell == Cell(cell.subject) else {"cosine": 0.9999}),
        **figures,
    }
    checks = {**PASSED, **({} if cell == Cell(cell.subject) else {"exported": OK, "agrees": OK})}
    return Result(cell, OK, cell.subject, "AutoModel", checks, found, seconds=1.0, measured_at=at)


def failed(cell: Cell, check: str, failure: str, reason: str = "", cause: str = "", at: float = 1000.0) -> Result:
    """A cell that failed at a check; those before it passed."""
    order = ("built", "exported", "ran", "finite", "reacts", "agrees", "batched")
    checks = dict.fromkeys(order[: order.index(check)], OK) | {check: FAILED}
    reason = reason or f"RuntimeError: it is not {check}"
    return Result(cell, FAILED, cell.subject, "AutoModel", checks, {}, failure, reason, cause, 1.0, at)


def skipped(cell: Cell, reason: str) -> Result:
    return Result(cell, SKIPPED, cell.subject, reason=reason, measured_at=1000.0)


def kept(store: Store, results: Iterable[Result], *, ended: bool = True, **run: Any) -> Run:
    """A run of these; what is untested is only planned."""
    found = list(results)
    given = {"machine": MACHINE, "versions": VERSIONS, "plan": {}, **run}
    made = store.begin([each.cell for each in found], **given)
    store.keep(made, [each.cell for each in found], found)  # in one transaction: a put waits for the disk
    if ended:
        store.end(made.id)
    return store.run(made.id)


def moved(result: Result, factor: float) -> Result:
    """The same measured on a machine that is so many times slower at everything: the gauge as well."""
    times = ("latency_ms", "latency_low_ms", "latency_high_ms", "cpu_ms", "gauge_ms", "batch_ms")
    figures = {name: value * factor if name in times else value for name, value in result.figures.items()}
    return replace(result, figures=figures)
