"""A run as a page of documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.matrix.tables import markdown
from ipfs_accelerate_py.runtimes.probes.results import CHECKS, Cell, Result
from tests.matrix.support import failed, kept, measured, skipped

LONG = "RuntimeError: shapes [2, 3] | <tensor> `x` do not fit"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "matrix.sqlite") as made:
        yield made


def tables(page: str) -> dict[str, list[list[str]]]:
    """By heading, the rows of its table, split at what separates columns."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for line in page.splitlines():
        if line.startswith("#"):
            title = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith("| ---"):
            found.setdefault(title, []).append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def test_counts_speed_types_and_reasons(store: Store) -> None:
    run = kept(
        store,
        [
            measured(Cell("bert"), 4.0),
            measured(Cell("bert", "openvino"), 1.0),
            measured(Cell("mamba9000"), 2.0),
            failed(Cell("mamba9000", "openvino"), "exported", "operator", LONG, f"{LONG} [a/b.py:3 f]"),
            skipped(Cell("vit"), "no processor"),
            Result(Cell("vit", "openvino")),
        ],
        command="ipfs-accelerate matrix --runtime torch,openvino",
        plan={"absent": {"torch on cuda": "no device"}},
    )
    page = markdown(store, run)
    found = tables(page)
    assert found["In all"][1:] == [
        ["torch float32", "2", "0", "1", "0", "2 (100.0 %)"],
        ["openvino float32", "1", "1", "0", "1", "1 (50.0 %)"],
        ["torch on cuda", "", "", "", "3", "untested: no device"],
    ]
    assert found["Beside PyTorch in float32"][1:] == [
        ["torch float32", "", "", "", "", "1"],
        ["openvino float32", "1", "4.00x", "4.00x", "4.00x", "1"],
    ]
    assert found["Why cells failed"][1:] == [["operator", "1", "the runtime has no such operation"]]
    assert found["Each type"][1:] == [
        ["bert\\*", "Model", "ok 4", "ok 1"],
        ["mamba9000", "Model", "ok 2", "**failed**"],
        ["vit\\*", "", "skipped", "untested"],
    ]
    reasons = found["What is not ok"][1:]
    assert reasons[0][:3] == ["mamba9000", "openvino float32", "failed"]
    assert reasons[0][3] == "operator: RuntimeError: shapes \\[2, 3] \\| &lt;tensor> 'x' do not fit (at a/b.py:3 f)"
    assert reasons[1] == ["vit", "torch float32", "skipped", "no processor"]
    assert "$ ipfs-accelerate matrix --runtime torch,openvino" in page
    assert "A Processor 9000" in page
    assert "torch 2.13.0, transformers 5.23.0" in page
    assert all(f"- *{name}*: {what}." in page for name, what in CHECKS.items())
    assert "- `jukebox`: Transformers removed it" in page


def test_a_run_that_is_not_finished_says_so_and_one_with_checkpoints_makes_no_claim(store: Store) -> None:
    own = measured(Cell("my/checkpoint"))
    own.model_type = "bert"
    page = markdown(store, kept(store, [own, Result(Cell("bert"))], ended=False), gone={})
    assert "not finished" in page
    assert "small random" not in page
    assert "gone" not in page
    assert "Why cells failed" not in page
