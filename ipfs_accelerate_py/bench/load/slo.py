"""What an answer must keep to, to count as good: ``ttft=300ms,total=2s,itl=50ms``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

from ipfs_accelerate_py.bench.load.samples import Sample
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Objective"]

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|)")


@dataclass(frozen=True, slots=True)
class Objective:
    """A service-level objective; None is no limit. Seconds, from when the call was due.

    *Goodput* is what keeps to it (Zhong et al., "DistServe", OSDI 2024). A failed call never does.

    Attributes:
        ttft: until the first content (time to first token).
        total: until the answer is complete.
        itl: between any two pieces of content of it (inter-token latency).
        tpot: for a token after the first, on average over the answer (time per output token).
    """

    ttft: float | None = None
    total: float | None = None
    itl: float | None = None
    tpot: float | None = None

    @classmethod
    def parse(cls, text: str) -> Objective:
        """``name=duration`` by commas; durations in us, ms, s (or without a unit) or m.

        Raises `ConfigurationError` for what is none.
        """
        names = [each.name for each in fields(cls)]
        found: dict[str, float] = {}
        for part in filter(None, (each.strip() for each in text.split(","))):
            name, _, value = part.partition("=")
            matched = _DURATION.fullmatch(value.strip())
            if name.strip() not in names or matched is None or not float(matched[1]) > 0:
                raise ConfigurationError(
                    f"{part!r} is no part of an objective, as in ttft=300ms,total=2s (there are {', '.join(names)})"
                )
            found[name.strip()] = float(matched[1]) * _UNITS[matched[2]]
        if not found:
            raise ConfigurationError(f"an objective names what to keep to, as in ttft=300ms,total=2s; got {text!r}")
        return cls(**found)

    @property
    def of_streams(self) -> tuple[str, ...]:
        """The limits that only a streaming answer can keep to."""
        return tuple(name for name in ("ttft", "itl", "tpot") if getattr(self, name) is not None)

    def met(self, sample: Sample) -> bool:
        """Whether a call has kept to it."""
        if not sample.ok:
            return False
        took = {
            "ttft": sample.first_token,
            "total": sample.total,
            "itl": max(sample.gaps, default=None),
            "tpot": sample.per_token,
        }
        for name, seconds in took.items():
            limit = getattr(self, name)
            if limit is None:
                continue
            # An answer of one token has nothing between its tokens, and so nothing too long.
            missing = math.inf if name == "ttft" else 0.0
            if (missing if seconds is None else seconds) > limit:
                return False
        return True

    def __str__(self) -> str:
        given = ((each.name, getattr(self, each.name)) for each in fields(self))
        return ",".join(f"{name}={_spoken(value)}" for name, value in given if value is not None)


def _spoken(seconds: float) -> str:
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1e3:g}ms"
