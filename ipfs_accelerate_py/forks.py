"""Whether this process is a fork of the one that something was made in; to ask for the process id is a system call."""

from __future__ import annotations

import os

__all__ = ["generation"]

_generation = 0


def generation() -> int:
    """A number that differs in a forked child from what it was in its parent."""
    return _generation


def _forked() -> None:
    global _generation
    _generation += 1


os.register_at_fork(after_in_child=_forked)
