"""``ipfs-accelerate bench`` as it is typed, with a tiny model in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_accelerate_py.bench.figures import Session
from tests.cli.conftest import Invoke, home, invoke

__all__ = ["home", "invoke"]  # fixtures


def test_a_model_from_the_command_line_to_the_files(invoke: Invoke, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    path = write_tiny("bert", tmp_path / "mine", auto="AutoModel")
    done = invoke(
        *("bench", "--models", str(path), "--task", "sentence-similarity", "--runtime", "torch", "--lengths", "8,16"),
        *("--batch_size", "2", "--rounds", "2", "--threads", "1", "--device", "cpu,xpu"),
        *("--out", str(tmp_path / "new" / "f"), "--json"),
    )
    assert done.exit_code == 0, done.stderr
    session = Session.of(json.loads(done.stdout))
    assert [each.case.length for each in session.find("sentences/s")] == ["8 tokens", "16 tokens"]
    for each in session.find("sentences/s"):
        assert (each.case.model, each.case.runtime, each.case.precision, each.case.batch) == (
            "mine", "torch", "float32", 2,
        )  # fmt: skip
        assert len(each.values) == 2
    assert session.threads == 1
    assert session.find("process memory")[0].least > session.find("model memory")[0].least > 0
    assert {(left.case.device, left.outcome) for left in session.left} == {("xpu", "untested")}
    assert Session.read(tmp_path / "new" / "f.json").plain() == session.plain()
    assert "sentences/s" in (tmp_path / "new" / "f.md").read_text()
    assert "loaded in" in done.stderr

    shown = invoke("bench", "show", str(tmp_path / "new" / "f.json"))
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert rows[0][:8] == ["embeddings", "mine", "torch", "float32", "cpu", "2", "8 tokens", "sentences/s"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name what to measure with --models: all, or some of opt-125m"),
        (("--models", "gpt3"), "Models that can be measured: all, opt-125m"),
        (("--models", "gpt2", "--runtime", "jax"), "'jax' is none of torch, openvino, llvm"),
        (("--models", "gpt2", "--batch-size", "1,x"), "'x' is no number"),
        (("--models", "gpt2", "--batch-size", "0"), "0 is less than 1"),
        (("show", "nowhere.json"), "nowhere.json cannot be read"),
    ],
)
def test_wrong_use(invoke: Invoke, arguments: tuple[str, ...], said: str) -> None:
    done = invoke("bench", *arguments)
    assert done.exit_code == 2, done.stderr
    assert said in done.stderr
    assert not done.stdout


def test_its_help_names_both_ways(invoke: Invoke) -> None:
    done = invoke("bench", "--help")
    assert done.exit_code == 0
    for word in ("--batch-size", "--models", "load", "show", "ipfs-accelerate bench --batch-size 8 --models all"):
        assert word in done.stdout
