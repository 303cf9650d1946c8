"""How much load a service bears: the highest level of a sweep that still keeps to its objective, or a search for it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Found", "highest", "search"]

#: Steps after which a search is content with what it has.
MOST_STEPS = 40


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the limit: None where no level met it, or none missed it.

    ``steps`` are the levels that were tried, in order, and whether each met it.
    """

    met: float | None
    missed: float | None
    steps: tuple[tuple[float, bool], ...] = field(default=(), compare=False)


def highest(steps: Iterable[tuple[float, bool]]) -> Found:
    """The limit by a sweep: the highest level that met it and that no missed one lies below.

    A level that was tried several times has met it where it did every time.
    """
    given = tuple(steps)
    verdicts: dict[float, bool] = {}
    for level, met in given:
        verdicts[level] = verdicts.get(level, True) and met
    missed = min((level for level, met in verdicts.items() if not met), default=None)
    below = [level for level, met in verdicts.items() if met and (missed is None or level < missed)]
    return Found(max(below, default=None), missed, given)


async def search(
    meets: Callable[[float], Awaitable[bool]],
    low: float,
    high: float,
    *,
    precision: float = 0.05,
    whole: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Found:
    """Find the limit between two levels: doubled from ``low`` until one misses, then by halves (of the ratio).

    One bad moment must not decide it: a level that misses is tried once more, and has missed when it does so twice.

    Args:
        meets: runs a step at this level, and tells whether it kept to the objective.
        precision: ends when the level that missed is at most by this share above the one that met.
        whole: levels are whole numbers (callers).
        stopped: asked before each step; where it says so, the search ends with what it has.

    Raises `ConfigurationError` for bounds or a precision that make no sense.
    """
    if not 0 < low <= high < math.inf or not precision > 0:
        raise ConfigurationError(f"a search goes from a level above 0 up to another, not from {low:g} to {high:g}")
    steps: list[tuple[float, bool]] = []

    async def tried(level: float) -> bool | None:
        for _ in range(2):
            if stopped() or len(steps) >= MOST_STEPS:
                return None
            met = await meets(level)
            if stopped():
                return None  # what was cut short says nothing
            steps.append((level, met))
            if met:
                return True
        return False

    met: float | None = None
    missed: float | None = None
    level = low
    while True:
        verdict = await tried(level)
        if verdict is None:
            return Found(met, missed, tuple(steps))
        if verdict:
            met = level
        else:
            missed = level
        if missed is None:
            if level >= high:
                return Found(met, None, tuple(steps))
            level = min(high, level * 2)
            continue
        if met is None or missed / met <= 1 + precision or (whole and missed - met <= 1):
            return Found(met, missed, tuple(steps))
        level = math.sqrt(met * missed)
        if whole:
            level = min(max(round(level), met + 1), missed - 1)
