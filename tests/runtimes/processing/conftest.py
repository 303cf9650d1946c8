"""Checkpoints that several tests share, each made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from . import small


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., small.Served]:
    """``served(task, head, **config)``: a small BERT with that head behind a task."""
    made: dict[Any, small.Served] = {}

    def make(task: str, head: str, **config: Any) -> small.Served:
        key = (task, head, repr(config))
        if key not in made:
            folder: Path = tmp_path_factory.mktemp("bert")
            small.wordpiece(folder)
            made[key] = small.Served(task, folder, small.bert(head, folder, **config))
        return made[key]

    return make


@pytest.fixture(scope="session")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., small.Served]:
    """``wav2vec2(task, head, norm)``: a small Wav2Vec2 behind a task; ``norm`` is its ``feat_extract_norm``."""
    made: dict[Any, small.Served] = {}

    def make(task: str, head: str, norm: str = "layer", **config: Any) -> small.Served:
        key = (task, head, norm, repr(config))
        if key not in made:
            folder: Path = tmp_path_factory.mktemp("wav2vec2")
            made[key] = small.Served(task, folder, small.wav2vec2(head, folder, norm, **config))
        return made[key]

    return make


@pytest.fixture
def pipeline() -> Callable[..., Any]:
    """Transformers' own pipeline of a served model."""

    def make(task: str, served: small.Served) -> Any:
        import transformers

        folder = str(served.processing.context.path)  # type: ignore[attr-defined]
        given: dict[str, Any] = {}
        if hasattr(served.processing, "tokenizer"):
            given["tokenizer"] = transformers.AutoTokenizer.from_pretrained(folder)
        if hasattr(served.processing, "extractor"):
            given["feature_extractor"] = transformers.AutoFeatureExtractor.from_pretrained(folder)
        return transformers.pipeline(task, model=served.model, device="cpu", **given)

    return make
