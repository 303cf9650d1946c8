"""What to run a model on, read from measurements on this machine and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.matrix.summaries import Column, is_tiny, megabytes, milliseconds, pass_ms, reference, speedup
from ipfs_accelerate_py.runtimes.probes.results import OK, UNTESTED, Result

__all__ = ["CRITERIA", "Candidate", "Recommendation", "choose", "cosine_words", "recommend"]

#: What may be asked for, and the figure that it is read from.
CRITERIA = {"speed": "latency_ms", "memory": "peak_bytes", "throughput": "throughput"}
#: The least cosine with PyTorch's outputs in float32 with which another's count as the same.
COSINE = 0.99


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cell that works, agrees and was measured.

    Attributes:
        result: what was found.
        faster: how many times faster than PyTorch in float32 in the same run; None where that was not timed.
        criterion: what it was chosen by, of `CRITERIA`.
    """

    result: Result
    faster: float | None
    criterion: str = "speed"

    @property
    def words(self) -> str:
        """``openvino int8-weights, 4.1x torch float32, cosine 0.998, 12 MB``."""
        figures = self.result.figures
        parts = [Column(*self.result.cell[1:]).title]
        if self.result.cell == reference(self.result.cell.subject):
            parts.append(milliseconds(figures["latency_ms"]) if "latency_ms" in figures else "")
        elif self.faster is not None:
            parts.append(f"{self.faster:.1f}x torch float32")
        parts.append(f"cosine {cosine_words(figures['cosine'])}" if "cosine" in figures else "")
        parts.append(f"{figures['throughput']:,.0f} inputs/s" if self.criterion == "throughput" else "")
        parts.append(megabytes(figures["peak_bytes"]) if "peak_bytes" in figures else "")
        return ", ".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What measurements of one run say.

    Attributes:
        subject: whose cells these are: a model type, or a checkpoint.
        asked: what was asked about.
        run: in which they were measured, all of them.
        tiny: they are of a small random model of the type, and not of a checkpoint.
        candidates: the best first; empty where nothing works and agrees.
        left_out: cells that do not count, and why.
    """

    subject: str
    asked: str
    run: Run
    tiny: bool
    candidates: Sequence[Candidate]
    left_out: Sequence[tuple[Result, str]]

    @property
    def sentence(self) -> str:
        """``bert on this machine: openvino int8-weights, 4.1x torch float32, cosine 0.998, 12 MB``."""
        if not self.candidates:
            return f"{self.asked} on this machine: nothing that was measured works and agrees with torch float32"
        return f"{self.asked} on this machine: {self.candidates[0].words}"

    @property
    def tied(self) -> Sequence[Candidate]:
        """Others whose latency the spread of the passes (its quartiles) does not tell from the first one's."""
        if not self.candidates or self.candidates[0].criterion != "speed":
            return ()
        gauge = self.candidates[0].result.figures.get("gauge_ms", 0.0)
        high = _edge(self.candidates[0].result, "latency_high_ms", gauge)
        return [each for each in self.candidates[1:] if _edge(each.result, "latency_low_ms", gauge) <= high]

    @property
    def caution(self) -> str:
        """What the measurement does not say; empty where it is of the checkpoint itself."""
        if not self.tiny:
            return ""
        of = f", not on {self.asked}" if self.asked != self.subject else ""
        return (
            f"measured on a small random model of type {self.subject}{of}: it shows what runs and agrees; "
            "how much faster a checkpoint of full size is has to be measured with it"
        )


def recommend(
    store: Store,
    subject: str,
    machine: Mapping[str, Any],
    *,
    model_type: str = "",
    criterion: str = "speed",
    cosine: float = COSINE,
    device: str = "",
) -> Recommendation:
    """What is best for a model type or a checkpoint, by the newest run on this machine that measured it.

    Args:
        store: has the runs.
        subject: a model type, or a checkpoint as it was named to `matrix`.
        machine: this one, as runs describe theirs; those of other machines say nothing here.
        model_type: of a checkpoint: its type is looked up where the checkpoint itself was not measured.
        criterion: of `CRITERIA`.
        cosine: the least agreement with PyTorch in float32.
        device: only cells of this device.

    Raises:
        ConfigurationError: there is no such criterion; or nothing was measured here, and which command measures it.
    """
    if criterion not in CRITERIA:
        raise ConfigurationError(f"there is no criterion {criterion!r}: choose one of {', '.join(CRITERIA)}")
    here = [run for run in reversed(store.runs()) if run.machine == machine]
    for name in dict.fromkeys(filter(None, (subject, model_type))):
        for run in here:
            found = store.results_of(run.id, name)
            if any(each.outcome != UNTESTED for each in found):
                best, out = choose(found, criterion=criterion, cosine=cosine, device=device)
                return Recommendation(name, subject, run, is_tiny(found[0]), best, out)
    others = len(store.runs()) - len(here)
    elsewhere = f" (its other {others} runs are of other machines)" if others else ""
    what = f"--type {model_type or subject}" if model_type or "/" not in subject else subject
    raise ConfigurationError(
        f"nothing was measured for {subject!r} on this machine in {store.path}{elsewhere}; "
        f"`ipfs-accelerate matrix {what} --store {store.path}` measures it"
    )


def choose(
    results: Iterable[Result], *, criterion: str = "speed", cosine: float = COSINE, device: str = ""
) -> tuple[list[Candidate], list[tuple[Result, str]]]:
    """Of one subject's cells in one run: those that count, the best first; and the others, with the reason."""
    found = list(results)
    figure = CRITERIA[criterion]
    against = next((each for each in found if each.cell == reference(each.cell.subject)), None)
    gauge = next((each.figures["gauge_ms"] for each in (against, *found) if each and "gauge_ms" in each.figures), 0.0)
    best: list[tuple[float, Candidate]] = []
    out: list[tuple[Result, str]] = []
    for each in found:
        if device and each.cell.device != device:
            continue
        if why := _unfit(each, figure, cosine, each is against):
            out.append((each, why))
            continue
        value = each.figures[figure] if criterion != "speed" else pass_ms(each, gauge) or 0.0
        best.append(
            (-value if criterion == "throughput" else value, Candidate(each, speedup(each, against), criterion))
        )
    return [candidate for _, candidate in sorted(best, key=lambda pair: pair[0])], out


def _unfit(result: Result, figure: str, least: float, is_reference: bool) -> str:
    if result.outcome != OK:
        said = ": ".join(filter(None, (result.failure, result.reason)))
        return f"{result.outcome} ({said})" if said else result.outcome
    if not is_reference:
        cosine = result.figures.get("cosine")
        if cosine is None:
            return "its agreement with torch float32 was not measured"
        if cosine < least:
            return f"cosine {cosine_words(cosine)} is below {least:g}"
    if figure not in result.figures:
        return f"its {figure} was not measured"
    return ""


def _edge(result: Result, quartile: str, gauge: float) -> float:
    """A quartile of the passes, in the time by which cells are compared."""
    figures = result.figures
    middle = pass_ms(result, gauge) or math.inf
    return (
        middle * figures[quartile] / figures["latency_ms"]
        if figures.get("latency_ms") and quartile in figures
        else middle
    )


def cosine_words(value: float) -> str:
    """Enough digits to tell it from 1: ``0.998``, ``0.99997``; ``1.0`` from there on."""
    for digits in range(3, 6):
        if round(value, digits) != 1.0:
            return f"{value:.{digits}f}"
    return "1.0"
