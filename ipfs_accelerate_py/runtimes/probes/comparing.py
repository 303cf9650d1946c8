"""Outputs compared: finite, moved by an input, alone as in a batch, alike elsewhere. Arrays in, figures out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.runtimes.engines.loss import main_output
from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["TOLERANCE", "cosine", "difference", "finite", "part_of", "rows_of"]

#: Largest difference in float32 that is rounding, relative to the largest output but at least to 1.
TOLERANCE = 2e-4
# Masks stand for "never" by the lowest float32 or minus infinity.
_NEVER = 1e37

Outputs = Mapping[str, Any]


def finite(outputs: Outputs) -> bool:
    """Whether floats are finite; minus infinity is a mask's, and stands for "never" in logits."""
    numpy = require("numpy")
    floats = [value for value in outputs.values() if value.dtype.kind == "f" and value.size]
    return bool(floats) and all(
        not numpy.isnan(value).any() and not numpy.isposinf(value).any() and numpy.isfinite(value).any()
        for value in floats
    )


def difference(one: Outputs, other: Outputs, *, strict: bool = True) -> float:
    """Largest difference of floats in both, relative to the size of that output where it is above 1.

    Outputs of other shapes differ by infinity, or with ``strict`` false by 1.
    """
    numpy = require("numpy")
    worst, compared = 0.0, 0
    for name, value in one.items():
        theirs = other.get(name)
        if theirs is None or value.dtype.kind != "f" or not value.size:
            continue
        compared += 1
        if value.shape != theirs.shape:
            worst = max(worst, float("inf") if strict else 1.0)
            continue
        finite = (numpy.abs(value) < _NEVER) & (numpy.abs(theirs) < _NEVER)
        if not finite.any():
            continue
        size = max(1.0, float(numpy.abs(value[finite]).max()))
        worst = max(worst, float(numpy.abs(value[finite] - theirs[finite]).max()) / size)
    return worst if compared else (float("inf") if strict else 0.0)


def cosine(expected: Outputs, got: Outputs) -> float:
    """The cosine between the outputs that a model is judged by, over all entries; what masks forbid is left out.

    0 where they have other shapes or share none.
    """
    numpy = require("numpy")
    shared = [name for name, value in expected.items() if name in got and value.dtype.kind == "f" and value.size]
    if not shared:
        return 0.0
    name = main_output(shared)
    one, other = expected[name], got[name]
    if one.shape != other.shape:
        return 0.0
    known = (numpy.abs(one) < _NEVER) & (numpy.abs(other) < _NEVER)
    one, other = one[known].astype(numpy.float64), other[known].astype(numpy.float64)
    lengths = float(numpy.linalg.norm(one) * numpy.linalg.norm(other))
    return float(one @ other) / lengths if lengths else float(numpy.array_equal(one, other))


def part_of(batch: Mapping[str, Any], at: int, count: int) -> dict[str, Any]:
    """One of the inputs of a batch of ``count``."""
    return {
        name: value[at * len(value) // count : (at + 1) * len(value) // count]
        if getattr(value, "shape", ()) and len(value) >= count
        else value
        for name, value in batch.items()
    }


def rows_of(both: Outputs, alone: Outputs, at: int, *, turns: bool = False) -> dict[str, Any]:
    """An input's part of the outputs of a batch of two; those that are not by input are left out.

    An axis twice as long as alone runs over the inputs (both axes of a table of images by texts do); one a little
    longer was padded for the other input. With ``turns``, parts of the two (frames of films) take turns on the axis.
    """
    found = {}
    for name, value in both.items():
        one = alone.get(name)
        if one is None or not one.shape or value.ndim != one.ndim or name.endswith("loss"):  # a batch's mean
            continue
        parts, by_input = [], False
        for size, whole in zip(one.shape, value.shape, strict=True):
            doubled = whole == 2 * size and (size != 0)
            by_input = by_input or doubled
            mine = slice(at, None, 2) if turns else slice(at * size, (at + 1) * size)
            parts.append(mine if doubled else slice(0, size))
        if by_input:
            found[name] = value[tuple(parts)]
    return found
