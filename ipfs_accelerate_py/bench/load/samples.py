"""What one call of a load came to."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["NOT_STARTED", "UNFINISHED", "Sample"]

#: In the place of an error's class: the run ended before the answer, or before the call could be made.
UNFINISHED, NOT_STARTED = "Unfinished", "NotStarted"


@dataclass(slots=True)
class Sample:
    """One call. Instants are seconds of the runner's clock.

    Attributes:
        number: in order of arrival, from 0.
        due: when it arrived: of an open load, whether or not it could be made then.
        begun: when it was made; NaN where it never was.
        first: when the answer's first content came; None of an answer in one piece.
        ended: when the answer was complete, or failed.
        gaps: seconds between the pieces of content of a stream, in order; pieces that were read together have none
            between them, and that is in it as 0.
        input_tokens, output_tokens: as the service counted them.
        counted: whether it did; else ``output_tokens`` are pieces of a stream, and there are no others.
        error: the class of the error; empty of a good answer.
        attempts: how often it was asked (more than once only through the pipeline).
        late: an open load's call that had to wait for another to end, because as many as allowed were under way.
        warm: it arrived while the load was still rising, and is no part of the figures.
    """

    number: int
    due: float
    begun: float = float("nan")
    first: float | None = None
    ended: float = float("nan")
    gaps: list[float] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    counted: bool = True
    error: str = ""
    attempts: int = 1
    late: bool = False
    warm: bool = False

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def total(self) -> float:
        """Seconds from the arrival to the complete answer, the wait for a place included.

        From when it was *due*: a load generator that stands still while the server does, and measures from when it
        could go on, leaves out the very waits that matter (Gil Tene's "coordinated omission", "How NOT to Measure
        Latency", Strange Loop 2015).
        """
        return self.ended - self.due

    @property
    def first_token(self) -> float | None:
        """Seconds from the arrival to the first content."""
        return None if self.first is None else self.first - self.due

    @property
    def per_token(self) -> float | None:
        """Mean seconds for each token after the first; None where there are none."""
        if self.first is None or self.output_tokens < 2:
            return None
        return (self.ended - self.first) / (self.output_tokens - 1)
