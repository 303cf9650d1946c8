"""Fixtures for the local runtimes: the real MiniLM, tiny models made from configs, and sentence-transformers beside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.runtimes.batching import BatchCutter
from ipfs_accelerate_py.runtimes.scheduler import BatchScheduler, Steps

from .plain_model import Model

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # Else tokenizers warns in every forked test process.


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real all-MiniLM-L6-v2."""
    from ipfs_accelerate_py.errors import RuntimeUnavailable
    from ipfs_accelerate_py.runtimes import find_model

    try:
        return find_model("all-MiniLM-L6-v2", environ={})
    except RuntimeUnavailable as exc:
        pytest.skip(str(exc))


@pytest.fixture
def load() -> Iterator[Callable[..., Any]]:
    """``EmbeddingRuntime.load``, with everything loaded closed at the end of the test."""
    pytest.importorskip("torch")
    from ipfs_accelerate_py.runtimes import EmbeddingRuntime

    loaded: list[EmbeddingRuntime] = []

    def load(path: Path, **settings: Any) -> EmbeddingRuntime:
        loaded.append(EmbeddingRuntime.load(path, **settings))
        return loaded[-1]

    yield load
    for runtime in loaded:
        runtime.close()


@pytest.fixture(scope="session")
def reference() -> Callable[..., Any]:
    """Vectors by sentence-transformers itself: ``reference(path, texts, **encode_options)``."""
    pytest.importorskip("sentence_transformers")
    import tqdm
    from sentence_transformers import SentenceTransformer

    # tqdm's monitor thread would outlive the test that happens to load a model first.
    tqdm.tqdm.monitor_interval = 0
    models: dict[Path, SentenceTransformer] = {}

    def encode(path: Path, texts: list[str], **options: Any) -> Any:
        if path not in models:
            # Folders that ask for bfloat16 are compared in float32, like everything else.
            models[path] = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": "float32"})
        return models[path].encode(texts, show_progress_bar=False, **options)

    return encode


@pytest.fixture(scope="session")
def transformer_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with a tiny transformer with random weights and its tokenizer: ``transformer_folder("bert")``."""
    pytest.importorskip("transformers")
    from . import tiny

    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny.transformer(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return make


@pytest.fixture
def model() -> Model:
    """One of plain functions, for `build`."""
    return Model()


@pytest.fixture
def build(model: Model) -> Iterator[Callable[..., BatchScheduler]]:
    """Batch schedulers of ``model``, closed at the end of the test."""
    built: list[BatchScheduler] = []

    def build(
        workers: int = 1, max_items: int = 100, finishers: int = 1, slice: int = 256, most_waiting: int | None = None,
        **settings: Any,
    ) -> BatchScheduler:  # fmt: skip
        steps = Steps(
            model.prepare, model.forward, model.collect, model.join, model.start, slice=slice, finishers=finishers,
            most_waiting=most_waiting,
        )  # fmt: skip
        cutter = BatchCutter(max_tokens=10**6, max_items=max_items, max_padding=10**6, workers=workers)
        built.append(BatchScheduler(steps, cutter, **settings))
        return built[-1]

    yield build
    model.gate.set()
    for scheduler in built:
        scheduler.close()
