"""What many results come to: columns, counts, and each cell beside PyTorch in float32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ipfs_accelerate_py.runtimes.probes.results import OK, SKIPPED, UNTESTED, Cell, Result

__all__ = [
    "ALIVE",
    "Column",
    "alive",
    "columns",
    "counts",
    "describe",
    "failures",
    "is_tiny",
    "megabytes",
    "milliseconds",
    "origin",
    "pass_ms",
    "reference",
    "speedup",
]

#: Checks that together say that a model runs and that its answers are about what it was asked.
ALIVE = ("ran", "finite", "reacts")


class Column(NamedTuple):
    """A column of the matrix: where each subject was tried."""

    runtime: str
    precision: str
    device: str

    @property
    def title(self) -> str:
        """``openvino int8``; with the device where that is not the processor."""
        return " ".join((self.runtime, self.precision, *((self.device,) if self.device.lower() != "cpu" else ())))


def columns(results: Iterable[Result]) -> list[Column]:
    """Those that the results are in, in the order in which they first come."""
    return list(dict.fromkeys(Column(*each.cell[1:]) for each in results))


def counts(results: Iterable[Result]) -> dict[Column, Counter[str]]:
    """By column, how many have which outcome."""
    found: dict[Column, Counter[str]] = {}
    for each in results:
        found.setdefault(Column(*each.cell[1:]), Counter())[each.outcome] += 1
    return found


def failures(results: Iterable[Result]) -> Counter[str]:
    """How many failed by each class of failure."""
    return Counter(each.failure or "other" for each in results if each.outcome not in (OK, SKIPPED, UNTESTED))


def alive(result: Result) -> bool:
    """Whether it ran, with outputs that are finite and react to the input."""
    return all(result.checks.get(name) == OK for name in ALIVE)


def reference(subject: str) -> Cell:
    """The cell that others of a subject are held against: PyTorch in float32 on the processor."""
    return Cell(subject)


def pass_ms(result: Result, gauge: float = 0.0) -> float | None:
    """Milliseconds of a pass of one input, so that cells of one run compare; None where it was not timed.

    Cells of the processor are timed on one thread, so their processor time is the latency that a quiet machine would
    show; and where the gauge was timed beside it, how fast the machine was just then is taken out too. Of other devices
    it is the latency.

    Args:
        result: what was timed.
        gauge: milliseconds of the gauge on the machine as it is to be thought of; without, the latency is given.
    """
    figures = result.figures
    if gauge > 0 and result.cell.device.lower() == "cpu" and figures.get("cpu_ms", 0) > 0 < figures.get("gauge_ms", 0):
        return figures["cpu_ms"] * gauge / figures["gauge_ms"]
    return figures.get("latency_ms")


def speedup(result: Result, against: Result | None) -> float | None:
    """How many times faster than ``against``, of the same run; None where either was not timed or is not ok."""
    if against is None or result.outcome != OK or against.outcome != OK:
        return None
    gauge = against.figures.get("gauge_ms", 0.0) if "gauge_ms" in result.figures else 0.0
    ours, theirs = pass_ms(result, gauge), pass_ms(against, gauge)
    return theirs / ours if ours and theirs else None


def is_tiny(result: Result) -> bool:
    """Whether it is of a small random model of a type, and not of a checkpoint."""
    return result.cell.subject == (result.model_type or result.cell.subject)


def origin(reason: str, cause: str) -> str:
    """Where a failure came from: the innermost error and its line, or the line alone where the reason has the error."""
    error, bracket, place = cause.rpartition(" [")
    if bracket and place.endswith("]") and error[:60] in reason:
        return f"at {place[:-1]}"
    return f"from {cause}" if cause else ""


def milliseconds(value: float) -> str:
    """``0.42 ms``, ``12 ms``: three digits at most."""
    return f"{value:.3g} ms" if value < 1000 else f"{value:.0f} ms"


def megabytes(value: float) -> str:
    """Bytes as ``12 MB`` or ``0.3 MB`` (MB of 1e6 bytes)."""
    return f"{value / 1e6:.1f} MB" if value < 1e7 else f"{value / 1e6:.0f} MB"


def describe(machine: Mapping[str, Any]) -> str:
    """A machine in a line: processor, how many, and what else its description says in plain values."""
    known = ("processor", "processors", "flags", "versions")
    parts = [str(machine.get("processor") or "a machine without a name")]
    if machine.get("processors"):
        parts.append(f"{machine['processors']} processors")
    if machine.get("flags"):
        parts.append(" ".join(map(str, machine["flags"])))
    parts += [
        f"{name.replace('_', ' ')} {_value(name, value)}"
        for name, value in machine.items()
        if name not in known and value not in (None, "", [], {})
    ]
    return ", ".join(parts)


def _value(name: str, value: Any) -> str:
    if isinstance(value, int | float) and name.endswith(("memory", "bytes")):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, Mapping):
        return " ".join(f"{key} {each}" for key, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
