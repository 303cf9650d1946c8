"""PyTorch's engine: precisions, models spread over devices, and what is not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ipfs_accelerate_py.errors import ConfigurationError, MemoryExhausted, RuntimeUnavailable
from ipfs_accelerate_py.runtimes import devices
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.loading import load_model
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine
from ipfs_accelerate_py.runtimes.families.catalog import open_source
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

Loaded = tuple[Source, TaskSpec]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IDS = np.array([[5, 6, 7, 8], [9, 10, 11, 12]])
BATCH = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
LAYERS = {
    "model.embed_tokens": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu", "model.norm": "cpu",
    "model.rotary_emb": "cpu", "lm_head": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("llama")
    write_tiny("llama", folder)
    return open_source("tiny", folder, "text-generation")


@pytest.fixture(scope="module")
def exact(llama: Loaded) -> Any:
    return logits(*llama, LoadPlan(precision="float32"))


def logits(source: Source, task: TaskSpec, plan: LoadPlan) -> Any:
    network = TorchEngine().load(source, task, plan)
    found = network.collect(network.launch(BATCH))["logits"]
    network.close()
    return found


@pytest.mark.parametrize(("precision", "within"), [("bfloat16", 0.1), ("float16", 0.02)])
def test_sixteen_bits_take_half_and_answer_in_float32(llama: Loaded, exact: Any, precision: str, within: float) -> None:
    network = TorchEngine().load(*llama, LoadPlan(precision=precision))
    whole = TorchEngine().load(*llama, LoadPlan(precision="float32"))
    found = network.collect(network.launch(BATCH))["logits"]
    assert network.precision == precision
    assert network.memory < 0.51 * whole.memory
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < within


def test_auto_is_what_the_processor_multiplies(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, precision in ((frozenset({"avx512f"}), "float32"), (frozenset({"amx_bf16"}), "bfloat16")):
        monkeypatch.setattr(devices, "cpu_flags", lambda flags=flags: flags)
        assert TorchEngine().load(*llama, LoadPlan(device="cpu")).precision == precision


def test_all_on_one_device_by_a_map(llama: Loaded, exact: Any) -> None:
    pytest.importorskip("accelerate")
    assert np.abs(logits(*llama, LoadPlan(precision="float32", device_map={"": "cpu"})) - exact).max() == 0


def test_a_layer_on_disk(llama: Loaded, exact: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    plan = LoadPlan(precision="float32", device_map=LAYERS, options={"offload_folder": str(tmp_path)})
    network = TorchEngine().load(*llama, plan)
    whole = TorchEngine().load(*llama, LoadPlan(precision="float32"))
    assert network.device == "cpu"
    assert 0 < network.memory < whole.memory  # what lies on disk takes none
    for _ in range(2):
        assert np.abs(network.collect(network.launch(BATCH))["logits"] - exact).max() == 0


def test_a_model_larger_than_the_memory_it_may_take(llama: Loaded, exact: Any, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    options = {"max_memory": {"cpu": 30_000}, "offload_folder": str(tmp_path)}
    network = TorchEngine().load(*llama, LoadPlan(precision="float32", device_map="auto", options=options))
    assert network.memory < 100_000
    assert network.device == "cpu"  # although its weights are nowhere until they are needed
    assert np.abs(network.collect(network.launch(BATCH))["logits"] - exact).max() == 0


def test_out_of_memory_in_a_pass(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    network = TorchEngine().load(*llama, LoadPlan())

    def full(*args: Any, **given: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 3 GB")

    monkeypatch.setattr(network.model, "forward", full)
    with pytest.raises(MemoryExhausted, match=r"cpu has no memory left.*3 GB"):
        network.launch(BATCH)


def test_out_of_memory_while_loading(llama: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **given: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 3 GB")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(MemoryExhausted, match="does not fit into cpu"):
        TorchEngine().load(*llama, LoadPlan())


@pytest.mark.parametrize(("device", "kind"), [("cuda", "CUDA"), ("cuda:1", "CUDA"), ("mps", "Metal"), ("xpu", "XPU")])
def test_a_device_that_is_not_here(llama: Loaded, monkeypatch: pytest.MonkeyPatch, device: str, kind: str) -> None:
    monkeypatch.setattr(devices, "_count", lambda name: 0)
    with pytest.raises(RuntimeUnavailable, match=f"{device}.*no {kind} device"):
        TorchEngine().load(*llama, LoadPlan(device=device))


def test_what_it_does_not_do_is_said(llama: Loaded, tmp_path: Path) -> None:
    source, task = llama
    engine = TorchEngine()
    assert "llama.cpp" in str(engine.refuses(Source("x", tmp_path), task, LoadPlan()))
    assert "OpenVINO" in str(engine.refuses(source, task, LoadPlan(precision="int8")))
    assert "NPU" in str(engine.refuses(source, task, LoadPlan(device="NPU")))
    with pytest.raises(RuntimeUnavailable, match="int4"):
        engine.load(source, task, LoadPlan(precision="int4"))
    with pytest.raises(ConfigurationError, match="toaster"):
        engine.load(source, task, LoadPlan(device="toaster"))


@pytest.mark.parametrize(
    ("model_type", "auto", "after"),
    [("jev", "AutoModelForDecision", "decision_config"), ("qwen2_5_omni", "AutoModelForMultimodalLM", "speaker_map")],
)
def test_a_class_that_loads_more_after_its_weights_is_loaded(
    model_type: str, auto: str, after: str, tmp_path: Path
) -> None:
    """Transformers' takes the pair of model and report for the model, where a report is asked for."""
    folder = write_tiny(model_type, tmp_path, auto=auto)
    source = Source("tiny", folder, transformers.AutoConfig.from_pretrained(str(folder)), auto)
    assert getattr(load_model(source, "float32"), after) is not None
