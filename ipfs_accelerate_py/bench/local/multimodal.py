"""Models that see and write: a conversation about a picture."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER
from ipfs_accelerate_py.runtimes.serving.jobs import Job

from .base import Figure, Sizes, Taken, Trial
from .inputs import picture, text
from .text_generation import written

__all__ = ["Multimodal"]


class Multimodal:
    """See `Kind`. Every message has a picture and a question, every answer the same number of tokens.

    ``preprocessing`` is what comes before the network: the picture is read, cut and normalised, the text made tokens.
    ``first token`` has that in it, and the network's reading of picture and text.
    """

    name: ClassVar[str] = "multimodal"
    tasks: ClassVar[tuple[str, ...]] = ("image-text-to-text",)
    figures: ClassVar[Mapping[str, Figure]] = {
        "tokens/s": Figure("tokens/s", HIGHER),
        "decode": Figure("tokens/s", HIGHER),
        "first token": Figure("s", LOWER),
        "preprocessing": Figure("s", LOWER),
        "between tokens, p50": Figure("s", LOWER),
        "between tokens, p99": Figure("s", LOWER),
        "answer": Figure("s", LOWER),
    }

    def __init__(self, servable: Any, task: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._servable, self._task, self._loop, self._clock = servable, task, loop, clock

    @staticmethod
    def trials(sizes: Sizes, task: str) -> list[Trial]:
        length = f"picture and {sizes.prompt} tokens"
        return [Trial(batch, sizes.prompt, length, {"tokens": sizes.tokens, "side": sizes.side})
                for batch in sizes.batches]  # fmt: skip

    def ask(self, trial: Trial, number: int) -> dict[str, Taken]:
        tokens, side = int(trial.parameters["tokens"]), int(trial.parameters["side"])
        options = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        asked = [_message(side, int(trial.size), 1000 * number + row) for row in range(trial.batch)]
        begun = self._clock()
        self._loop.run_until_complete(self._servable.run(Job(task="count", inputs=asked[0])))
        before = self._clock() - begun
        jobs = [Job(task="chat", inputs=messages, options=options) for messages in asked]
        found = written(self._servable, jobs, tokens, self._loop, self._clock)
        return {**found, "preprocessing": Taken(before)}


def _message(side: int, tokens: int, seed: int) -> list[dict[str, Any]]:
    url = "data:image/png;base64," + b64encode(picture(side, seed)).decode("ascii")
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text(tokens, seed)}]
    return [{"role": "user", "content": parts}]
