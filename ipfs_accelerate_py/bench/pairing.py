"""Contestants in turns, so that what else the machine does falls on all of them; and figures set beside one another.

A round has every contestant once: A B C in one, C B A in the next. What is compared is the ratio within a round, and
the median of those ratios; figures that were not taken in the same rounds are not compared at all.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ipfs_accelerate_py.errors import ConfigurationError

from .measurement import LOWER, Measurement, quantile

__all__ = ["Ratio", "compare", "in_turns", "turns"]

T = TypeVar("T")


def turns(contestants: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """The number of the round and whose turn it is: A B C, C B A, A B C, ..."""
    for number in range(rounds):
        for each in contestants if number % 2 == 0 else list(reversed(contestants)):
            yield number, each


def in_turns(
    contestants: Sequence[T],
    rounds: int,
    measure: Callable[[T], Any],
    *,
    warm: Callable[[T], object] | None = None,
    between: Callable[[int], object] | None = None,
) -> Iterator[tuple[int, T, Any]]:
    """Measure every contestant once a round.

    Args:
        contestants: who takes part.
        rounds: how many.
        measure: one turn; what it returns is given on.
        warm: a turn of each before the first round, which does not count.
        between: called before each round with its number.

    Yields:
        The round, the contestant and what ``measure`` returned, in the order in which it was measured.
    """
    if warm is not None:
        for each in contestants:
            warm(each)
    last = -1
    for number, each in turns(contestants, rounds):
        if between is not None and number != last:
            between(number)
        last = number
        yield number, each, measure(each)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as good one is as the other: above 1, the first is better.

    Attributes:
        median: of the ratios within the rounds; ``low`` and ``high`` are their quartiles.
        ratios: one a round.
    """

    median: float
    low: float
    high: float
    ratios: tuple[float, ...]

    @property
    def clear(self) -> bool:
        """Whether every round agrees on who is better."""
        return min(self.ratios) > 1 or max(self.ratios) < 1

    def text(self) -> str:
        return f"{self.median:.2f} x ({min(self.ratios):.2f} to {max(self.ratios):.2f})"


def compare(one: Measurement, other: Measurement) -> Ratio:
    """How ``one`` does beside ``other``, of the same figure of the same question.

    Raises:
        ConfigurationError: they must not be compared, with the reason: other figures or questions, machines, threads,
            sessions or rounds, or a value of zero.
    """
    if (reason := _apart(one, other)) is not None:
        raise ConfigurationError(f"{_named(one)} and {_named(other)} are not compared: {reason}")
    pairs = zip(one.values, other.values, strict=True)
    ratios = [b / a if one.better == LOWER else a / b for a, b in pairs]
    return Ratio(statistics.median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75), tuple(ratios))


def _apart(one: Measurement, other: Measurement) -> str | None:
    if (one.figure, one.unit) != (other.figure, other.unit):
        return f"one is {one.figure} in {one.unit}, the other {other.figure} in {other.unit}"
    if not one.better:
        return f"of {one.figure} no value is the better one"
    if one.case.question != other.case.question:
        return "they answer different questions (kind, model, batch, length or parameters)"
    mine, theirs = one.session, other.session
    if mine is None or theirs is None:
        return "one belongs to no session, so nobody knows where it was measured"
    for what, a, b in (
        ("on different machines or versions", mine.machine, theirs.machine),
        ("with different numbers of threads", mine.threads, theirs.threads),
        ("in different sessions, not in turns: measure both with one command", mine.id, theirs.id),
    ):
        if a != b:
            return f"they were measured {what}"
    if not one.turns or one.turns != other.turns or one.rounds != other.rounds:
        return "they were measured one after the other, not in the same rounds"
    if not one.values or not all(one.values) or not all(other.values):
        return "one has no values, or a value of zero"
    return None


def _named(measurement: Measurement) -> str:
    case = measurement.case
    return f"{measurement.figure} of {case.model} ({case.contestant or case.kind})"
