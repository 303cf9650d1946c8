"""``ipfs-accelerate matrix``: a run by the command line, gone on with, extended, and refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

pytest.importorskip("torch", reason="the [local] extra is not installed")


def test_a_run_is_begun_gone_on_with_and_extended(invoke: Invoke, tmp_path: Path) -> None:
    store = str(tmp_path / "matrix.sqlite")
    what = ("matrix", "--type", "bert,timm_backbone", "--runtime", "torch", "--store", store, "--label", "mine")
    few = invoke(*what, "--precision", "float32", "--device", "cpu", "--seconds", "0", "--budget", "0")
    assert few.exit_code == 0
    assert "2 cells to try" in few.stderr
    assert "2 cells are untested; the same command goes on with what can be" in few.stderr
    assert few.stdout.split() == ["torch", "float32", "cpu", "0", "0", "0", "2"]

    whole = invoke(*what, "--precision", "float32", "--device", "cpu", "--seconds", "0", "-v")
    assert "0 known" in whole.stderr
    assert "bert\ttorch\tfloat32\tcpu\tok" in whole.stderr
    assert "needs the package timm" in whole.stderr
    assert whole.stdout.split() == ["torch", "float32", "cpu", "1", "0", "1", "0"]

    more = invoke(*what, "--precision", "bfloat16", "--device", "cpu", "--seconds", "0", "--extend", "mine", "--json")
    found = json.loads(more.stdout)
    assert [(each["precision"], each["ok"], each["skipped"]) for each in found["counts"]] == [
        ("float32", 1, 1),
        ("bfloat16", 1, 1),
    ]
    assert str(tmp_path) not in json.dumps(found)


def test_a_runtime_that_is_not_installed_leaves_its_cells_untested(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else found(name))
    done = invoke(
        *("matrix", "--type", "bert", "--precision", "float32", "--seconds", "0", "--device", "cpu"),
        *("--store", str(tmp_path / "m.sqlite"), "--runtime", "torch,openvino"),
    )
    assert done.exit_code == 0
    assert 'openvino is not installed: pip install "ipfs-accelerate-py[openvino]"' in done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["torch", "float32", "cpu", "1", "0", "0", "0"],
        ["openvino", "float32", "cpu", "0", "0", "0", "1"],
    ]


def test_types_and_their_tasks_without_running_any(invoke: Invoke) -> None:
    found = invoke("matrix", "--list", "--type", "whisper")
    assert found.stdout.startswith("whisper\tautomatic-speech-recognition")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--runtime", "tensorrt"), "torch, openvino, llvm"),
        (("--shard", "5/4"), "write 2/4"),
        (("--type", "transfo-xl"), "transfo-xl"),
        (("--precision", "int3"), "int8-weights"),
    ],
)
def test_what_is_asked_wrongly_is_told_before_anything_is_made(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    store = tmp_path / "matrix.sqlite"
    wrong = invoke("matrix", *arguments, "--store", str(store))
    assert wrong.exit_code != 0
    assert says in wrong.stderr
    assert not store.exists()
