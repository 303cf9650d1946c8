"""Models that write down what is said: seconds of recording in a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ipfs_accelerate_py.bench.measurement import HIGHER, LOWER
from ipfs_accelerate_py.runtimes.serving.jobs import Job

from .base import Figure, Sizes, Taken, Trial
from .inputs import recording

__all__ = ["Audio"]

#: Tokens that a model that writes has for a window of 30 s: 150 words a minute, as people read aloud, and four tokens
#: for three words.
WINDOW_TOKENS = 100


class Audio:
    """See `Kind`. One call a turn; a model that writes has `WINDOW_TOKENS` for each window at most, and one of random
    weights writes so many.

    ``real time`` is seconds of sound that are written down in a second; ``recording`` the seconds for a whole batch.
    """

    name: ClassVar[str] = "audio"
    tasks: ClassVar[tuple[str, ...]] = ("automatic-speech-recognition",)
    figures: ClassVar[Mapping[str, Figure]] = {
        "real time": Figure("x", HIGHER),
        "recording": Figure("s", LOWER),
        "tokens": Figure("count", ""),
    }

    def __init__(self, servable: Any, task: str, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._servable, self._task, self._loop, self._clock = servable, task, loop, clock

    @staticmethod
    def trials(sizes: Sizes, task: str) -> list[Trial]:
        return [Trial(batch, sizes.seconds, f"{sizes.seconds:g} s") for batch in sizes.batches]

    def ask(self, trial: Trial, number: int) -> dict[str, Taken]:
        sounds = [recording(trial.size, 100 * number + row) for row in range(trial.batch)]
        writes = self._servable.facts.model_type not in ("", "gguf") and _writes(self._servable)
        options = {"max_tokens": WINDOW_TOKENS, "language": "en"} if writes else {}
        job = Job(task=self._task, inputs=sounds, options=options)
        begun = self._clock()
        done = self._loop.run_until_complete(self._servable.run(job))
        seconds = self._clock() - begun
        found = {"real time": Taken(trial.batch * trial.size / seconds), "recording": Taken(seconds)}
        if done.output_tokens:
            found["tokens"] = Taken(done.output_tokens / trial.batch)
        return found


def _writes(servable: Any) -> bool:
    """Whether it is a model that writes (Whisper), which its head's counters tell: others count no tokens."""
    return any(key.startswith("AutoModelForSpeechSeq2Seq") for key in servable.snapshot())
