"""Models that write: how soon, how evenly, how fast, and how near to what the memory allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, ClassVar

from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER, quantile
from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.serving.jobs import Job

from .base import Figure, Sizes, Taken, Trial
from .inputs import numbers

__all__ = ["TextGeneration", "written"]


class TextGeneration:
    """See `Kind`. Every answer has the same number of tokens, greedily, whatever is written; each is a stream.

    ``tokens/s`` counts everything from the prompts to the last token; ``decode`` what comes after the first token;
    ``steps/s`` are the same in steps, each of which writes a token of every answer.
    """

    name: ClassVar[str] = "text-generation"
    tasks: ClassVar[tuple[str, ...]] = ("text-generation", "text2text-generation", "summarization", "translation")
    figures: ClassVar[Mapping[str, Figure]] = {
        "tokens/s": Figure("tokens/s", HIGHER),
        "decode": Figure("tokens/s", HIGHER),
        "first token": Figure("s", LOWER),
        "between tokens, p50": Figure("s", LOWER),
        "between tokens, p99": Figure("s", LOWER),
        "answer": Figure("s", LOWER),
        "bandwidth bound": Figure("share", HIGHER),
    }

    def __init__(self, servable: Any, task: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._servable, self._task, self._loop, self._clock = servable, task, loop, clock

    @staticmethod
    def trials(sizes: Sizes, task: str) -> list[Trial]:
        return [
            Trial(batch, sizes.prompt, f"{sizes.prompt} tokens", {"tokens": sizes.tokens}) for batch in sizes.batches
        ]

    def ask(self, trial: Trial, number: int) -> dict[str, Taken]:
        prompts = [numbers(int(trial.size), 1000 * number + row) for row in range(trial.batch)]
        tokens = int(trial.parameters["tokens"])
        options = {"max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        jobs = [Job(task="completion", inputs=[prompt], options=options) for prompt in prompts]
        return written(self._servable, jobs, tokens, self._loop, self._clock)


def written(
    servable: Any, jobs: list[Job], tokens: int, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]
) -> dict[str, Taken]:
    """Figures of answers that are streamed side by side, each of so many tokens.

    Raises:
        RuntimeUnavailable: an answer was shorter or longer, so it would be measured with another measure.
    """
    begun = clock()
    streams = loop.run_until_complete(_all(servable, jobs, clock))
    first = [times[0] - begun for times, _ in streams]
    last = [times[-1] - begun for times, _ in streams]
    for _, count in streams:
        if count != tokens:
            raise RuntimeUnavailable(f"an answer has {count} tokens, and {tokens} were asked for")
    if tokens > 2 and min(len(times) for times, _ in streams) < tokens / 2:
        # What is written is held back (half a character, a beginning of what may be a tool's call): when pieces came
        # says nothing about when tokens did.
        return {"tokens/s": Taken(len(jobs) * tokens / max(last)), "answer": Taken(quantile(last, 0.5), last)}
    gaps = [late - soon for times, _ in streams for soon, late in pairwise(times)]
    found = {
        "tokens/s": Taken(len(jobs) * tokens / max(last)),
        "first token": Taken(quantile(first, 0.5), first),
        "answer": Taken(quantile(last, 0.5), last),
    }
    if gaps and (decoding := max(last) - min(first)) > 0:
        found["decode"] = Taken(len(jobs) * (tokens - 1) / decoding)
        found["between tokens, p50"] = Taken(quantile(gaps, 0.5), gaps)
        found["between tokens, p99"] = Taken(quantile(gaps, 0.99))
    return found


async def _all(servable: Any, jobs: list[Job], clock: Callable[[], float]) -> list[tuple[list[float], int]]:
    return list(await asyncio.gather(*(_one(servable, job, clock) for job in jobs)))


async def _one(servable: Any, job: Job, clock: Callable[[], float]) -> tuple[list[float], int]:
    """When each piece came, and how many tokens it were in all."""
    times: list[float] = []
    count = 0
    async for chunk in servable.stream(job):
        if chunk.usage is not None:
            count = chunk.usage.output_tokens
        if chunk.text or not times:
            times.append(clock())
        last = clock()
    if last > times[-1]:  # the end of an answer whose last token shows nothing
        times.append(last)
    return times, count
