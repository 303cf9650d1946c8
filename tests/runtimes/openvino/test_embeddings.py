"""Sentence-transformers folders on OpenVINO, beside the same folders on PyTorch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.engines.openvino_careful import Unit, choose_units
from ipfs_accelerate_py.runtimes.engines.sizes import measure_weights
from ipfs_accelerate_py.runtimes.folder import read_folder
from ipfs_accelerate_py.runtimes.serving.embedding_head import EmbeddingHead
from ipfs_accelerate_py.runtimes.serving.jobs import Job
from ipfs_accelerate_py.runtimes.transformer_step import OpenVINOTransformer, source_of
from tests.runtimes import tiny as small

TEXTS = [*small.TEXTS, "fox and dog " * 5]
FLOAT = LoadPlan(runtime="openvino", precision="float32")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.transformer("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """Mean pooling that leaves the prompt's tokens out."""
    settings = {"prompts": {"query": "query : the "}, "default_prompt_name": None}
    return small.legacy(
        bert,
        tmp_path_factory.mktemp("prompted"),
        pooling={"pooling_mode_mean_tokens": True, "include_prompt": False},
        config_sentence_transformers=settings,
    )


def close(left: Any, right: Any) -> None:
    assert left.shape == right.shape
    assert np.abs(left - right).max() < 2e-5


def test_vectors_are_pytorchs_at_all_lengths(load: Any, cache: Path, prompted: Path) -> None:
    ours, theirs = load(prompted, plan=FLOAT), load(prompted, dtype="float32")
    assert (ours.engine, ours.dtype, ours.device) == ("openvino", "float32", "cpu")
    together = ours.embed_sync(TEXTS)
    expected = theirs.embed_sync(TEXTS)
    close(together.vectors, expected.vectors)
    assert together.tokens == expected.tokens
    for at, text in enumerate(TEXTS):
        close(ours.embed_sync([text]).vectors[0], together.vectors[at])


def test_a_prompts_tokens_are_left_out_of_pooling(load: Any, cache: Path, prompted: Path) -> None:
    ours, theirs = load(prompted, plan=FLOAT), load(prompted, dtype="float32")
    mixed = ours.embed_sync(TEXTS, prompt_name="query").vectors
    close(mixed, theirs.embed_sync(TEXTS, prompt_name="query").vectors)
    assert np.abs(mixed - ours.embed_sync(TEXTS).vectors).max() > 1e-3


def test_dense_layers_follow(load: Any, cache: Path, bert: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

    folder = small.modern(bert, tmp_path / "dense", Pooling(small.SIZE, "mean"), Dense(small.SIZE, 12), Normalize())
    ours = load(folder, plan=FLOAT)
    assert ours.dimensions == 12
    close(ours.embed_sync(TEXTS).vectors, load(folder, dtype="float32").embed_sync(TEXTS).vectors)


async def test_who_goes_away_does_not_disturb_the_others(load: Any, cache: Path, prompted: Path) -> None:
    runtime = load(prompted, plan=FLOAT, max_batch_items=1)
    expected = runtime.embed_sync
    whole = await asyncio.to_thread(expected, TEXTS)
    leaving = asyncio.ensure_future(runtime.embed(TEXTS * 40))
    staying = asyncio.ensure_future(runtime.embed(TEXTS))
    await asyncio.sleep(0)
    leaving.cancel()
    close((await staying).vectors, whole.vectors)
    assert leaving.cancelled()
    assert runtime.snapshot()["cancelled"] == 1
    assert runtime.snapshot()["queue"]["requests"] == 0


def test_eight_bits_for_as_many_layers_as_keep_the_vectors(load: Any, cache: Path, prompted: Path) -> None:
    exact = load(prompted, plan=FLOAT).embed_sync(TEXTS).vectors
    plan = LoadPlan(runtime="openvino", precision="int8-weights", options={"keep_cosine": 0.9999})
    careful = load(prompted, plan=plan)
    assert careful.loss.output == "sentence_embedding"
    assert careful.loss.least_cosine >= 0.9999
    assert "layers" in careful.loss.left
    found = careful.embed_sync(TEXTS).vectors
    assert 0 < np.abs(found - exact).max() < 0.05
    plain = load(prompted, plan=LoadPlan(runtime="openvino", precision="int8-weights"))
    assert plain.loss.left == ""
    assert plain.loss.least_cosine <= careful.loss.least_cosine


def test_where_no_layer_may_lose_anything_it_says_so(load: Any, cache: Path, prompted: Path) -> None:
    plan = LoadPlan(runtime="openvino", precision="int8-weights", options={"keep_cosine": 1.0})
    with pytest.raises(RuntimeUnavailable, match=r"8 bits with every cosine at least 1\.0"):
        load(prompted, plan=plan)


def test_those_that_save_most_for_what_they_cost_are_taken() -> None:
    cheap, large = Unit(("a",), 10, cost=1e-5), Unit(("b",), 1000, cost=3e-4)
    dear, small_and_dear = Unit(("c",), 1000, cost=5e-3), Unit(("d",), 10, cost=6e-4)
    taken, rest = choose_units([dear, small_and_dear, large, cheap], allowed=8e-4)
    assert taken == [large, cheap]
    assert rest == [dear, small_and_dear]


def test_batches_run_side_by_side_unless_the_plan_says_otherwise(load: Any, cache: Path, prompted: Path) -> None:
    whole = load(prompted, plan=FLOAT, threads=2, max_batch_items=1).embed_sync(TEXTS * 10).vectors
    given = LoadPlan(runtime="openvino", precision="float32", options={"hint": "latency"})
    close(whole, load(prompted, plan=given, threads=2).embed_sync(TEXTS * 10).vectors)
    assert OpenVINOTransformer(read_folder(prompted), LoadPlan(threads=2)).streams == 2
    assert OpenVINOTransformer(read_folder(prompted), replace(given, threads=2)).streams == 1


def test_how_many_activations_share_a_scale_is_kept_with_the_graph(load: Any, cache: Path, prompted: Path) -> None:
    plan = LoadPlan(runtime="openvino", precision="int8-weights", options={"group": 128})
    assert load(prompted, plan=plan).loss.least_cosine > 0.99
    for wrong in (replace(plan, options={"group": 7}), replace(plan, precision="int8")):
        with pytest.raises(ConfigurationError, match="group is one of 32, 64, 128"):
            load(prompted, plan=wrong)


async def test_an_embedding_models_runtime_is_chosen_by_trial(cache: Path, prompted: Path) -> None:
    head = EmbeddingHead("prompted", prompted, LoadPlan(options={"trial": True}))
    try:
        assert head.described.runtime in ("torch", "openvino")
        assert list((cache / "choices").iterdir())
        done = await head.run("sentence-similarity", Job(task="sentence-similarity", inputs=["the fox"]))
        assert len(done.results) == 1
    finally:
        head.close()


def test_an_embedding_model_is_made_to_fit_its_memory(cache: Path, prompted: Path) -> None:
    source, _ = source_of(read_folder(prompted))
    weights = measure_weights(source.path)
    head = EmbeddingHead("prompted", prompted, LoadPlan(memory=2 * weights.at("float32")))
    assert (head.described.runtime, head.described.precision) == ("torch", "float32")
    head.close()
    with pytest.raises(RuntimeUnavailable, match="does not fit into"):
        EmbeddingHead("prompted", prompted, LoadPlan(memory=weights.at("int4") // 2))
