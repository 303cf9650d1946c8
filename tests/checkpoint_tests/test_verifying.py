"""Modules run against small checkpoints, whole and spoilt, and against nothing; and the commands that do it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from tests.cli.conftest import Invoke, home, invoke

pytest.importorskip("torch", reason="the [local] extra is not installed")

from ipfs_accelerate_py.checkpoint_tests.generating import VERSION, generate
from ipfs_accelerate_py.checkpoint_tests.results import counts
from ipfs_accelerate_py.checkpoint_tests.runner import _last
from ipfs_accelerate_py.checkpoint_tests.verifying import find_modules, verify

__all__ = ["home", "invoke"]

TYPES = ("bert", "clip", "gpt2", "m2m_100", "vit", "wav2vec2", "whisper")
HEADER = f"# ipfs-accelerate-tests: type=bert template={VERSION} sha256=0\n"


def test_modules_of_different_tasks_pass_with_small_checkpoints(tmp_path: Path) -> None:
    generate(TYPES, tmp_path)
    verdicts = list(verify(find_modules([tmp_path]), tiny=True))
    assert [each.type for each in verdicts] == list(TYPES)
    assert {each.type: each.reason for each in verdicts if each.outcome != "ok"} == {}
    for each in verdicts:
        assert each.stage == "ran"
        assert each.outcomes["test_answers_agree_with_transformers[cpu]"] == "ok"
        assert each.outcomes["test_a_batch_answers_as_single_inputs_do[cpu]"] == "ok"
        assert each.outcomes["test_async_and_endpoint_handler_answer_alike[cpu]"] == "ok"


@pytest.mark.parametrize(
    ("fault", "told"), [("constant", "different_inputs_have_different_answers"), ("nan", "answers_are_finite")]
)
def test_a_spoilt_checkpoint_fails(fault: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import transformers

    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    checkpoint = write_tiny("vit", tmp_path / "vit", auto="AutoModelForImageClassification")
    model = transformers.ViTForImageClassification.from_pretrained(str(checkpoint))
    with torch.no_grad():
        model.classifier.weight.fill_(0.0 if fault == "constant" else float("nan"))
    model.save_pretrained(str(checkpoint))
    monkeypatch.setenv("IPFS_ACCELERATE_CHECKPOINT_VIT", str(checkpoint))
    generate(["vit"], tmp_path)
    [verdict] = verify(find_modules([tmp_path]), run=True)
    assert verdict.outcome == "failed"
    assert any(told in name for name, outcome in verdict.outcomes.items() if outcome == "failed")


def test_what_does_not_compile_collect_or_end_fails_alone_and_without_a_checkpoint_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPFS_ACCELERATE_CHECKPOINT_BERT", "nobody/nothing")
    generate(["bert"], tmp_path)
    faults = {
        "compiles_not": "def broken(:\n",
        "collects_not": "import nothing_of_that_name\n",
        "crashes": "import os\n\nos.abort()\n",
        "tests_nothing": "",
    }
    for name, text in faults.items():
        (tmp_path / f"test_{name}.py").write_text(HEADER + text, encoding="utf-8")
    verdicts = {Path(each.module).stem: each for each in verify(find_modules([tmp_path]), run=True, jobs=2)}
    assert {name: (each.outcome, each.stage) for name, each in verdicts.items()} == {
        "test_bert": ("skipped", "ran"),
        "test_collects_not": ("failed", "collect"),
        "test_compiles_not": ("failed", "compile"),
        "test_crashes": ("failed", "run"),
        "test_tests_nothing": ("failed", "collect"),
    }
    assert "nothing_of_that_name" in verdicts["test_collects_not"].reason
    assert "ended with status -6" in verdicts["test_crashes"].reason
    skipped = verdicts["test_bert"].reason
    assert "is not on this machine" in skipped
    assert "set IPFS_ACCELERATE_CHECKPOINT_BERT to its folder or name" in skipped
    assert counts(verdicts.values()) == {"ok": 0, "failed": 4, "skipped": 1}


def test_the_reason_of_an_error_is_its_own_and_not_what_it_came_of() -> None:
    chained = """
>   raise OSError("there is no file")
E   OSError: there is no file

The above exception was the direct cause of the following exception:
>   raise RuntimeUnavailable("it cannot be loaded") from exc
E   ipfs_accelerate_py.errors.RuntimeUnavailable: it cannot be loaded
E     more of it

loading.py:3: RuntimeUnavailable"""
    assert _last(chained) == "ipfs_accelerate_py.errors.RuntimeUnavailable: it cannot be loaded"
    assert _last("E   ImportError: \nE   it needs timm\nE   now") == "ImportError: it needs timm"
    assert _last("nothing of that kind") == "nothing of that kind"
    assert _last("") == ""


def test_a_module_that_does_not_end_fails(tmp_path: Path) -> None:
    module = tmp_path / "test_bert.py"
    module.write_text(f"{HEADER}import signal\n\nwhile True:\n    signal.pause()\n", encoding="utf-8")
    [verdict] = verify([module], timeout=0.5)
    assert (verdict.outcome, verdict.reason) == ("failed", "no verdict in 0 s")


def test_places_that_are_no_modules_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "test_other.py"
    other.write_text("def test_it() -> None: ...\n", encoding="utf-8")
    assert find_modules([tmp_path]) == []
    with pytest.raises(ConfigurationError, match="no generated module"):
        find_modules([other])
    with pytest.raises(ConfigurationError, match="no file or folder"):
        find_modules([tmp_path / "none"])


def test_without_pytest_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"ipfs-accelerate-py\[tests\]"):
        next(iter(verify([Path("test_bert.py")])))


def test_the_commands(invoke: Invoke, tmp_path: Path) -> None:
    made = invoke("tests", "generate", "bert", "vit", "--out", "mine", "--checkpoint", str(tmp_path), "--json")
    assert [each["outcome"] for each in json.loads(made.stdout)["modules"]] == ["written", "written"]
    assert f'DEFAULT = "{tmp_path}"' in (tmp_path / "mine/test_vit.py").read_text(encoding="utf-8")
    (tmp_path / "mine/test_vit.py").write_text(HEADER.replace("bert", "vit") + "x = (\n", encoding="utf-8")
    kept = invoke("tests", "generate", "vit", "--dir", "mine")
    assert (kept.exit_code, "kept (--force overwrites it)" in kept.stderr) == (0, True)
    listed = json.loads(invoke("tests", "list-missing", "--dir", "mine", "--json").stdout)["types"]
    names = {each["type"] for each in listed}
    assert "gpt2" in names
    assert not names & {"bert", "vit"}
    judged = invoke("tests", "verify", "mine", "--json")
    found = json.loads(judged.stdout)
    assert [(each["type"], each["outcome"]) for each in found["modules"]] == [("bert", "ok"), ("vit", "failed")]
    assert (judged.exit_code, found["counts"]) == (5, {"ok": 1, "failed": 1, "skipped": 0})
    assert invoke("tests", "verify", "mine", "--type", "bert").exit_code == 0
    assert invoke("tests", "generate", "nezha").exit_code == 7
    assert invoke("tests", "verify", "--type", "brt").exit_code == 2
