"""When the calls of a load are made: arithmetic from a seed, without a clock.

Two kinds of load, which answer different questions (Schroeder, Wierman and Harchol-Balter, "Open Versus Closed: A
Cautionary Tale", NSDI 2006): a *closed* loop of callers who each wait for the answer before they ask again, and *open*
arrivals, which come whether or not the server keeps up.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Closed", "Load", "Open", "levels"]

#: Steps of one sweep.
MOST_LEVELS = 100


@dataclass(frozen=True, slots=True)
class Closed:
    """Callers who each ask, wait for the answer, think, and ask again.

    Attributes:
        callers: how many.
        think: seconds between an answer and the caller's next question: the mean of exponential draws.
        ramp: seconds over which they begin, evenly; what they ask until then is no part of the figures.
        seed: of the thinking.
    """

    callers: int
    think: float = 0.0
    ramp: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.callers < 1:
            raise ConfigurationError(f"a closed loop needs at least 1 caller, not {self.callers}")
        _not_negative(think=self.think, ramp=self.ramp)

    @property
    def level(self) -> float:
        return float(self.callers)

    def __str__(self) -> str:
        return f"{self.callers} caller{'s' * (self.callers != 1)}"

    def at(self, level: float) -> Closed:
        """The same with so many callers."""
        if level != int(level):
            raise ConfigurationError(f"callers are counted in whole numbers, not {level:g}")
        return replace(self, callers=int(level))

    def start(self, caller: int) -> float:
        """Seconds after the beginning when a caller (from 0) asks for the first time."""
        return self.ramp * caller / self.callers

    def pauses(self, caller: int) -> Iterator[float]:
        """Seconds that this caller thinks after each answer."""
        if not self.think:
            return itertools.repeat(0.0)
        draws = random.Random(f"{self.seed}/{caller}")
        return (draws.expovariate(1 / self.think) for _ in itertools.count())

    def plain(self) -> dict[str, str | float]:
        """Everything but the level."""
        return _plain(arrivals="closed", think=self.think, ramp=self.ramp, seed=self.seed if self.think else 0)


@dataclass(frozen=True, slots=True)
class Open:
    """Arrivals that do not wait for answers.

    Gaps are drawn from a gamma distribution whose shape is ``burstiness``, as vLLM's serving benchmark does
    (https://docs.vllm.ai/en/latest/contributing/benchmarks.html): 1 is a Poisson process, less comes in bursts, more is
    more even, and `math.inf` a constant rate. Whatever the rate, one seed draws the same gaps in proportion.

    Attributes:
        rate: arrivals a second.
        ramp: seconds over which the rate rises, evenly, from ``ramp_from``; what arrives until then is no part of the
            figures.
    """

    rate: float
    burstiness: float = 1.0
    ramp: float = 0.0
    ramp_from: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise ConfigurationError(f"a rate is a number of calls a second above 0, not {self.rate:g}")
        if not self.burstiness > 0:
            raise ConfigurationError(f"the burstiness is a number above 0 (1 is Poisson), not {self.burstiness:g}")
        _not_negative(ramp=self.ramp, ramp_from=self.ramp_from)

    @property
    def level(self) -> float:
        return self.rate

    def __str__(self) -> str:
        return f"{self.rate:.4g}/s"

    @property
    def name(self) -> str:
        if math.isinf(self.burstiness):
            return "constant"
        return "poisson" if self.burstiness == 1 else "gamma"

    def at(self, level: float) -> Open:
        """The same at this rate."""
        return replace(self, rate=level)

    def instants(self) -> Iterator[float]:
        """Seconds after the beginning at which calls arrive, ascending and without end."""
        draws = random.Random(self.seed)
        come = 0.0
        while True:
            # Arrivals of a process of rate 1, brought to ours by the inverse of how many have come until a time.
            come += 1.0 if math.isinf(self.burstiness) else draws.gammavariate(self.burstiness, 1 / self.burstiness)
            yield self._when(come)

    def expected(self, seconds: float) -> float:
        """How many arrive within so many seconds, on average."""
        risen = min(seconds, self.ramp)
        slope = (self.rate - self.ramp_from) / self.ramp if self.ramp else 0.0
        return self.ramp_from * risen + slope * risen * risen / 2 + self.rate * (seconds - risen)

    def _when(self, come: float) -> float:
        """Seconds after which ``come`` have arrived on average: the inverse of `expected`."""
        if not self.ramp:
            return come / self.rate
        at_top = self.expected(self.ramp)
        if come >= at_top:
            return self.ramp + (come - at_top) / self.rate
        slope = (self.rate - self.ramp_from) / self.ramp
        if slope == 0:
            return come / self.rate
        return (math.sqrt(self.ramp_from**2 + 2 * slope * come) - self.ramp_from) / slope

    def plain(self) -> dict[str, str | float]:
        """Everything but the level."""
        burstiness = self.burstiness if self.name == "gamma" else 0
        made = _plain(arrivals=self.name, burstiness=burstiness, ramp=self.ramp, ramp_from=self.ramp_from)
        return made if self.name == "constant" else {**made, "seed": self.seed}


Load = Closed | Open


def levels(text: str) -> list[float]:
    """What a sweep goes through: ``8``, ``1,2,4``, ``1:64`` (doubled each time), ``10:50:+10``, ``1:100:x1.5``.

    The end of a range is always its last step. Raises `ConfigurationError` for what is none of these, or too long.
    """
    found: list[float] = []
    for part in text.split(","):
        bounds = part.strip().split(":")
        if len(bounds) == 1:
            found.append(_number(bounds[0], text))
        elif len(bounds) in (2, 3):
            found.extend(_range(_number(bounds[0], text), _number(bounds[1], text), (bounds[2:] or ["x2"])[0], text))
        else:
            raise ConfigurationError(f"{text!r} is no list of levels: 1,2,4 or 1:64 or 10:50:+10 or 1:100:x1.5")
    if len(found) > MOST_LEVELS:
        raise ConfigurationError(f"{text!r} has {len(found)} steps, and a sweep at most {MOST_LEVELS}")
    return sorted(set(found))


def _range(low: float, high: float, step: str, text: str) -> Iterator[float]:
    kind, size = step.strip()[:1], _number(step.strip()[1:], text)
    if high < low or kind not in ("x", "+") or (kind == "x" and size <= 1):
        raise ConfigurationError(f"{text!r} leads nowhere: LOW:HIGH:xFACTOR (above 1) or LOW:HIGH:+STEP")
    for count in range(MOST_LEVELS + 1):
        level = low * size**count if kind == "x" else low + size * count
        if level >= high * (1 - 1e-9):
            break
        yield level
    yield high


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{whole!r} is no list of levels: {text.strip()!r} is no number above 0")
    return value


def _not_negative(**given: float) -> None:
    for name, value in given.items():
        if not 0 <= value < math.inf:
            raise ConfigurationError(f"{name} is a number of at least 0, not {value:g}")


def _plain(**given: str | float) -> dict[str, str | float]:
    """Without what is as it usually is."""
    return {name: value for name, value in given.items() if value}
