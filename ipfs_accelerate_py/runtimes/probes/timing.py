"""How long a pass takes, in turns with a fixed piece of arithmetic that says how fast the machine was just then."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["Clocks", "gauge", "time_passes"]

#: Passes of which the middle is taken: at least, and at most.
_LEAST, _MOST = 5, 40


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where time comes from: ``wall`` and the ``cpu`` time of this process with all its threads, both in seconds."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time


def gauge() -> Callable[[], Any]:
    """The fixed piece of arithmetic: about a millisecond of multiplying on one thread, in PyTorch."""
    torch = require("torch")
    one = torch.ones(192, 192)

    def work() -> Any:
        found = one
        for _ in range(6):
            found = (found @ one) * (1.0 / 192)
        return found

    work()
    return work


def time_passes(
    once: Callable[[], Any], *, seconds: float, measure: Callable[[], Any] | None = None, clocks: Clocks = Clocks()
) -> Mapping[str, float]:
    """Figures of repeated passes: ``latency_ms``, its quartiles, ``cpu_ms``, and ``gauge_ms`` with ``measure``.

    Two passes are not counted: memory is taken and kernels are chosen in them. Then 5 to 40 follow, no new one after
    ``seconds``; a pass that takes longer than that alone is measured once.

    Args:
        once: a pass, which ends with its answer there.
        measure: what `gauge` gives.
        clocks: of wall and processor.
    """
    begun = clocks.wall()
    once()
    if clocks.wall() - begun < seconds:
        once()
    walls: list[float] = []
    works: list[float] = []
    gauges: list[float] = []
    begun = clocks.wall()
    while len(walls) < _MOST:
        spent = clocks.wall() - begun
        if walls and spent >= seconds and (len(walls) >= _LEAST or spent >= 4 * seconds):
            break
        if measure is not None:
            start = clocks.cpu()
            measure()
            gauges.append(clocks.cpu() - start)
        start, work = clocks.wall(), clocks.cpu()
        once()
        walls.append(clocks.wall() - start)
        works.append(clocks.cpu() - work)
    low, _, high = statistics.quantiles(walls, n=4) if len(walls) > 1 else (walls[0],) * 3
    found = {
        "latency_ms": statistics.median(walls),
        "latency_low_ms": low,
        "latency_high_ms": high,
        "cpu_ms": statistics.median(works),
    }
    if gauges:
        found["gauge_ms"] = statistics.median(gauges)
    return {name: 1000 * value for name, value in found.items()}
