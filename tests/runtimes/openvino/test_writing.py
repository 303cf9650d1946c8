"""Decoders on OpenVINO write what torch writes, alone and beside others; encoders read for decoders on torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.engines.loading import load_model
from ipfs_accelerate_py.runtimes.engines.openvino_devices import core
from ipfs_accelerate_py.runtimes.engines.openvino_engine import OpenVINOEngine
from ipfs_accelerate_py.runtimes.engines.openvino_hybrid import HybridNetwork
from ipfs_accelerate_py.runtimes.engines.openvino_writing import EXACT, WritingNetwork, compile_steps
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.samples import as_tensors, fit_sampler
from ipfs_accelerate_py.runtimes.generation.base import Prompt

from .conftest import Open

PLAN = LoadPlan(runtime="openvino", precision="float32")


@pytest.fixture(scope="module")
def network(tiny: Open) -> WritingNetwork:
    source, spec = tiny("gpt2", "AutoModelForCausalLM", "text-generation")
    found = OpenVINOEngine().load(source, spec, PLAN)
    assert isinstance(found, WritingNetwork)
    return found


def _expected(tiny: Open, ids: list[int]) -> np.ndarray:
    torch = require("torch")
    source, _ = tiny("gpt2", "AutoModelForCausalLM", "text-generation")
    with torch.no_grad():
        logits: np.ndarray = load_model(source, "float32")(torch.tensor([ids])).logits[0, -1].numpy()
    return logits


def test_rows_that_join_and_leave_get_what_torch_gives(tiny: Open, network: WritingNetwork) -> None:
    steps = network.steps()
    assert steps.together
    long, short = list(range(100, 140)), [200, 201]
    one, two = steps.open(Prompt(ids=list(long))), steps.open(Prompt(ids=list(short)))
    # A prompt longer than a piece and than a block, beside one that is read at once.
    first = [steps.prefill([one, two], 30)[0]]
    while first[-1] is None:
        first.append(steps.prefill([one], 30)[0])
    np.testing.assert_allclose(first[-1], _expected(tiny, long), atol=1e-4)
    while two.length < 2:
        steps.prefill([two], 30)
    got = steps.step([one, two], [7, 8]).copy()
    np.testing.assert_allclose(got[0], _expected(tiny, [*long, 7]), atol=1e-4)
    np.testing.assert_allclose(got[1], _expected(tiny, [*short, 8]), atol=1e-4)
    steps.release(one)
    three = steps.open(Prompt(ids=[300, 301, 302]))
    steps.prefill([three], 30)
    got = steps.step([three, two], [9, 10]).copy()
    np.testing.assert_allclose(got[0], _expected(tiny, [300, 301, 302, 9]), atol=1e-4)
    np.testing.assert_allclose(got[1], _expected(tiny, [*short, 8, 10]), atol=1e-4)
    free = steps.snapshot()["blocks_free"]
    steps.release(two)
    steps.release(two)
    steps.release(three)
    assert steps.snapshot()["blocks_free"] == int(str(free)) + 2
    assert steps.snapshot()["rows"] == 0


def test_more_rows_than_there_are_blocks(tiny: Open, network: WritingNetwork) -> None:
    steps = network.steps()
    rows = [steps.open(Prompt(ids=[100 + at])) for at in range(70)]
    steps.prefill(rows, 1000)
    got = steps.step([rows[0], rows[69]], [5, 6]).copy()
    np.testing.assert_allclose(got[0], _expected(tiny, [100, 5]), atol=1e-4)
    np.testing.assert_allclose(got[1], _expected(tiny, [169, 6]), atol=1e-4)
    for row in rows:
        steps.release(row)


def test_prompts_that_it_cannot_read(network: WritingNetwork) -> None:
    with pytest.raises(InvalidRequest):
        network.steps().open(Prompt(ids=[10**6]))
    with pytest.raises(InvalidRequest):
        network.steps().open(Prompt(ids=[1], features={"pixel_values": np.zeros(3)}))


def test_smaller_weights_say_what_they_cost(tiny: Open) -> None:
    source, spec = tiny("gpt2", "AutoModelForCausalLM", "text-generation")
    found = OpenVINOEngine().load(source, spec, LoadPlan(precision="int8-weights"))
    assert isinstance(found, WritingNetwork)
    assert found.loss is not None
    assert found.loss.perplexity is not None
    assert 1.0 <= found.loss.perplexity < 1.1


def test_an_encoder_reads_on_openvino_for_a_decoder_on_torch(tiny: Open) -> None:
    torch = require("torch")
    source, spec = tiny("t5", "AutoModelForSeq2SeqLM", "text2text-generation")
    plan = LoadPlan(runtime="openvino", precision="float32", options={"trace_first": True})
    found = OpenVINOEngine().load(source, spec, plan)
    assert isinstance(found, HybridNetwork)
    model = load_model(source, "float32")
    batch = {name: value for name, value in fit_sampler(model).batch(3, 2).items() if not name.startswith("decoder")}
    options = {"max_new_tokens": 5, "do_sample": False, "min_new_tokens": 5, "decoder_start_token_id": 0}
    with torch.no_grad():
        expected = model.generate(**as_tensors(batch), **options)
        got = found.model.generate(**as_tensors(batch), **options)
    assert got.tolist() == expected.tolist()
    assert found.readers["encoder"].passes["openvino"] == 1
    found.close()


def test_a_request_for_each_sequence_gets_what_torch_gives(tiny: Open, network: WritingNetwork, cache: Path) -> None:
    """What runs where attention cannot be paged: rows of other lengths, and one that takes over a request."""
    source, _ = tiny("gpt2", "AutoModelForCausalLM", "text-generation")
    graph = core().read_model(str(next(cache.rglob(network.facts["key"])) / "graph.xml"))
    steps = compile_steps(graph, source.config, "CPU", EXACT, paged=False, reason="to see")
    assert not steps.together
    assert steps.manner.endswith("to see")
    one, two = steps.open(Prompt(ids=[100, 101, 102])), steps.open(Prompt(ids=[200]))
    first, nothing = steps.prefill([one, two], 30)
    assert first is not None
    assert nothing is None
    np.testing.assert_allclose(first, _expected(tiny, [100, 101, 102]), atol=1e-4)
    steps.prefill([two], 30)
    got = steps.step([two, one], [7, 8])
    np.testing.assert_allclose(got[0], _expected(tiny, [200, 7]), atol=1e-4)
    np.testing.assert_allclose(got[1], _expected(tiny, [100, 101, 102, 8]), atol=1e-4)
    steps.release(one)
    three = steps.open(Prompt(ids=[300, 301]))
    (again,) = steps.prefill([three], 30)
    assert again is not None
    np.testing.assert_allclose(again, _expected(tiny, [300, 301]), atol=1e-4)
    steps.close()
    assert steps.snapshot()["rows"] == 0


def test_a_graph_of_one_token_reads_a_prompt_token_by_token(tiny: Open, network: WritingNetwork, cache: Path) -> None:
    """As recurrent models do, whose way of going on is another one than that of reading."""
    source, _ = tiny("gpt2", "AutoModelForCausalLM", "text-generation")
    graph = core().read_model(str(next(cache.rglob(network.facts["key"])) / "graph.xml"))
    graph.reshape({"input_ids": [-1, 1], "position_ids": [-1, 1]})
    steps = compile_steps(graph, source.config, "CPU", EXACT, paged=False)
    row = steps.open(Prompt(ids=[100, 101, 102]))
    (first,) = steps.prefill([row], 30)
    assert first is not None
    np.testing.assert_allclose(first, _expected(tiny, [100, 101, 102]), atol=1e-4)
    np.testing.assert_allclose(steps.step([row], [7])[0], _expected(tiny, [100, 101, 102, 7]), atol=1e-4)
    assert steps.snapshot()["forward_passes"] == 4
    steps.close()
