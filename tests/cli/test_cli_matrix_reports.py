"""``matrix runs``, ``report``, ``export``, ``diff``, ``gate``, ``recommend`` and ``merge``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_accelerate_py.matrix.running import describe
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.results import Cell, Result
from tests.cli.conftest import Invoke
from tests.matrix.support import failed, kept, measured

BERT, INT8, VIT = Cell("bert"), Cell("bert", "openvino", "int8-weights"), Cell("vit")


@pytest.fixture
def store(home: Path) -> Store:
    """Two runs of this machine in the usual file: the second lost what it knew of one input, and slowed."""
    machine, versions = describe()
    with Store(home / "matrix.sqlite") as made:
        kept(made, [measured(BERT, 4.1), measured(INT8, 1.0), measured(VIT, 2.0)], label="good", machine=machine)
        found = [failed(BERT, "reacts", "constant", "it ignores its input"), measured(INT8, 1.0), measured(VIT, 4.0)]
        kept(made, found, label="bad", machine=machine, versions={**versions, "torch": "9.9"})
    return made


@pytest.mark.usefixtures("store")
def test_runs_are_listed_with_what_they_found(invoke: Invoke) -> None:
    rows = [line.split("\t") for line in invoke("matrix", "runs").stdout.splitlines()]
    assert [row[2:] for row in rows] == [
        ["good", "", "ended", "3", "0", "0", "0"],
        ["bad", "", "ended", "2", "1", "0", "0"],
    ]
    found = json.loads(invoke("matrix", "runs", "--json").stdout)
    assert [run["counts"]["failed"] for run in found["runs"]] == [0, 1]
    assert found["runs"][0]["machine"] == describe()[0]


@pytest.mark.usefixtures("store")
def test_reports_are_written_by_their_endings(invoke: Invoke, home: Path) -> None:
    done = invoke("matrix", "report", "--run", "good", "-o", "out/page.html", "-o", "page.md", "-o", "page.csv")
    assert (done.exit_code, done.stdout) == (0, "out/page.html\npage.md\npage.csv\n")
    assert (home / "out" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "| bert\\* | Model | ok 4.1 | ok 1 |" in (home / "page.md").read_text(encoding="utf-8")
    assert len((home / "page.csv").read_text(encoding="utf-8").splitlines()) == 4
    assert invoke("matrix", "report").stdout == "matrix.html\n"
    assert invoke("matrix", "report", "-o", "page.pdf").exit_code == 2


@pytest.mark.usefixtures("store")
def test_all_runs_are_exported_or_some_also_to_stdout(invoke: Invoke, home: Path) -> None:
    assert json.loads(invoke("matrix", "export", "all.jsonl", "--json").stdout)["rows"] == 6
    assert len((home / "all.jsonl").read_text(encoding="utf-8").splitlines()) == 6
    lines = invoke("matrix", "export", "-", "--format", "csv", "--run", "latest").stdout.splitlines()
    assert lines[0].startswith("run,subject,runtime,precision,device,outcome")
    assert len(lines) == 4
    assert invoke("matrix", "export", "-").exit_code == 2


@pytest.mark.usefixtures("store")
def test_a_diff_shows_what_changed_and_never_fails(invoke: Invoke) -> None:
    done = invoke("matrix", "diff", "good", "bad")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [["broke", "bert"], ["slowed", "vit"]]
    assert "it ignores its input" in rows[0][-1]
    assert "torch: 2.13.0 before, 9.9 after" in done.stderr
    assert "1 broke, 1 slowed" in done.stderr
    assert done.exit_code == 0
    assert json.loads(invoke("matrix", "diff", "--json").stdout)["counts"] == {"broke": 1, "slowed": 1}
    assert invoke("matrix", "diff", "latest", "latest").stdout == ""


@pytest.mark.usefixtures("store")
def test_the_gate_ends_with_1_and_names_what_got_worse(invoke: Invoke) -> None:
    done = invoke("matrix", "gate")
    assert done.exit_code == 1
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [["broke", "bert"], ["slowed", "vit"]]
    assert "2 regressions" in done.stderr
    allowed = invoke("matrix", "gate", "--against", "good", "--allow", "slowed:*", "--allow", "bert/torch/*")
    assert (allowed.exit_code, allowed.stdout) == (0, "")
    assert "no regression, 2 more are allowed" in allowed.stderr
    assert invoke("matrix", "gate", "--count", "slowed", "--slower", "3").exit_code == 0
    assert invoke("matrix", "gate", "--run", "good", "--against", "bad").exit_code == 0
    told = json.loads(invoke("matrix", "gate", "--json").stdout)
    assert (told["passed"], [each["kind"] for each in told["regressions"]]) == (False, ["broke", "slowed"])
    assert invoke("matrix", "gate", "--count", "worse").exit_code == 2


@pytest.mark.usefixtures("store")
def test_the_gate_takes_what_it_compares_with_from_a_file_that_is_kept(invoke: Invoke, home: Path) -> None:
    with Store(home / "release.sqlite") as kept_file:
        kept(kept_file, [measured(VIT, 2.0)], label="release", machine={"processor": "another"})
    done = invoke("matrix", "gate", "--against", "release", "--against-store", "release.sqlite")
    assert done.exit_code == 0
    assert "times and memory are not compared" in done.stderr
    forced = invoke("matrix", "gate", "--against", "release", "--against-store", "release.sqlite", "--other-machine")
    assert (forced.exit_code, forced.stdout.split("\t")[0]) == (1, "slowed")


@pytest.mark.usefixtures("store")
def test_advice_for_a_type_and_for_a_checkpoint_of_it(invoke: Invoke, home: Path) -> None:
    done = invoke("matrix", "recommend", "vit", "--all")
    assert done.stdout.splitlines() == [
        "vit on this machine: torch float32, 4 ms, 12 MB",
        "1\ttorch float32, 4 ms, 12 MB",
    ]
    assert "small random model of type vit" in done.stderr
    (home / "mine").mkdir()
    (home / "mine" / "config.json").write_text('{"model_type": "bert"}')
    told = json.loads(invoke("matrix", "recommend", "mine", "--json").stdout)
    assert (told["subject"], told["tiny"]) == ("bert", True)
    assert told["candidates"][0]["precision"] == "int8-weights"
    assert told["left_out"][0]["reason"] == "failed (constant: it ignores its input)"
    refused = invoke("matrix", "recommend", "gpt2")
    assert refused.exit_code == 2
    assert "`ipfs-accelerate matrix --type gpt2" in refused.stderr


def test_shards_are_merged_into_a_new_file(invoke: Invoke, home: Path) -> None:
    for number, result in ((1, measured(BERT)), (2, Result(VIT))):
        with Store(home / f"{number}.sqlite") as shard:
            kept(shard, [result], label="night", plan={"shard": f"{number}/3"}, ended=False)
    done = invoke("matrix", "merge", "all.sqlite", "1.sqlite", "2.sqlite")
    assert done.exit_code == 0
    (name,) = done.stdout.split()
    assert f"{name} still lacks 3/3" in done.stderr
    again = invoke("matrix", "merge", "all.sqlite", "1.sqlite", "2.sqlite")
    assert (again.stdout, again.exit_code) == ("", 0)
    assert "nothing is new" in again.stderr
    runs = invoke("matrix", "runs", "--store", "all.sqlite").stdout.split("\t")
    assert runs[2:] == ["night", "2 shards", "not ended", "1", "0", "0", "1\n"]


def test_where_there_is_no_file_the_command_that_makes_one_is_named(invoke: Invoke, home: Path) -> None:
    for arguments in (["runs"], ["report"], ["diff"], ["gate"], ["recommend", "bert"], ["export", "a.csv"]):
        done = invoke("matrix", *arguments)
        assert done.exit_code == 2
        assert "`ipfs-accelerate matrix` makes one" in done.stderr
    assert list(home.iterdir()) == []
