"""Graphs that answer as torch does, of any number of rows and any length, from disk without the weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.openvino_devices import choose_openvino_device
from ipfs_accelerate_py.runtimes.engines.openvino_engine import OpenVINOEngine
from ipfs_accelerate_py.runtimes.engines.openvino_ports import input_names
from ipfs_accelerate_py.runtimes.engines.openvino_samples import forward_names, samples_of
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.tasks import find_task

from .conftest import Open

PLAN = LoadPlan(runtime="openvino", precision="float32")
# Most graphs here are made by a trace, which is quick; one, and the decoder's, by Transformers' exporter as usual.
TRACED = LoadPlan(runtime="openvino", precision="float32", options={"trace_first": True})
FAMILIES = [
    ("bert", "AutoModelForSequenceClassification", "text-classification"),
    ("roberta", "AutoModelForMaskedLM", "fill-mask"),
    ("vit", "AutoModelForImageClassification", "image-classification"),
    ("wav2vec2", "AutoModelForCTC", "automatic-speech-recognition"),
    ("clip", "AutoModelForZeroShotImageClassification", "zero-shot-image-classification"),
    ("patchtst", "PatchTSTForPrediction", "time-series-forecasting"),
]


@pytest.mark.parametrize(("model_type", "auto", "task"), FAMILIES)
def test_answers_as_torch_does(tiny: Open, model_type: str, auto: str, task: str) -> None:
    source, spec = tiny(model_type, auto, task)
    network = OpenVINOEngine().load(source, spec, PLAN if model_type == "bert" else TRACED)
    assert network.facts["way"].startswith("Transformers" if model_type == "bert" else "convert_model")  # type: ignore[attr-defined]
    reference = TorchEngine().load(source, spec, LoadPlan(precision="float32"))
    for batch in samples_of(source, spec, PLAN, forward_names(source)):
        expected = reference.collect(reference.launch(batch))
        got = network.collect(network.launch(batch))
        assert list(got) == list(expected)
        for name, array in expected.items():
            assert got[name].dtype == array.dtype
            np.testing.assert_allclose(got[name], array, atol=2e-4)


def test_passes_overlap_and_each_gets_its_own(tiny: Open) -> None:
    source, spec = tiny(*FAMILIES[0])
    network = OpenVINOEngine().load(source, spec, PLAN)
    rng = np.random.default_rng(0)
    shapes = ((1, 3), (4, 9), (2, 17))
    batches = [
        {
            "input_ids": rng.integers(96, 500, shape),
            "token_type_ids": np.zeros(shape, np.int64),
            "attention_mask": np.ones(shape, np.int64),
        }
        for shape in shapes
    ]
    under_way = [network.launch(batch) for batch in batches]
    together = [network.collect(each)["logits"] for each in reversed(under_way)][::-1]
    for batch, got in zip(batches, together, strict=True):
        np.testing.assert_allclose(got, network.collect(network.launch(batch))["logits"], atol=1e-5)


def test_a_second_load_needs_neither_weights_nor_torch(tiny: Open, tmp_path: Path, cache: Path) -> None:
    source, spec = tiny(*FAMILIES[0])
    folder = tmp_path / "model"
    shutil.copytree(source.path, folder)
    copy = Source(source.name, folder, source.config, source.auto)
    OpenVINOEngine().load(copy, spec, PLAN)
    (folder / "model.safetensors").unlink()
    program = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
from types import SimpleNamespace
from transformers import AutoConfig
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.openvino_devices import choose_openvino_device
from ipfs_accelerate_py.runtimes.engines.openvino_engine import OpenVINOEngine
from ipfs_accelerate_py.runtimes.families.tasks import find_task
folder = Path({str(folder)!r})
source = Source("copy", folder, AutoConfig.from_pretrained(folder), {source.auto!r})
plan = LoadPlan(precision="float32")
network = OpenVINOEngine().load(source, find_task("text-classification"), plan)
assert not network.facts["built"]
import numpy as np
ids = np.array([[100, 101]])
batch = {{"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}}
print(network.collect(network.launch(batch))["logits"].shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(1,")


def test_other_weights_are_another_entry(tiny: Open, tmp_path: Path) -> None:
    from ipfs_accelerate_py.runtimes.engines.fingerprint import content_key

    source, _ = tiny(*FAMILIES[0])
    folder = tmp_path / "model"
    shutil.copytree(source.path, folder)
    copy = Source("another name", folder, source.config, source.auto)
    assert content_key(copy, precision="float32") == content_key(source, precision="float32")
    assert content_key(copy, precision="int8") != content_key(source, precision="float32")
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert content_key(copy, precision="float32") != content_key(source, precision="float32")


def test_a_quantised_model_that_lost_too_much_is_refused_and_can_be_forced(tiny: Open) -> None:
    source, spec = tiny(*FAMILIES[0])
    strict = LoadPlan(precision="int8-weights", options={"least_cosine": 1.0})
    with pytest.raises(RuntimeUnavailable, match=r"cosine .* is \d\.\d+.*force"):
        OpenVINOEngine().load(source, spec, strict)
    forced = LoadPlan(precision="int8-weights", options={"least_cosine": 1.0}, force=True)
    network = OpenVINOEngine().load(source, spec, forced)
    assert network.loss is not None  # type: ignore[attr-defined]
    assert network.loss.cosine > 0.99  # type: ignore[attr-defined]
    whole = OpenVINOEngine().load(source, spec, PLAN)
    assert network.memory < whole.memory


def test_an_input_is_known_among_the_names_that_compiling_adds() -> None:
    opset = require("openvino.opset14")
    ids = opset.parameter([2, 3], dtype=np.int64, name="input_ids")
    ids.output(0).get_tensor().set_names({"input_ids"})
    same = opset.reshape(ids, opset.constant(np.array([2, 3])), special_zero=False)
    same.output(0).get_tensor().set_names({"9"})
    graph = require("openvino").Model([opset.result(opset.add(same, opset.constant(np.int64(1))))], [ids], "one")
    compiled = require("openvino").Core().compile_model(graph, "CPU")
    assert input_names(compiled, ["attention_mask", "input_ids"]) == ["input_ids"]


def test_what_cannot_be_is_said(tiny: Open) -> None:
    source, spec = tiny(*FAMILIES[0])
    engine = OpenVINOEngine()
    assert "GGUF" in str(engine.refuses(Source("x", source.path), spec, PLAN))
    assert "sees only" in str(engine.refuses(source, spec, LoadPlan(device="NPU")))
    assert "no precision" in str(engine.refuses(source, spec, LoadPlan(precision="int3")))
    translator = Source("x", source.path, SimpleNamespace(model_type="fsmt"), "AutoModelForSeq2SeqLM")
    assert "fresh inputs" in str(engine.refuses(translator, spec, PLAN))
    forecasting = find_task("time-series-forecasting")
    assert forecasting is not None
    drawn = Source("x", source.path, SimpleNamespace(model_type="informer"), "InformerForPrediction")
    assert "step by step" in str(engine.refuses(drawn, forecasting, PLAN))
    speech = find_task("text-to-audio")
    assert speech is not None
    assert "PyTorch" in str(engine.refuses(source, speech, PLAN))
    with pytest.raises(RuntimeUnavailable, match="NPU"):
        engine.load(source, spec, LoadPlan(device="NPU"))
    with pytest.raises(ConfigurationError, match="no device"):
        choose_openvino_device("toaster")
