"""Models that see: milliseconds for a query, which is a picture, or a picture and the texts that may fit it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER
from ipfs_accelerate_py.runtimes.serving.jobs import Job

from .base import Figure, Sizes, Taken, Trial
from .inputs import picture

__all__ = ["Vision"]

#: A query of image and text has so many texts.
LABELS = ("a photo of a cat", "a photo of a dog", "a house by the sea", "two people in the city")
_CALLS = 4


class Vision:
    """See `Kind`. A turn is several calls of a batch each; decoding the pictures (PNG) is in the time."""

    name: ClassVar[str] = "vision"
    tasks: ClassVar[tuple[str, ...]] = (
        *("zero-shot-image-classification", "image-classification", "image-feature-extraction"),
        *("object-detection", "depth-estimation", "image-segmentation"),
    )
    figures: ClassVar[Mapping[str, Figure]] = {
        "query": Figure("ms", LOWER),
        "queries/s": Figure("queries/s", HIGHER),
    }

    def __init__(self, servable: Any, task: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._servable, self._task, self._loop, self._clock = servable, task, loop, clock

    @staticmethod
    def trials(sizes: Sizes, task: str) -> list[Trial]:
        also: dict[str, str | float] = {"texts": len(LABELS)} if task.startswith("zero-shot") else {}
        return [Trial(batch, sizes.side, f"{sizes.side} x {sizes.side}", also) for batch in sizes.batches]

    def ask(self, trial: Trial, number: int) -> dict[str, Taken]:
        seconds = []
        for call in range(_CALLS):
            first = (_CALLS * number + call) * trial.batch
            seen: list[Any] = [picture(int(trial.size), first + row) for row in range(trial.batch)]
            if "texts" in trial.parameters:
                seen = [{"image": each, "candidate_labels": list(LABELS)} for each in seen]
            begun = self._clock()
            self._loop.run_until_complete(self._servable.run(Job(task=self._task, inputs=seen)))
            seconds.append(self._clock() - begun)
        queries = _CALLS * trial.batch
        each_ms = [1000 * took / trial.batch for took in seconds]
        return {"query": Taken(1000 * sum(seconds) / queries, each_ms), "queries/s": Taken(queries / sum(seconds))}
