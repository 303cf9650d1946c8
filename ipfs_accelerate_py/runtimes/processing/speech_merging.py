"""Overlapping windows' texts put together: at the words on which both agree."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["merge_overlapping"]


def merge_overlapping(parts: Sequence[Sequence[int]]) -> list[int]:
    """Token lists of windows that overlap, as one: the end of each laid over the beginning of the next where most
    tokens agree, and the cut in the middle of what agrees. Without agreement they are put one after the other.
    """
    whole = list(parts[0]) if parts else []
    for part in parts[1:]:
        left, right = _seam(whole, list(part))
        whole = [*whole[:left], *part[right:]]
    return whole


def _seam(before: list[int], after: list[int]) -> tuple[int, int]:
    """Where to end the one and begin the other."""
    best, seam = 0.0, (len(before), 0)
    for size in range(1, min(len(before), len(after)) + 1):
        tail, head = before[-size:], after[:size]
        same = sum(one == other for one, other in zip(tail, head, strict=True))
        # Long agreements are worth a little more than short ones of the same share; one token alone proves nothing.
        score = same / size + size / 10_000
        if same > 1 and score > best:
            best, seam = score, (len(before) - size + size // 2, size // 2)
    return seam
