"""A cell of the matrix and what was found in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["CHECKS", "FAILED", "FIGURES", "OK", "OUTCOMES", "SKIPPED", "UNTESTED", "Cell", "Result"]

#: Outcomes of one check or of a whole cell. *Failed* was tried; *skipped* cannot be here, and the reason says why;
#: *untested* was not tried.
OK, FAILED, SKIPPED, UNTESTED = "ok", "failed", "skipped", "untested"
OUTCOMES = (OK, FAILED, SKIPPED, UNTESTED)

#: In the order in which they are made; the first that fails decides the outcome.
CHECKS = {
    "built": "a model was made of the configuration, or loaded",
    "exported": "it was loaded by the runtime (of OpenVINO and LLVM: exported and compiled)",
    "ran": "a forward pass gave outputs",
    "finite": "no output has NaN or infinity",
    "reacts": "two different inputs give different outputs",
    "agrees": "outputs are those of PyTorch in float32, on inputs that it was not made with",
    "batched": "each of two inputs in a batch gets what it gets alone",
}

#: Measured numbers by name, with their units.
FIGURES = {
    "parameters": "count",
    "weights_bytes": "bytes that weights take in the runtime",
    "export_s": "seconds from the PyTorch model to what runs: of OpenVINO and LLVM, export and compilation",
    "latency_ms": "milliseconds of a forward pass of one input: median",
    "latency_low_ms": "its first quartile",
    "latency_high_ms": "its third quartile",
    "cpu_ms": "milliseconds of processor time for one such pass: median",
    "batch": "inputs of the larger batch",
    "batch_ms": "milliseconds of a forward pass of the larger batch: median",
    "throughput": "inputs a second, in the larger batch",
    "gauge_ms": "milliseconds of processor time of a fixed piece of arithmetic, taken in turns with the passes",
    "peak_bytes": "memory that it takes running: weights, and the most that passes took beyond; of CUDA, on the device",
    "export_peak_bytes": "the most memory that its loading or export took beyond what was there before",
    "moved": "largest difference that another input made in an output, relative to its size",
    "cosine": "the worst cosine between an output and PyTorch's in float32, on fresh inputs",
    "difference": "largest difference from PyTorch's in float32, relative to the output's size",
    "apart": "largest difference between an input in a batch and alone, relative to the output's size",
}


class Cell(NamedTuple):
    """What is tried: a place in the matrix.

    ``subject`` is a model type, or the name of a checkpoint; ``device`` is ``cpu``, ``cuda``, ... or one
    of OpenVINO's own.
    """

    subject: str
    runtime: str = "torch"
    precision: str = "float32"
    device: str = "cpu"


@dataclass(slots=True)
class Result:
    """What was found in one cell.

    Attributes:
        cell: which.
        outcome: of `OUTCOMES`.
        model_type: as in ``config.json``.
        auto: Auto class that was built.
        checks: by name of `CHECKS`, an outcome.
        figures: by name of `FIGURES`; what was not measured is missing.
        failure: class of a failure, one of `causes.FAILURES`; empty where there is none.
        reason: of what is not ok, in one line.
        cause: of a failure, the innermost error and the line that raised it.
        seconds: what it took in all.
        measured_at: seconds since 1970, UTC.
    """

    cell: Cell
    outcome: str = UNTESTED
    model_type: str = ""
    auto: str = ""
    checks: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    failure: str = ""
    reason: str = ""
    cause: str = ""
    seconds: float = 0.0
    measured_at: float = 0.0

    def plain(self) -> dict[str, Any]:
        """One flat row: the cell, what was found, a column for each check and figure (None where there is none)."""
        return {
            **self.cell._asdict(),
            "outcome": self.outcome,
            "model_type": self.model_type,
            "auto": self.auto,
            **{name: self.checks.get(name) for name in CHECKS},
            **{name: self.figures.get(name) for name in FIGURES},
            "failure": self.failure,
            "reason": self.reason,
            "cause": self.cause,
            "seconds": self.seconds,
            "measured_at": self.measured_at,
        }

    @classmethod
    def of(cls, row: dict[str, Any]) -> Result:
        """The result that `plain` made a row of; columns that it does not know are left out."""
        return cls(
            Cell(row["subject"], row["runtime"], row["precision"], row["device"]),
            outcome=row["outcome"],
            checks={name: row[name] for name in CHECKS if row.get(name) is not None},
            figures={name: row[name] for name in FIGURES if row.get(name) is not None},
            **{
                name: row[name]
                for name in ("model_type", "auto", "failure", "reason", "cause", "seconds", "measured_at")
                if row.get(name) is not None
            },
        )
