"""What a probe finds of real types, and that it sees models that are wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_accelerate_py.runtimes.families.samples import fit_sampler
from ipfs_accelerate_py.runtimes.families.tiny import tiny_model, write_tiny
from ipfs_accelerate_py.runtimes.probes.probe import Probe
from ipfs_accelerate_py.runtimes.probes.results import FAILED, FIGURES, OK, SKIPPED, Cell, Result
from tests.runtimes.probes.faulty import subject

SAMPLED = (
    *("bert", "gpt2", "t5", "mamba", "deepseek_v3"),
    *("vit", "detr", "clip", "videomae"),
    *("whisper", "wav2vec2", "clap"),
    *("llava", "qwen2_vl", "patchtst"),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("model_type", SAMPLED)
def test_a_type_of_each_kind_passes_every_check(model_type: str) -> None:
    found = Probe(seconds=0)(Cell(model_type))
    assert (found.outcome, found.reason) == (OK, "")
    assert found.checks == dict.fromkeys(("built", "ran", "finite", "reacts", "batched"), OK)
    assert found.figures["parameters"] > 0


def test_what_is_measured() -> None:
    found = Probe(seconds=0.01)(Cell("bert", "torch", "bfloat16"))
    assert found.outcome == OK
    assert set(found.figures) <= set(FIGURES)
    assert set(found.figures) >= {"export_s", "cosine", "latency_ms", "cpu_ms", "gauge_ms", "throughput", "peak_bytes"}
    assert found.figures["latency_low_ms"] <= found.figures["latency_ms"] <= found.figures["latency_high_ms"]
    assert found.figures["peak_bytes"] >= found.figures["weights_bytes"] > 0
    assert 0.99 < found.figures["cosine"] <= 1 + 1e-9
    assert found.figures["throughput"] == pytest.approx(1000 * 8 / found.figures["batch_ms"])


def test_openvino_agrees_in_float32_and_in_eight_bits() -> None:
    probe = Probe(seconds=0.01)
    exact, small = probe(Cell("vit", "openvino")), probe(Cell("vit", "openvino", "int8-weights"))
    assert (exact.outcome, small.outcome) == (OK, OK)
    assert exact.checks["agrees"] == exact.checks["batched"] == OK
    assert exact.figures["cosine"] > 0.99999 > small.figures["cosine"] > 0.975
    assert small.figures["weights_bytes"] < 0.5 * exact.figures["weights_bytes"]


@pytest.mark.parametrize(
    ("fault", "runtime", "check", "failure"),
    [
        ("blind", "torch", "reacts", "constant"),
        ("undefined", "torch", "finite", "not-finite"),
        ("mixing", "torch", "batched", "batch-differs"),
        ("blind", "openvino", "reacts", "constant"),
        ("mixing", "openvino", "batched", "batch-differs"),
    ],
)
def test_a_wrong_model_is_reported_as_what_it_is(fault: str, runtime: str, check: str, failure: str) -> None:
    found = Probe(seconds=0, subjects=subject)(Cell(fault, runtime))
    assert (found.outcome, found.failure) == (FAILED, failure)
    assert found.checks[check] == FAILED
    assert found.reason


def test_a_sound_model_is_no_false_alarm() -> None:
    assert Probe(seconds=0, subjects=subject)(Cell("sound")).outcome == OK


@pytest.mark.parametrize(
    ("fault", "check", "failure"), [("fragile", "ran", "shape"), ("coarse", "agrees", "disagrees")]
)
def test_a_fault_of_fewer_bits_is_seen_there_alone(fault: str, check: str, failure: str) -> None:
    probe = Probe(seconds=0, subjects=subject)
    assert probe(Cell(fault)).outcome == OK
    found = probe(Cell(fault, "torch", "bfloat16"))
    assert (found.outcome, found.failure, found.checks[check]) == (FAILED, failure, FAILED)


def test_the_root_cause_names_the_line_and_no_folder() -> None:
    found = Probe(seconds=0, subjects=subject)(Cell("fragile", "torch", "bfloat16"))
    assert "size of tensor" in found.cause
    assert found.cause.endswith(" change]")
    assert "faulty.py:" in found.cause
    assert os.sep + "home" not in found.cause
    assert str(Path(__file__).parent) not in found.cause


def test_what_cannot_be_here_is_skipped_with_the_reason() -> None:
    probe = Probe(seconds=0)
    missing = probe(Cell("timm_backbone"))
    assert (missing.outcome, "timm" in missing.reason) == (SKIPPED, True)
    eight = probe(Cell("bert", "torch", "int8"))
    assert (eight.outcome, "OpenVINO" in eight.reason) == (SKIPPED, True)
    writes = probe(Cell("gpt2", "llvm"))
    assert (writes.outcome, "writes" in writes.reason) == (SKIPPED, True)


def test_a_checkpoint_goes_the_way_of_every_checkpoint(tmp_path: Path) -> None:
    folder = write_tiny("bert", tmp_path / "mine", auto="AutoModelForSequenceClassification", labels=("good", "bad"))
    probe = Probe(seconds=0)
    for runtime in ("torch", "openvino"):
        found = probe(Cell(str(folder), runtime))
        assert (found.outcome, found.reason) == (OK, "")
        assert (found.model_type, found.auto) == ("bert", "AutoModelForSequenceClassification")


def test_no_such_checkpoint_is_a_failure_that_says_where_it_was_looked_for() -> None:
    found = Probe(seconds=0)(Cell("./nothing-here"))
    assert (found.outcome, found.failure, found.checks["built"]) == (FAILED, "configuration", FAILED)
    assert "nothing-here" in found.reason


def test_inputs_follow_from_the_seed() -> None:
    sampler = fit_sampler(tiny_model("clip"))
    one, again, other = sampler.batch(1, 2), sampler.batch(1, 2), sampler.batch(2, 2)
    assert set(one) >= {"input_ids", "attention_mask", "pixel_values"}
    for name in ("input_ids", "pixel_values"):
        assert (one[name] == again[name]).all()
        assert (one[name] != other[name]).any()
        assert (one[name][0] != one[name][1]).any()
        assert len(one[name]) == 2


def test_a_result_is_a_flat_row_and_back() -> None:
    result = Result(Cell("bert", "openvino", "int8-weights"), OK, "bert", "AutoModel", {"ran": OK}, {"cosine": 0.5})
    assert Result.of(result.plain()) == result
