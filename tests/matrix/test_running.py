"""Runs: interrupted, gone on with, split; what is lost with a process is a row, and no row is made twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_accelerate_py.matrix.plan import Plan, devices_here, make_plan
from ipfs_accelerate_py.matrix.running import begin, found_as, run_cells
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.isolation import Limits
from ipfs_accelerate_py.runtimes.probes.results import FAILED, OK, UNTESTED, Cell, Result
from tests.conftest import ROOT

CELLS = tuple(Cell(f"type{number}", runtime) for number in range(6) for runtime in ("torch", "openvino"))
PLAN = Plan(CELLS, {"runtimes": ["torch", "openvino"]})


def make(note: str = "") -> Callable[[], Callable[[Cell], Result]]:
    """Workers that answer by name; one type ends its process, and with ``note`` one ends the whole program."""

    def work() -> Callable[[Cell], Result]:
        def does(cell: Cell) -> Result:
            if cell == CELLS[3]:
                os._exit(7)
            if note and cell == CELLS[7]:
                os.kill(os.getppid(), signal.SIGKILL)
            return Result(cell, OK, reason=note, measured_at=1.0)

        return does

    return work


def run(store: Store, note: str = "", limits: Limits | None = None) -> list[Result]:
    """The rows that a run makes now."""
    made, _ = begin(store, PLAN, label="test")
    return list(run_cells(store, made, limits or Limits(), work=make(note), warming=lambda runtimes: None))


def main() -> None:
    """The program that is killed."""
    with Store(sys.argv[1]) as store:
        run(store, note="first")


def test_a_run_that_was_killed_is_gone_on_with_and_no_row_is_lost_or_made_again(tmp_path: Path) -> None:
    path = tmp_path / "matrix.sqlite"
    program = "from tests.matrix.test_running import main; main()"
    ended = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    with Store(path) as store:
        before = store.results(store.run().id, untested=False)
        assert [each.cell for each in before] == list(CELLS[:7])
        after = run(store, note="")
        assert [each.cell for each in after] == list(CELLS[7:])
        assert len(store.runs()) == 1
        found = store.results(store.run().id)
        assert [each.cell for each in found] == list(CELLS)
        assert [each.reason for each in found[:3]] == ["first"] * 3
        assert found[3].outcome == FAILED
        assert found[3].failure == "crash"
        assert {each.outcome for each in found if each.cell != CELLS[3]} == {OK}
        assert store.run().ended is not None


def test_rows_are_in_the_store_before_they_are_told(tmp_path: Path) -> None:
    with Store(tmp_path / "m.sqlite") as store:
        made, _ = begin(store, PLAN)
        rows = run_cells(store, made, Limits(), work=make(), warming=lambda runtimes: None)
        first = next(rows)
        assert [each.cell for each in store.results(made.id, untested=False)] == [first.cell]
        rows.close()  # type: ignore[attr-defined]
        assert store.results(made.id)[-1].outcome == UNTESTED
        assert store.run().ended is None


def test_another_question_machine_or_label_is_another_run(tmp_path: Path) -> None:
    with Store(tmp_path / "m.sqlite") as store:
        first, again = begin(store, PLAN)
        assert not again
        assert begin(store, PLAN) == (first, True)
        assert begin(store, Plan(CELLS, {"runtimes": ["torch"]}))[1] is False
        other, again = begin(store, PLAN, label="nightly")
        assert not again
        assert begin(store, PLAN, label="nightly") == (other, True)
        assert begin(store, PLAN, label="nightly", new=True)[1] is False


def test_a_run_takes_further_cells(tmp_path: Path) -> None:
    with Store(tmp_path / "m.sqlite") as store:
        run(store)
        made = store.run()
        assert made.ended is not None
        store.extend(made.id, [Cell("type0"), Cell("type0", "llvm")])
        assert store.left(made.id) == [Cell("type0", "llvm")]
        assert store.run().ended is None
        list(run_cells(store, store.run(), Limits(), work=make(), warming=lambda runtimes: None))
        assert store.left(made.id) == []
        assert len(store.results(made.id)) == len(CELLS) + 1


def test_what_failed_is_tried_again_where_that_is_asked_and_the_rest_is_not(tmp_path: Path) -> None:
    with Store(tmp_path / "m.sqlite") as store:
        run(store)
        made = store.run()
        rows = list(
            run_cells(
                store,
                made,
                Limits(),
                again=found_as(store, made, CELLS[2:], (FAILED,)),
                work=make("again"),
                warming=lambda runtimes: None,
            )
        )
        assert [each.cell for each in rows] == [CELLS[3]]
        assert [each.cell for each in store.results(made.id)] == list(CELLS)
        assert {each.reason for each in store.results(made.id) if each.outcome == OK} == {""}


def test_cells_of_a_device_that_is_not_here_stay_untested(tmp_path: Path) -> None:
    if not devices_here()["cuda"]:
        pytest.skip("this machine has CUDA")
    plan = Plan((Cell("type0"), Cell("type0", device="cuda")))
    with Store(tmp_path / "m.sqlite") as store:
        made, _ = begin(store, plan)
        rows = list(run_cells(store, made, Limits(), work=make(), warming=lambda runtimes: None))
        assert [each.cell for each in rows] == [Cell("type0")]
        assert [each.outcome for each in store.results(made.id)] == [OK, UNTESTED]
        assert store.run().ended is not None


def test_a_budget_of_time_leaves_the_rest_untested(tmp_path: Path) -> None:
    with Store(tmp_path / "m.sqlite") as store:
        assert run(store, limits=Limits(budget=0.0)) == []
        assert {each.outcome for each in store.results(store.run().id)} == {UNTESTED}
        assert store.run().ended is None


def test_types_of_all_runtimes_through_the_real_probes(tmp_path: Path) -> None:
    plan = make_plan(types=("bert",), runtimes=("torch", "openvino"), precisions=("float32",))
    with Store(tmp_path / "m.sqlite") as store:
        made, _ = begin(store, plan)
        rows = list(run_cells(store, made, Limits(jobs=2, timeout=300), seconds=0.01))
        assert sorted(each.cell for each in rows) == sorted(plan.cells)
        assert {(each.outcome, each.reason) for each in rows} == {(OK, "")}
        assert all(each.figures["latency_ms"] > 0 for each in rows)
        assert store.run().versions["torch"]
        assert "processor" in store.run().machine


def test_an_estimate_knows_that_runtimes_differ() -> None:
    from ipfs_accelerate_py.cli.matrix.watching import Estimate

    now = [0.0]
    estimate = Estimate(CELLS, clock=lambda: now[0])
    assert estimate.seconds() is None
    now[0] = 1.0
    estimate.add(Result(CELLS[0], seconds=1.0))
    assert estimate.seconds() is None  # nothing is known of OpenVINO
    now[0] = 10.0
    estimate.add(Result(CELLS[1], seconds=9.0))
    assert estimate.seconds() == 5 * 1.0 + 5 * 9.0
