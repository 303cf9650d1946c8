"""Which differences between two runs are regressions that count."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.diff import KINDS, Change, Diff

__all__ = ["COUNTED", "regressions"]

#: Kinds of changes that count where nobody says. What vanished from the plan was taken out by whoever made the plan.
COUNTED = ("broke", "lost", "fails anew", "slowed", "more memory", "agrees less", "untested")


def regressions(
    diff: Diff, *, allow: Iterable[str] = (), kinds: Collection[str] = COUNTED
) -> tuple[list[Change], list[Change]]:
    """Changes that count, and those that would but are allowed.

    Args:
        diff: of the two runs.
        allow: patterns as of a shell, of a subject (``bert``, ``*_text``), of a cell
            (``bert/openvino/int8-weights/cpu``, ``*/llvm/*``), or either after a kind (``slowed:bert``).
        kinds: of `diff.KINDS`.

    Raises:
        ConfigurationError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigurationError(f"there is no kind of change {kind!r}: choose of {', '.join(KINDS)}")
    patterns = tuple(allow)
    counted: list[Change] = []
    allowed: list[Change] = []
    for change in diff.changes:
        if change.kind in kinds:
            (allowed if any(_fits(change, pattern) for pattern in patterns) else counted).append(change)
    return counted, allowed


def _fits(change: Change, pattern: str) -> bool:
    kind, colon, rest = pattern.partition(":")
    if colon and kind in KINDS:
        if kind != change.kind:
            return False
        pattern = rest
    return fnmatchcase(change.cell.subject, pattern) or fnmatchcase("/".join(change.cell), pattern)
