"""The survey of families: what it finds of real types, and that it sees models that are wrong."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from ipfs_accelerate_py.runtimes.families.checks import check_model, check_type
from ipfs_accelerate_py.runtimes.families.rows import FAILED, OK, SKIPPED, Row, read_rows, write_row
from ipfs_accelerate_py.runtimes.families.samples import fit_sampler
from ipfs_accelerate_py.runtimes.families.survey import survey
from ipfs_accelerate_py.runtimes.families.table import summary, write_table
from ipfs_accelerate_py.runtimes.families.tiny import tiny_model

SAMPLED = (
    *("bert", "gpt2", "t5", "mamba", "deepseek_v3"),
    *("vit", "detr", "clip", "videomae"),
    *("whisper", "wav2vec2", "clap"),
    *("llava", "qwen2_vl", "patchtst"),
)


@pytest.mark.parametrize("model_type", SAMPLED)
def test_a_type_of_each_kind_passes_every_check(model_type: str) -> None:
    row = check_type(model_type, "torch")
    assert (row.outcome, row.reason) == (OK, "")
    assert set(row.checks.values()) == {OK}


def test_inputs_follow_from_the_seed() -> None:
    sampler = fit_sampler(tiny_model("clip"))
    one, again, other = sampler.batch(1, 2), sampler.batch(1, 2), sampler.batch(2, 2)
    assert set(one) >= {"input_ids", "attention_mask", "pixel_values"}
    for name in ("input_ids", "pixel_values"):
        assert (one[name] == again[name]).all()
        assert (one[name] != other[name]).any()
        assert (one[name][0] != one[name][1]).any()
        assert len(one[name]) == 2


class _Blind(torch.nn.Module):
    """Answers the same whatever it is given."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.main_input_name, self.input_modalities = inner.main_input_name, inner.input_modalities

    def forward(self, input_ids: Any = None, attention_mask: Any = None, return_dict: bool = True) -> Any:
        answer = self.inner(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return {"logits": self.change(answer.logits)}

    def change(self, logits: Any) -> Any:
        return logits * 0 + 1


class _Undefined(_Blind):
    def change(self, logits: Any) -> Any:
        return logits / 0 - logits / 0


class _Mixing(_Blind):
    """Lets the inputs of a batch see each other."""

    def change(self, logits: Any) -> Any:
        return logits - logits.mean(0, keepdim=True) / 2


@pytest.mark.parametrize(
    ("fault", "check", "reason"),
    [(_Blind, "reacts", "Constant"), (_Undefined, "finite", "NotFinite"), (_Mixing, "batched", "BatchDiffers")],
)
def test_a_wrong_model_is_reported_as_what_it_is(fault: Any, check: str, reason: str) -> None:
    row = check_model(fault(tiny_model("bert")), Row("bert"))
    assert row.outcome == FAILED
    assert row.checks[check] == FAILED
    assert row.reason.startswith(reason)


def _odd(model_type: str, runtime: str) -> Row:
    if model_type == "crash":
        os._exit(3)
    if model_type == "hang":
        time.sleep(600)
    if model_type == "raise":
        raise ValueError("no\nsuch  luck")
    return Row(model_type, runtime, outcome=OK)


def test_one_type_cannot_take_the_others_along() -> None:
    rows = {row.type: row for row in survey(("crash", "raise", "fine"), check=_odd, jobs=2, timeout=60)}
    assert rows["crash"].reason == "Crash: its process ended with status 3"
    assert rows["raise"].reason == "ValueError: no such luck"
    assert rows["fine"].outcome == OK
    hung = next(iter(survey(("hang",), check=_odd, timeout=0.2)))
    assert hung.outcome == FAILED
    assert hung.reason.startswith("Timeout")


def test_an_interrupted_survey_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_row(path, Row("bert", outcome=OK, figures={"reacts": 1.0}))
    with path.open("a") as file:
        file.write('{"type":"gp')
    done = read_rows(path)
    assert list(done) == [("bert", "torch", "float32")]
    assert [row.type for row in survey(("bert", "vit"), check=_odd, done=done)] == ["vit"]


def test_four_outcomes_are_four_things() -> None:
    rows = [
        Row("a", outcome=OK, checks={"built": OK}),
        Row("b", outcome=FAILED, checks={"built": FAILED}, reason="E: why"),
        Row("c", outcome=SKIPPED, reason="needs x"),
    ]
    types = ("a", "b", "c", "d")
    assert summary(rows, types)["torch"] == Counter(ok=1, failed=1, skipped=1, untested=1)
    page = write_table(rows, types, listed={"a"})
    assert "| torch | 1 | 1 | 1 | 1 |" in page
    assert "| a\\* |" in page
    assert "torch: E: why" in page
    assert "| c |  | skipped |" in page
    assert "| d |  | - |" in page


def test_a_type_that_needs_a_missing_package_is_skipped() -> None:
    row = check_type("timm_backbone", "torch")
    assert row.outcome == SKIPPED
    assert "timm" in row.reason
