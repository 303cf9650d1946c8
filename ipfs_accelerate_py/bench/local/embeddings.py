"""Models that make vectors of texts: sentences a second, by length and batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER
from ipfs_accelerate_py.runtimes.serving.jobs import Job

from .base import Figure, Sizes, Taken, Trial
from .inputs import text

__all__ = ["Embeddings"]

#: Calls of one turn: at least so many texts are embedded in it.
_TEXTS = 32


class Embeddings:
    """See `Kind`. A turn is several calls of a batch each, one after the other."""

    name: ClassVar[str] = "embeddings"
    tasks: ClassVar[tuple[str, ...]] = ("sentence-similarity", "feature-extraction")
    figures: ClassVar[Mapping[str, Figure]] = {
        "sentences/s": Figure("sentences/s", HIGHER),
        "sentence": Figure("ms", LOWER),
        "tokens/s": Figure("tokens/s", HIGHER),
        "dimensions": Figure("count", ""),
    }

    def __init__(self, servable: Any, task: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._servable, self._task, self._loop, self._clock = servable, task, loop, clock

    @staticmethod
    def trials(sizes: Sizes, task: str) -> list[Trial]:
        return [Trial(batch, length, f"{length} tokens") for length in sizes.lengths for batch in sizes.batches]

    def ask(self, trial: Trial, number: int) -> dict[str, Taken]:
        calls = max(3, -(-_TEXTS // trial.batch))
        seconds, tokens, dimensions = [], 0, 0
        for call in range(calls):
            seed = (number * calls + call) * trial.batch
            texts = [text(int(trial.size), seed + row) for row in range(trial.batch)]
            begun = self._clock()
            done = self._loop.run_until_complete(self._servable.run(Job(task=self._task, inputs=texts)))
            seconds.append(self._clock() - begun)
            tokens += sum(done.input_tokens)
            dimensions = _dimensions(done.results[0])
        whole, count = sum(seconds), calls * trial.batch
        found = {
            "sentences/s": Taken(count / whole, seconds),
            "sentence": Taken(1000 * whole / count),
            "dimensions": Taken(dimensions),
        }
        if tokens:
            found["tokens/s"] = Taken(tokens / whole)
        return found


def _dimensions(result: Any) -> int:
    values = getattr(result, "values", None)
    return len(values) if isinstance(values, list) else 0
