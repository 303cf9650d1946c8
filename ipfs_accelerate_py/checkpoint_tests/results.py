"""What came of a module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["FAILED", "OK", "SKIPPED", "Verdict", "counts"]

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(slots=True)
class Verdict:
    """What came of verifying one module.

    Attributes:
        module: its path, as it was given.
        type: the model type it is for; empty where it does not say.
        outcome: ``ok``, ``failed``, or ``skipped``: nothing in it could run here.
        reason: why it failed or was skipped, of its first test that did.
        stage: how far it came: ``compiled``, ``collected``, ``ran``; or where it failed: ``compile``, ``collect``,
            ``tiny`` (no small checkpoint could be made), ``run``.
        tests: how many were collected.
        outcomes: by test, ``ok``, ``failed`` or ``skipped``.
        reasons: by test that failed or was skipped, why.
        seconds: that it took.
    """

    module: str
    type: str = ""
    outcome: str = OK
    reason: str = ""
    stage: str = ""
    tests: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def conclude(self) -> None:
        """Set outcome and reason from those of its tests."""
        found = set(self.outcomes.values())
        self.outcome = FAILED if FAILED in found else OK if OK in found else SKIPPED
        first = next((name for name, each in self.outcomes.items() if each == self.outcome), "")
        self.reason = "" if self.outcome == OK else f"{first}: {self.reasons.get(first, '')}".removeprefix(": ")


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many of each outcome."""
    found = Counter(each.outcome for each in verdicts)
    return {name: found[name] for name in (OK, FAILED, SKIPPED)}
