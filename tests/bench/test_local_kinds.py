"""Each kind of model by the real way, in this process; and the arithmetic with a clock of our own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.bench.local import KINDS, kind_of
from ipfs_accelerate_py.bench.local.base import Sizes, Trial
from ipfs_accelerate_py.bench.local.embeddings import Embeddings
from ipfs_accelerate_py.bench.local.text_generation import TextGeneration
from ipfs_accelerate_py.bench.worker import Worker
from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Vector
from ipfs_accelerate_py.runtimes.serving.jobs import Done, Job
from ipfs_accelerate_py.types import Chunk, Usage

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SIZES = Sizes(batches=(2,), tokens=4, prompt=6, lengths=(8,), seconds=1.0, side=32)
#: Type of a tiny model, its class, its task, and figures that it must have.
MODELS = (
    ("gpt2", "AutoModelForCausalLM", "text-generation", {"tokens/s", "first token", "decode", "between tokens, p99"}),
    ("t5", "AutoModelForSeq2SeqLM", "text2text-generation", {"tokens/s", "answer"}),
    ("bert", "AutoModel", "sentence-similarity", {"sentences/s", "sentence", "dimensions"}),
    ("wav2vec2", "AutoModelForCTC", "automatic-speech-recognition", {"real time", "recording"}),
    ("whisper", "AutoModelForSpeechSeq2Seq", "automatic-speech-recognition", {"real time", "recording", "tokens"}),
    ("vit", "AutoModelForImageClassification", "image-classification", {"query", "queries/s"}),
    ("clip", "AutoModelForZeroShotImageClassification", "zero-shot-image-classification", {"query", "queries/s"}),
    ("llava", "AutoModelForImageTextToText", "image-text-to-text", {"tokens/s", "preprocessing", "first token"}),
)


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


@pytest.mark.parametrize(("model_type", "auto", "task", "wanted"), MODELS, ids=[each[0] for each in MODELS])
def test_a_tiny_model_of_each_kind(
    tmp_path: Path, worker: Worker, model_type: str, auto: str, task: str, wanted: set[str]
) -> None:
    pytest.importorskip("torch")
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    kind = kind_of(task)
    assert kind is not None
    (trial,) = kind.trials(SIZES, task)
    facts = worker.answer(
        {
            "do": "open",
            "name": "m",
            "path": str(write_tiny(model_type, tmp_path, auto=auto)),
            "kind": kind.name,
            "task": task,
            "runtime": "torch",
            "precision": "float32",
            "device": "cpu",
            "threads": 1,
            "force": False,
        }
    )
    assert facts.get("precision") == "float32", facts
    question = {"batch": trial.batch, "size": trial.size, "length": trial.length, "parameters": dict(trial.parameters)}
    found = worker.answer({"do": "ask", "trial": question, "number": 1})
    assert wanted <= set(found.get("figures", ())) <= set(kind.figures), found
    assert all(value > 0 for value, _ in found["figures"].values())
    assert found["memory"]["process memory"] > found["memory"]["model memory"] >= 0


def test_what_cannot_be_is_told_apart_from_what_fails(tmp_path: Path, worker: Worker) -> None:
    pytest.importorskip("torch")
    request = {
        "do": "open",
        "name": "m",
        "path": str(tmp_path),
        "kind": "vision",
        "task": "image-classification",
        "runtime": "torch",
        "precision": "float32",
        "device": "cpu",
        "threads": 1,
        "force": False,
    }
    assert worker.answer(request)["outcome"] == "skipped"
    answer = worker.answer({"do": "ask", "trial": {}, "number": 1})
    assert answer["outcome"] == "failed"
    assert answer["reason"].startswith("AttributeError: ")


class _Clock:
    """Goes on when somebody works."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class _Slow:
    """A servable whose first token takes 2 s and each later one 0.5 s; a vector takes a quarter."""

    def __init__(self, clock: _Clock, short: int = 0) -> None:
        self.clock, self.short = clock, short

    async def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        count = job.options["max_tokens"] - self.short
        for at in range(count):
            self.clock.now += 0.5 if at else 2.0
            last = at == count - 1
            yield Chunk(text="x", usage=Usage(output_tokens=count, reported=True) if last else None)

    async def run(self, job: Job) -> Done:
        self.clock.now += 0.25 * len(job.inputs)
        return Done(results=[Vector([0.0] * 5) for _ in job.inputs], input_tokens=[7 for _ in job.inputs])


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def test_tokens_are_counted_from_the_prompt_and_from_the_first(loop: asyncio.AbstractEventLoop) -> None:
    clock = _Clock()
    kind = TextGeneration(_Slow(clock), "text-generation", loop, clock)
    found = kind.ask(Trial(1, 8, "8 tokens", {"tokens": 5}), 1)
    assert found["tokens/s"].value == 5 / 4
    assert found["decode"].value == 2
    assert found["first token"].value == 2
    assert found["answer"].value == 4
    assert list(found["between tokens, p50"].raw) == [0.5] * 4
    assert found["between tokens, p99"].value == 0.5


class _Holding(_Slow):
    """Shows nothing before the end."""

    async def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        async for chunk in super().stream(job):
            if chunk.usage is not None:
                yield chunk


def test_where_text_is_held_back_nothing_is_said_of_single_tokens(loop: asyncio.AbstractEventLoop) -> None:
    clock = _Clock()
    kind = TextGeneration(_Holding(clock), "text-generation", loop, clock)
    found = kind.ask(Trial(1, 8, "8 tokens", {"tokens": 5}), 1)
    assert set(found) == {"tokens/s", "answer"}
    assert found["answer"].value == 4.0
    assert found["tokens/s"].value == 1.25


def test_an_answer_of_another_length_is_no_measurement(loop: asyncio.AbstractEventLoop) -> None:
    clock = _Clock()
    kind = TextGeneration(_Slow(clock, short=1), "text-generation", loop, clock)
    with pytest.raises(RuntimeUnavailable, match="has 4 tokens, and 5 were asked for"):
        kind.ask(Trial(1, 8, "8 tokens", {"tokens": 5}), 1)


def test_sentences_a_second(loop: asyncio.AbstractEventLoop) -> None:
    clock = _Clock()
    found = Embeddings(_Slow(clock), "sentence-similarity", loop, clock).ask(Trial(8, 16, "16 tokens"), 1)
    assert found["sentences/s"].value == 4
    assert found["sentence"].value == 250
    assert found["tokens/s"].value == 28
    assert found["dimensions"].value == 5


def test_other_turns_get_other_inputs() -> None:
    from ipfs_accelerate_py.bench.local.inputs import numbers, picture, recording, text

    for make in (lambda seed: numbers(9, seed), lambda seed: text(9, seed), lambda seed: picture(8, seed),
                 lambda seed: recording(0.1, seed)):  # fmt: skip
        made: Any = make
        assert made(1) == made(1) != made(2)


def test_every_task_has_one_kind() -> None:
    tasks = [task for kind in KINDS.values() for task in kind.tasks]
    assert len(tasks) == len(set(tasks))
    assert kind_of("text-to-audio") is None
