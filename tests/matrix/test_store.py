"""The store: every run is kept, a result is on disk when it was put, and names find runs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.schema import COLUMNS
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.results import OK, UNTESTED, Cell, Result
from tests.conftest import ROOT
from tests.matrix.support import MACHINE, VERSIONS, failed, kept, measured, skipped

BERT, GPT2, T5 = Cell("bert"), Cell("gpt2"), Cell("t5", "openvino", "int8")
#: Puts results one after the other, telling of each when it has been put.
WRITER = """
import sys
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.results import OK, Result
store = Store(sys.argv[1])
run = store.run("latest")
for cell in store.left(run.id):
    store.put(run.id, Result(cell, OK, figures={"latency_ms": 1.5}, measured_at=7.0))
    print(cell.subject, flush=True)
"""


def test_what_was_put_is_what_is_found(tmp_path: Path) -> None:
    found = [
        measured(BERT),
        failed(GPT2, "reacts", "constant", cause="ValueError: x [a.py:1 f]"),
        skipped(T5, "no room"),
    ]
    with Store(tmp_path / "a" / "matrix.sqlite") as store:
        run = kept(store, found, label="first", command="ipfs-accelerate matrix", plan={"jobs": 2})
    with Store(tmp_path / "a" / "matrix.sqlite", read_only=True) as store:
        assert store.results(run.id) == found
        assert store.run("first") == run
        assert (run.machine, run.versions, run.plan) == (MACHINE, VERSIONS, {"jobs": 2})
        assert run.ended is not None
        assert store.results_of(run.id, "gpt2") == [found[1]]


def test_what_is_left_is_what_has_no_result_in_the_order_of_the_plan(tmp_path: Path) -> None:
    with Store(tmp_path / "matrix.sqlite") as store:
        run = kept(store, [Result(T5), measured(GPT2), Result(BERT)], ended=False)
        assert store.left(run.id) == [T5, BERT]
        assert [each.outcome for each in store.results(run.id)] == [UNTESTED, OK, UNTESTED]
        assert [each.cell for each in store.results(run.id, untested=False)] == [GPT2]


def test_a_writer_that_is_killed_loses_no_result_and_the_next_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "matrix.sqlite"
    with Store(path) as store:
        run = kept(store, [Result(Cell(f"type-{number:05}")) for number in range(20000)], ended=False)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(os.environ)
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline().strip() for _ in range(50)]
    writer.send_signal(signal.SIGKILL)  # in the middle of writing: it never waits
    told += writer.stdout.read().split()
    assert writer.wait() == -signal.SIGKILL
    writer.stdout.close()
    with Store(path) as store:
        there = {each.cell.subject: each for each in store.results(run.id, untested=False)}
        assert set(told) <= set(there)
        assert len(there) - len(told) in (0, 1)  # the one that it had put and not told of yet
        assert all(each.figures == {"latency_ms": 1.5} for each in there.values())
        left = store.left(run.id)
        assert len(left) == 20000 - len(there)
        assert left[0].subject == f"type-{len(there):05}"
        store.put(run.id, measured(left[0]))
        assert store.left(run.id)[0] == left[1]


def test_runs_are_found_by_id_label_and_age(tmp_path: Path) -> None:
    with Store(tmp_path / "matrix.sqlite") as store:
        first, second, third = (kept(store, [measured(BERT)], label=label) for label in ("one", "", "three"))
        assert [run.id for run in store.runs()] == [first.id, second.id, third.id]
        assert store.run().id == third.id
        assert store.run("latest~2").id == first.id
        assert store.run("one").id == first.id
        assert store.run(second.id).id == second.id
        for name in ("latest~3", "latest~x", "four", ""):
            with pytest.raises(ConfigurationError):
                store.run(name)


def test_several_runs_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    with Store(tmp_path / "matrix.sqlite") as store:
        kept(store, [measured(BERT)], label="nightly")
        kept(store, [measured(BERT)], label="nightly")
        with pytest.raises(ConfigurationError, match="2 runs 'nightly'"):
            store.run("nightly")


def test_all_that_was_ever_found_of_a_type(tmp_path: Path) -> None:
    with Store(tmp_path / "matrix.sqlite") as store:
        for latency in (1.0, 2.0):
            kept(store, [measured(BERT, latency, at=latency), measured(GPT2)])
        first, last = ([run.id] for run in store.runs())
        assert [row["latency_ms"] for _, _, row in store.series(first)] == [1.0, 2.0]
        series = [(cell, row["latency_ms"]) for _, cell, row in store.series(last)]
        assert series == [(BERT, 2.0), (GPT2, 2.0)]


def test_only_a_matrix_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="`ipfs-accelerate matrix` makes one"):
        Store(tmp_path / "none.sqlite", read_only=True)
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "text").write_text("not a database, but long enough to have a head of its own\n" * 20)
    with pytest.raises(ConfigurationError, match="not a matrix"):
        Store(tmp_path / "text", read_only=True)
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE cats (name TEXT)")
    other.close()
    with pytest.raises(ConfigurationError, match="not one of this program's"):
        Store(tmp_path / "other.sqlite", read_only=True)


def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "matrix.sqlite").close()
    newer = sqlite3.connect(tmp_path / "matrix.sqlite")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ConfigurationError, match="newer release"):
        Store(tmp_path / "matrix.sqlite")


def test_a_file_from_before_a_figure_was_thought_of_is_read_and_then_has_it(tmp_path: Path) -> None:
    path = tmp_path / "matrix.sqlite"
    with Store(path) as store:
        kept(store, [measured(BERT)])
    older = sqlite3.connect(path)
    older.execute("ALTER TABLE results DROP COLUMN cosine")
    older.execute("ALTER TABLE results DROP COLUMN agrees")
    older.close()
    with Store(path, read_only=True) as store:
        assert store.results(store.run().id) == [measured(BERT)]
    with Store(path) as store:
        run = kept(store, [measured(T5)])
        assert store.results(run.id) == [measured(T5)]
        assert len(store.results(store.run("latest~1").id)[0].plain()) == len(COLUMNS)
