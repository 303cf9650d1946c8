"""One figure of one case, with a value for every round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .figures import Session

__all__ = ["HIGHER", "LOWER", "Case", "Left", "Measurement", "quantile"]

#: Which values of a figure are the better ones; empty where neither is (bytes of weights, a dimension).
HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True, slots=True)
class Case:
    """What was measured, and under which circumstances.

    Attributes:
        kind: ``text-generation``, ``embeddings``, ``audio``, ``vision``, ``multimodal``, ``load``, ``memory``.
        model: its name; of a service, as the service calls it.
        runtime: ``torch``, ``openvino``, ``llvm``; of a service, the backend's name.
        precision: of the weights, as it was loaded.
        device: ``cpu``, ``cuda``, ...; of a service, its URL.
        batch: inputs at once; of a load, callers at once (0 where arrivals do not wait for answers).
        length: of one input, with its unit: ``32 tokens``, ``30 s``, ``224 x 224``.
        parameters: whatever else was chosen (tokens written, arrivals, requests a second): plain values.
    """

    kind: str
    model: str
    runtime: str = ""
    precision: str = ""
    device: str = ""
    batch: int = 1
    length: str = ""
    parameters: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def contestant(self) -> str:
        """Who ran: the runtime, its precision and device, as one text."""
        return " ".join(each for each in (self.runtime, self.precision, self.device) if each)

    @property
    def question(self) -> tuple[Any, ...]:
        """What was asked of whoever ran: cases with one question may be set beside one another."""
        return (self.kind, self.model, self.batch, self.length, tuple(sorted(self.parameters.items())))

    def plain(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "model": self.model,
            "runtime": self.runtime,
            "precision": self.precision,
            "device": self.device,
            "batch": self.batch,
            "length": self.length,
            "parameters": dict(self.parameters),
        }


@dataclass(eq=False, slots=True)
class Measurement:
    """One figure of one case: a value a round.

    Attributes:
        figure: what it is, as ``tokens/s`` or ``first token``.
        unit: ``tokens/s``, ``s``, ``ms``, ``bytes``, ``share``, ...
        better: `HIGHER`, `LOWER` or empty.
        rounds: numbers of the rounds, ascending.
        values: one for each of ``rounds``.
        raw: for each round, what its value was calculated from, where that is several numbers (each answer's seconds);
            else empty.
        turns: names those that were measured in turns with this one, round by round; empty where it was alone.
        session: which it is part of; set by `Session.add`.
    """

    case: Case
    figure: str
    unit: str
    better: str = ""
    rounds: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    raw: list[list[float]] = field(default_factory=list)
    turns: str = ""
    session: Session | None = field(default=None, repr=False)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The first quartile."""
        return quantile(self.values, 0.25)

    @property
    def high(self) -> float:
        """The third quartile."""
        return quantile(self.values, 0.75)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def most(self) -> float:
        return max(self.values)

    def add(self, number: int, value: float, raw: Iterable[float] = ()) -> None:
        """The value of a round.

        Raises:
            ValueError: it is not a finite number, or the round has one already.
        """
        samples = [float(each) for each in raw]
        if not all(math.isfinite(each) for each in (value, *samples)):
            raise ValueError(f"{self.figure} of {self.case.model} in round {number} is not finite")
        if self.rounds and number <= self.rounds[-1]:
            raise ValueError(f"{self.figure} of {self.case.model} has round {number} already")
        self.rounds.append(number)
        self.values.append(float(value))
        self.raw.append(samples)

    def plain(self) -> dict[str, Any]:
        """With median, quartiles and extremes beside the values, for whoever reads the file without this class."""
        return {
            "case": self.case.plain(),
            "figure": self.figure,
            "unit": self.unit,
            "better": self.better,
            "median": self.median,
            "low": self.low,
            "high": self.high,
            "least": self.least,
            "most": self.most,
            "rounds": list(self.rounds),
            "values": list(self.values),
            "raw": [list(each) for each in self.raw] if any(self.raw) else [],
            "turns": self.turns,
        }


@dataclass(frozen=True, slots=True)
class Left:
    """A case without figures: ``failed`` (it was tried), ``skipped`` (it cannot be) or ``untested``; and why."""

    case: Case
    outcome: str
    reason: str


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie, with straight lines between them (numpy's and R's usual way).

    Raises:
        ValueError: there are none.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    place = share * (len(ordered) - 1)
    at = int(place)
    low, high = ordered[at], ordered[min(at + 1, len(ordered) - 1)]
    part = place - at
    return min(max(low * (1 - part) + high * part, low), high)
