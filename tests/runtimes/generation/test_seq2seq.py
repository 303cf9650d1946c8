"""Encoder-decoders write for many at once what they write alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("torch")

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.generation.base import Prompt, Sampling

from . import models


def features(kind: str, rng: random.Random) -> dict[str, Any]:
    import numpy as np

    numbers = np.random.default_rng(rng.randrange(1 << 30))
    if kind == "whisper":
        config = models.model(kind).config
        shape = (config.num_mel_bins, 2 * config.max_source_positions)
        return {"input_features": numbers.standard_normal(shape).astype(np.float32)}
    if kind == "speech_to_text":
        size = models.model(kind).config.input_feat_per_channel
        return {"input_features": numbers.standard_normal((rng.choice([20, 33]), size)).astype(np.float32)}
    return {"input_ids": np.array([rng.randrange(100, 400) for _ in range(rng.choice([2, 5, 9]))])}


@pytest.mark.parametrize(
    ("kind", "together"),
    [
        *(
            (kind, True)
            for kind in ("t5", "bart", "marian", "mbart", "m2m_100", "pegasus", "whisper", "speech_to_text")
        ),
        *((kind, False) for kind in ("led", "prophetnet")),
    ],
)
def test_rows_that_join_and_leave_at_any_step_get_what_they_get_alone(kind: str, together: bool) -> None:
    rng = random.Random(5)
    writer = models.batcher(kind, piece=64)
    given = [features(kind, rng) for _ in range(5)]
    counts = [rng.choice([1, 3, 8]) for _ in given]
    heard: list[models.Heard] = []
    while len(heard) < len(given) or writer.turn():
        if len(heard) < len(given) and rng.random() < 0.5:
            heard.append(models.Heard())
            prompt = Prompt(features=given[len(heard) - 1])
            writer.submit(prompt, models.greedy(kind, counts[len(heard) - 1]), heard[-1])
    assert models.steps(kind).together is together, models.steps(kind).manner
    for each, count, got in zip(given, counts, heard, strict=True):
        assert got.ids == models.expected(kind, count, **each)
    assert writer.snapshot()["rows"] == 0


def test_a_decoder_may_begin_with_more_than_its_start() -> None:
    import numpy as np

    rng = random.Random(1)
    writer = models.batcher("bart")
    start = models.model("bart").generation_config.decoder_start_token_id
    prompts = [[start, 120], [start], [start, 130, 140]]
    given = [features("bart", rng) for _ in prompts]
    heard = [models.Heard() for _ in prompts]
    for ids, each, told in zip(prompts, given, heard, strict=True):
        writer.submit(Prompt(ids=ids, features=each), models.greedy("bart", 5), told)
    models.finish(writer)
    for ids, each, told in zip(prompts, given, heard, strict=True):
        wanted = models.expected("bart", 5, **each, decoder_input_ids=np.array(ids))
        assert told.ids == wanted


def test_where_a_checkpoint_has_no_start_an_answer_begins_as_its_prompt_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers puts the start that it is told before any other first token."""
    import torch

    from ipfs_accelerate_py.runtimes.generation.preparing import prepare

    model = models.model("t5")
    given = {"input_ids": torch.tensor([[120, 130]])}
    for name in ("decoder_start_token_id", "bos_token_id"):
        monkeypatch.setattr(model.generation_config, name, None)
    with torch.inference_mode():
        assert prepare(model, torch.tensor([[7, 9]]), given)[1].tolist() == [[7, 9]]
        assert prepare(model, None, given)[1].tolist() == [[model.generation_config.pad_token_id]]


def test_nothing_for_its_encoder() -> None:
    with pytest.raises(InvalidRequest, match="encoder"):
        models.ask(models.batcher("t5"), [100], Sampling())
