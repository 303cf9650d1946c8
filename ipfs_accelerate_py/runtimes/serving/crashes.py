"""What a worker's end says, and when to stop starting another."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from ipfs_accelerate_py.errors import MemoryExhausted, RuntimeUnavailable, WorkerLost

__all__ = ["STARVED", "Crashes", "describe_end"]

#: The exit status of a worker in which memory ran out outside of any one call, so that it cannot answer any more.
STARVED = 77

# Crashes in a row after which a model rests, and for how long then; twice as long after every further one.
_TOLERATED = 3
_FIRST_REST = 5.0
_LONGEST_REST = 300.0


class Crashes:
    """Counts those in a row. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._row = 0
        self._until = 0.0
        #: Since the model was first loaded.
        self.total = 0

    def note(self) -> None:
        """One more."""
        self.total += 1
        self._row += 1
        if self._row >= _TOLERATED:
            rest = min(_LONGEST_REST, _FIRST_REST * 2 ** (self._row - _TOLERATED))
            self._until = self._clock() + rest

    def answered(self) -> None:
        """A call went well."""
        self._row = 0

    def check(self, name: str) -> None:
        """Raise `RuntimeUnavailable` while the model rests, with the seconds left in ``retry_after``."""
        left = self._until - self._clock()
        if self._row >= _TOLERATED and left > 0:
            raise RuntimeUnavailable(
                f"model {name!r} has crashed {self._row} times in a row and is not started again for {left:.0f} s",
                retry_after=left,
            )


def describe_end(name: str, status: int, starved: bool, capped: bool = False) -> RuntimeUnavailable:
    """The error for calls that a worker had when it ended.

    Args:
        status: as ``os.waitpid`` has it; -1 where nobody saw it.
        starved: whether the kernel has ended a process for want of memory meanwhile.
        capped: whether it was ended for standing at the limit of its own memory.
    """
    if capped or (status > 0 and not os.WIFSIGNALED(status) and os.WEXITSTATUS(status) == STARVED):
        return MemoryExhausted(f"the process of model {name!r} has used up the memory that it may have")
    how = "ended"
    if status >= 0 and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGKILL and starved:
            return MemoryExhausted(f"the process of model {name!r} was ended because the machine has no memory left")
        how = f"was ended by {signal.Signals(number).name}"
    elif status > 0:
        how = f"ended with status {os.WEXITSTATUS(status)}"
    return WorkerLost(f"the process of model {name!r} {how}")
