"""Where a call goes after an error: read off the error's kind, never off its words."""

from __future__ import annotations

import enum

from ipfs_accelerate_py.errors import (
    AccelerateError,
    BudgetExceeded,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
)

__all__ = ["Move", "move", "told"]


class Move(enum.Enum):
    """What a router does about an error of a target."""

    STOP = "stop"
    NEXT = "next"
    LARGER = "larger"
    POLICY = "policy"


def move(error: AccelerateError, *, first: bool) -> Move:
    """Whether another target may do better. ``first`` says that nobody else has failed before.

    A request that the first target calls wrong is wrong. Where a fallback says so, the first target's failure stands,
    and the next fallback may understand it. What was refused before it was sent (by us, for want of a counterpart, a
    key or a package) says nothing of others.
    """
    if isinstance(error, ContextLengthExceeded):
        return Move.LARGER
    if isinstance(error, ContentFiltered):
        return Move.POLICY
    if isinstance(error, ModelNotFound):
        return Move.NEXT
    if isinstance(error, InvalidRequest):
        return Move.STOP if first and error.backend is not None else Move.NEXT
    if isinstance(error, BudgetExceeded):
        return Move.STOP
    return Move.NEXT


def told(name: str, error: AccelerateError) -> str:
    """An error of the target ``name`` in a few words: its kind and status, nothing of what was asked or answered."""
    status = getattr(error, "status", None)
    return f"{name}: {type(error).__name__}" + (f" ({status})" if status is not None else "")
