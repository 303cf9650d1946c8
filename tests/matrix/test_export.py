"""Results for other programs: what is written can be read back."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from ipfs_accelerate_py.matrix.export import export, rows, write_csv
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.results import Cell, Result
from tests.matrix.support import failed, kept, measured

CAUSE = 'ValueError: "quoted", with commas\nand a second line [file.py:3 forward]'
FOUND = [
    measured(Cell("bert"), 1.25),
    failed(Cell("vit", "openvino", "int8"), "ran", "shape", cause=CAUSE),
    Result(Cell("t5")),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "matrix.sqlite") as made:
        kept(made, FOUND[:1], label="first")
        kept(made, FOUND, label="second")
        yield made


def test_csv_has_a_line_a_cell(store: Store, tmp_path: Path) -> None:
    assert export(store, store.runs(), tmp_path / "out" / "all.csv") == 4
    with (tmp_path / "out" / "all.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [(row["subject"], row["outcome"]) for row in found] == [
        ("bert", "ok"), ("bert", "ok"), ("vit", "failed"), ("t5", "untested"),
    ]  # fmt: skip
    assert found[1]["run"] == store.run("second").id
    assert (found[1]["latency_ms"], found[1]["cosine"], found[1]["reacts"]) == ("1.25", "", "ok")
    assert found[2]["cause"] == CAUSE


def test_json_lines_are_results_again(store: Store, tmp_path: Path) -> None:
    export(store, [store.run("second")], tmp_path / "one.jsonl")
    found = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [Result.of(row) for row in found] == FOUND
    assert found == list(rows(store, [store.run("second")]))


def test_duckdb_has_results_and_runs(store: Store, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra duckdb is not installed")
    path = tmp_path / "matrix.duckdb"
    for _ in range(2):  # in place of what it was
        assert export(store, store.runs(), path) == 4
    with duckdb.connect(str(path), read_only=True) as db:
        query = (
            "SELECT label, subject, outcome, latency_ms, cause, cosine FROM results JOIN runs ON run = id "
            "ORDER BY started, subject"
        )
        found = db.execute(query).fetchall()
        machine = db.execute("SELECT DISTINCT machine->>'processor' FROM runs").fetchall()
    assert found == [
        ("first", "bert", "ok", 1.25, "", None),
        ("second", "bert", "ok", 1.25, "", None),
        ("second", "t5", "untested", None, "", None),
        ("second", "vit", "failed", None, CAUSE, None),
    ]
    assert machine == [("A Processor 9000",)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["matrix.duckdb", *_sqlite(tmp_path)]


def test_parquet_has_the_rows_with_their_types(store: Store, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="the extra duckdb is not installed")
    export(store, store.runs(), tmp_path / "all.parquet")
    with duckdb.connect() as db:
        found = db.execute(f"SELECT * FROM '{tmp_path}/all.parquet' WHERE run = '{store.run('second').id}'")
        names = [each[0] for each in found.description]
        again = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert again == list(rows(store, [store.run("second")]))


def test_without_duckdb_the_extra_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtra, match=r"ipfs-accelerate-py\[duckdb\]"):
        export(store, store.runs(), tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()
    assert write_csv(store, store.runs(), io.StringIO()) == 4


def test_a_name_that_says_no_form_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\.csv.*\.parquet"):
        export(store, store.runs(), tmp_path / "all.xlsx")


def _sqlite(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("matrix.sqlite*"))
