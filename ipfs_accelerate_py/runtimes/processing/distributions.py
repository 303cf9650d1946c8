"""Mean and quantiles of the distributions that forecasting models tell by their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["spread"]


def spread(
    name: str, parts: Sequence[Any], loc: Any, scale: Any, levels: Sequence[float]
) -> tuple[Any, dict[float, Any]]:
    """Mean, and values by level, of a distribution for each step and variable.

    Args:
        name: ``student_t`` (parts: degrees of freedom, place, scale), ``normal`` (place, scale) or
            ``negative_binomial`` (count, logits), as Transformers' configurations call them.
        parts: its parameters, of series that were shifted and scaled.
        loc: what was taken off the series.
        scale: what it was then divided by.
        levels: between 0 and 1.
    """
    np, stats = require("numpy"), require("scipy.stats")
    parts = [np.asarray(part, dtype="float64") for part in parts]
    if name == "student_t":
        free, place, wide = parts
        found = stats.t(free, loc=place * scale + loc, scale=wide * scale)
        mean = place * scale + loc
    elif name == "normal":
        place, wide = parts
        found = stats.norm(loc=place * scale + loc, scale=wide * scale)
        mean = place * scale + loc
    elif name == "negative_binomial":
        count, logits = parts
        # A count cannot be scaled afterwards, so its logits are: the mean is then the scale times what it was.
        odds = np.exp(logits + np.log(scale))
        found = stats.nbinom(count, 1 / (1 + odds))
        mean = count * odds
    else:
        raise UnsupportedOperation(f"the model tells a distribution {name!r}, which is not known here")
    return mean, {level: found.ppf(level) for level in levels}
