"""What a budget of memory chooses."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines import fitting
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Source
from ipfs_accelerate_py.runtimes.engines.fitting import fit

COUNT = 1_000_000


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A checkpoint of a million weights in float32: its header, which is all that is read."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4 * COUNT]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return Source("tiny", tmp_path, config=object(), auto="AutoModel")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with OpenVINO, and a processor that does not multiply bfloat16."""
    monkeypatch.setattr(fitting, "cpu_flags", frozenset)
    monkeypatch.setattr(fitting, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("memory", "precision", "runtime"),
    [
        (None, "auto", "auto"),
        (5_000_000, "float32", "auto"),
        (4_400_000, "int8-weights", "openvino"),
        (1_200_000, "int8-weights", "openvino"),
        (1_100_000, "int4", "openvino"),
    ],
)
def test_the_most_exact_that_fits(source: Source, memory: int | None, precision: str, runtime: str) -> None:
    plan = fit(source, LoadPlan(memory=memory))
    assert (plan.precision, plan.runtime) == (precision, runtime)


def test_sixteen_bits_where_they_cost_no_time(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    assert fit(source, LoadPlan(memory=3_000_000)).precision == "bfloat16"
    assert fit(source, LoadPlan(memory=3_000_000, runtime="torch")).precision == "bfloat16"
    monkeypatch.undo()
    assert fit(source, LoadPlan(memory=3_000_000, device="cuda", runtime="torch")).precision == "bfloat16"


def test_what_does_not_fit_is_refused_with_every_size(source: Source) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        fit(source, LoadPlan(memory=100_000))
    said = str(caught.value)
    for part in ("100.0 KB", "4.0 MB in float32", "1.1 MB in int8-weights", "562.5 KB in int4", "10%"):
        assert part in said


def test_pytorch_alone_has_no_smaller_weights(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        fit(source, LoadPlan(memory=2_000_000, runtime="torch"))
    assert "int8" not in str(caught.value)
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailable):
        fit(source, LoadPlan(memory=2_000_000))


def test_a_precision_that_was_named_stays_or_is_refused(source: Source) -> None:
    assert fit(source, LoadPlan(memory=3_000_000, precision="float16")).precision == "float16"
    with pytest.raises(RuntimeUnavailable, match=r"4\.0 MB in float32"):
        fit(source, LoadPlan(memory=3_000_000, precision="float32"))
    # Nobody has it: the engine says what there is.
    assert fit(source, LoadPlan(memory=3_000_000, precision="int3")).precision == "int3"


def test_a_file_is_as_large_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"x" * 1000)
    file = Source("file", tmp_path / "model.gguf")
    assert fit(file, LoadPlan(memory=2000, runtime="llvm")).precision == "auto"
    with pytest.raises(RuntimeUnavailable, match=r"1\.0 KB in its file"):
        fit(file, LoadPlan(memory=1000, runtime="llvm"))
