"""Compiled encoders answer as PyTorch's do, whatever is filled up, and are compiled once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("iree.runtime")
pytest.importorskip("iree.compiler")

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.iree_compile import compile_shape, state_of
from ipfs_accelerate_py.runtimes.engines.iree_engine import IREEEngine
from ipfs_accelerate_py.runtimes.engines.openvino_samples import forward_names, samples_of
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine
from ipfs_accelerate_py.runtimes.families.catalog import open_source
from ipfs_accelerate_py.runtimes.families.tasks import TASKS, TaskSpec
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny
from ipfs_accelerate_py.runtimes.serving.jobs import Job
from ipfs_accelerate_py.runtimes.serving.servable import open_servable

Open = Callable[[str, str, str], tuple[Source, TaskSpec]]
PLAN = LoadPlan(runtime="llvm", threads=1)
# Compiling takes seconds for each shape, so texts are asked of one model with one layer, in the same two shapes.
TEXT = ("distilbert", "AutoModelForSequenceClassification", "text-classification")
PICTURE = ("vit", "AutoModelForImageClassification", "image-classification")
#: It has a weight that is a single number.
PAIR = ("clip", "AutoModelForZeroShotImageClassification", "zero-shot-image-classification")
LAYERS = {"distilbert": {"n_layers": 1}, "vit": {"num_hidden_layers": 1}}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Open:
    made: dict[tuple[str, str], Path] = {}

    def opened(model_type: str, auto: str, task: str) -> tuple[Source, TaskSpec]:
        if (model_type, auto) not in made:
            folder = tmp_path_factory.mktemp(model_type)
            made[model_type, auto] = write_tiny(model_type, folder, auto=auto, changes=LAYERS.get(model_type))
        return open_source(model_type, made[model_type, auto], task)

    return opened


@pytest.mark.parametrize("model", [PICTURE, PAIR], ids=lambda model: str(model[0]))
def test_a_picture_is_answered_as_torch_does(tiny: Open, model: tuple[str, str, str]) -> None:
    source, spec = tiny(*model)
    network = IREEEngine().load(source, spec, PLAN)
    reference = TorchEngine().load(source, spec, LoadPlan(precision="float32"))
    batch = samples_of(source, spec, PLAN, forward_names(source))[-1]  # of one row
    expected = reference.collect(reference.launch(batch))
    got = network.collect(network.launch(batch))
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(got[name], array, atol=1e-3)
    network.close()


def test_what_the_importer_does_not_know_is_taken_apart(tmp_path: Path) -> None:
    """Norms over a batch, and axes dropped several at once: both stop half of all networks of pictures."""
    import torch
    from iree import runtime

    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(3)
            self.drawn = torch.nn.BatchNorm2d(3, track_running_stats=False)

        def forward(self, x: torch.Tensor, return_dict: bool = True) -> dict[str, torch.Tensor]:
            return {"y": (self.norm(x) + self.drawn(x)).mean(2, keepdim=True).squeeze((0, -2))}

    model = Small().eval().requires_grad_(False)
    x = np.random.default_rng(0).standard_normal((1, 3, 4, 5)).astype("float32")
    assert compile_shape(model, {"x": x}, tmp_path) == {"inputs": ["x"], "outputs": ["y"]}
    context = runtime.SystemContext(config=runtime.Config("local-sync"))
    module = runtime.VmModule.copy_buffer(context.instance, (tmp_path / "module.vmfb").read_bytes())
    context.add_vm_module(module)
    got = context.modules.module.main(*(each.numpy() for each in state_of(model).values()), x)
    np.testing.assert_allclose(got.to_host(), model(torch.from_numpy(x))["y"], atol=1e-5)


def test_what_cannot_be_compiled_is_said_without_its_tower_of_calls(tmp_path: Path) -> None:
    import torch

    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_dict: bool = True) -> dict[str, torch.Tensor]:
            return {"y": torch.histc(x, bins=4)}

    class Counted(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_dict: bool = True) -> dict[str, torch.Tensor]:
            count = torch.nonzero(x).shape[0]
            chosen: Any = torch.sym_ite  # torch gives it no types
            return {"y": x * chosen(count == 1, 1, 2)}

    for model, words in ((Odd(), "failed to legalize"), (Counted(), "FIX ME: Unimplemented call_function")):
        with pytest.raises(RuntimeUnavailable, match=f"^IREE cannot compile it: {words}") as caught:
            compile_shape(model.eval(), {"x": np.ones((1, 8), "float32")}, tmp_path)
        assert not re.search(r"loc\(|0x|\.py", str(caught.value))


def test_texts_are_answered_as_torch_does_in_parts_and_modules_are_kept(tiny: Open) -> None:
    source, spec = tiny(*TEXT)
    network = IREEEngine().load(source, spec, PLAN)
    reference = TorchEngine().load(source, spec, LoadPlan(precision="float32"))
    rng = np.random.default_rng(0)
    shape = (11, 9)  # eight rows and three, each filled up to eight of sixteen positions
    mask = np.ones(shape, np.int64)
    mask[3, 5:] = 0
    batch = {"input_ids": rng.integers(96, 500, shape), "attention_mask": mask}
    single = samples_of(source, spec, PLAN, forward_names(source))[-1]
    for each in (batch, single):
        expected = reference.collect(reference.launch(each))["logits"]
        np.testing.assert_allclose(network.collect(network.launch(each))["logits"], expected, atol=1e-3)
    assert sorted(shapes["input_ids"][0] for shapes in network.facts["shapes"]) == [1, 8]
    network.close()
    again = IREEEngine().load(source, spec, PLAN)
    expected = reference.collect(reference.launch(batch))["logits"]
    np.testing.assert_allclose(again.collect(again.launch(batch))["logits"], expected, atol=1e-3)
    assert again.facts["built"] == 0
    again.close()
    few = IREEEngine().load(source, spec, replace(PLAN, options={"shapes": 1}))
    with pytest.raises(RuntimeUnavailable, match="another: use the runtime torch"):
        few.launch(batch)
    few.close()


async def test_it_is_served(tiny: Open) -> None:
    source, _ = tiny(*TEXT)
    opened = [
        asyncio.to_thread(open_servable, "text", source.path, task="text-classification", plan=plan)
        for plan in (PLAN, LoadPlan(precision="float32"))
    ]
    compiled, plain = await opened[0], await opened[1]
    try:
        assert (compiled.facts.runtime, compiled.facts.precision) == ("llvm", "float32")
        job = Job(task="text-classification", inputs=["a b", "c d e"])
        one, other = await compiled.run(job), await plain.run(job)
        for got, expected in zip(one.results, other.results, strict=True):
            assert [each.label for each in got.labels] == [each.label for each in expected.labels]  # type: ignore
            for left, right in zip(got.labels, expected.labels, strict=True):  # type: ignore
                assert left.score == pytest.approx(right.score, abs=1e-3)
    finally:
        compiled.close()
        plain.close()


def test_what_cannot_be_is_said(tiny: Open) -> None:
    source, spec = tiny(*TEXT)
    engine = IREEEngine()
    cases = [
        (Source("x", source.path), spec, PLAN, "GGUF"),
        (source, TASKS["text-generation"], PLAN, "grows with each token"),
        (source, spec, LoadPlan(device="cuda"), "not for cuda"),
        (source, spec, LoadPlan(precision="int8"), "OpenVINO does"),
        (source, spec, LoadPlan(device_map="auto"), "device map"),
        (source, TASKS["mask-generation"], PLAN, "several forward passes"),
    ]
    for given, task, plan, said in cases:
        assert said in str(engine.refuses(given, task, plan))
    unmasked, task = tiny("fnet", "AutoModelForSequenceClassification", "text-classification")
    assert "no padding" in str(engine.refuses(unmasked, task, PLAN))
    sound, task = tiny("wav2vec2", "AutoModelForCTC", "automatic-speech-recognition")
    assert "any length" in str(engine.refuses(sound, task, PLAN))
    with pytest.raises(RuntimeUnavailable, match="not for cuda"):
        engine.load(source, spec, LoadPlan(device="cuda"))
