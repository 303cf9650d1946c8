"""Long texts in overlapping windows, and the best view that any of them has of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["best_views", "merge"]


def best_views(windows: Sequence[tuple[int, int]], total: int) -> list[int]:
    """For each of ``total`` positions, the window in which it is farthest from an edge that is not the text's own.

    Args:
        windows: first position and the one after the last, of each window, in order; together they cover all.
    """
    best = [-1] * total
    margins = [-1] * total
    for number, (start, stop) in enumerate(windows):
        for at in range(start, min(stop, total)):
            before = total if start == 0 else at - start
            after = total if stop >= total else stop - 1 - at
            if min(before, after) > margins[at]:
                best[at], margins[at] = number, min(before, after)
    return best


def merge(arrays: Sequence[Any], windows: Sequence[tuple[int, int]], total: int) -> NDArray[np.float32]:
    """One array of ``total`` positions from those of overlapping windows, each position from its best view."""
    np = require("numpy")
    if len(arrays) == 1:
        return arrays[0]  # type: ignore[no-any-return]
    views = best_views(windows, total)
    return np.stack([arrays[number][at - windows[number][0]] for at, number in enumerate(views)])  # type: ignore[no-any-return]
