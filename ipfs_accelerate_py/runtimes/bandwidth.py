"""How fast this machine reads memory: what bounds a model that writes, since each step reads all its weights."""

from __future__ import annotations

import time
from collections.abc import Callable

from .extras import require

__all__ = ["Bandwidth"]


class Bandwidth:
    """Bytes a second that so many threads read together: a sum over much more than caches hold, the best of some.

    Args:
        threads: of PyTorch's, which reads.
        size: bytes that are summed.
        times: how often; the fastest counts.
        clock: in seconds.
    """

    def __init__(
        self, threads: int, size: int = 1 << 29, times: int = 4, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._torch, self._threads, self._times, self._clock = require("torch"), threads, times, clock
        self._much = self._torch.ones(size // 4, dtype=self._torch.float32)

    def __call__(self) -> float:
        self._torch.set_num_threads(self._threads)
        took = []
        for _ in range(self._times):
            begun = self._clock()
            self._much.sum()
            took.append(self._clock() - begun)
        return float(self._much.numel() * 4 / min(took))
