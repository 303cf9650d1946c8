"""Advice read from measurements on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.recommend import choose, recommend
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.results import Cell, Result
from tests.matrix.support import MACHINE, failed, kept, measured

TORCH = Cell("bert")
HALF = Cell("bert", "torch", "bfloat16")
INT8 = Cell("bert", "openvino", "int8-weights")
INT4 = Cell("bert", "openvino", "int4")
LLVM = Cell("bert", "llvm")
FOUND = [
    measured(TORCH, 4.1, peak_bytes=50e6),
    measured(HALF, 8.0, peak_bytes=6e6, throughput=900.0),
    measured(INT8, 1.0, peak_bytes=12e6, cosine=0.998),
    measured(INT4, 0.5, cosine=0.91),
    failed(LLVM, "exported", "operator", "no such operation"),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "matrix.sqlite") as made:
        yield made


def test_the_fastest_that_agrees_with_what_it_was_measured_on(store: Store) -> None:
    run = kept(store, FOUND)
    said = recommend(store, "bert", MACHINE)
    assert said.sentence == "bert on this machine: openvino int8-weights, 4.1x torch float32, cosine 0.998, 12 MB"
    assert said.run == run
    assert [each.result.cell for each in said.candidates] == [INT8, TORCH, HALF]
    assert {result.cell: why for result, why in said.left_out} == {
        INT4: "cosine 0.910 is below 0.99",
        LLVM: "failed (operator: no such operation)",
    }
    assert "small random model of type bert" in said.caution


def test_what_is_best_depends_on_what_is_asked_for(store: Store) -> None:
    kept(store, FOUND)
    assert recommend(store, "bert", MACHINE, criterion="memory").candidates[0].result.cell == HALF
    most = recommend(store, "bert", MACHINE, criterion="throughput")
    assert most.candidates[0].result.cell == INT8
    assert "2,000 inputs/s" in most.sentence
    assert recommend(store, "bert", MACHINE, cosine=0.9).candidates[0].result.cell == INT4
    strict = recommend(store, "bert", MACHINE, cosine=0.9999999)
    assert strict.sentence == "bert on this machine: torch float32, 4.1 ms, 50 MB"
    with pytest.raises(ConfigurationError, match="criterion 'beauty'"):
        recommend(store, "bert", MACHINE, criterion="beauty")


def test_what_the_spread_does_not_tell_apart_is_said(store: Store) -> None:
    kept(store, [measured(TORCH, 1.1), measured(INT8, 1.0, latency_high_ms=1.3), measured(HALF, 2.0)])
    assert [each.result.cell for each in recommend(store, "bert", MACHINE).tied] == [TORCH]


def test_only_cells_of_one_run_are_compared_and_the_newest_that_has_the_type(store: Store) -> None:
    kept(store, FOUND)
    kept(store, [measured(TORCH, 3.0), Result(INT8)])
    kept(store, [measured(Cell("gpt2"))])
    said = recommend(store, "bert", MACHINE)
    assert [each.result.cell for each in said.candidates] == [TORCH]
    assert said.run == store.run("latest~1")
    assert [why for _, why in said.left_out] == ["untested"]


def test_measurements_of_another_machine_say_nothing_here(store: Store) -> None:
    kept(store, FOUND, machine={**MACHINE, "processors": 64})
    with pytest.raises(
        ConfigurationError, match=r"nothing was measured for 'bert'.*1 runs are of other machines.*--type bert"
    ):
        recommend(store, "bert", MACHINE)


def test_a_checkpoint_is_told_apart_from_its_type(store: Store) -> None:
    kept(store, FOUND)
    own = [replace(each, cell=each.cell._replace(subject="my-bert"), model_type="bert") for each in FOUND]
    before = recommend(store, "my-bert", MACHINE, model_type="bert")
    assert before.sentence.startswith("my-bert on this machine: openvino int8-weights")
    assert "type bert, not on my-bert" in before.caution
    kept(store, own)
    after = recommend(store, "my-bert", MACHINE, model_type="bert")
    assert (after.tiny, after.caution) == (False, "")


def test_where_nothing_works_that_is_the_answer(store: Store) -> None:
    kept(store, [failed(LLVM, "exported", "operator")])
    assert "nothing that was measured works" in recommend(store, "bert", MACHINE).sentence


def test_without_the_reference_there_is_no_ratio() -> None:
    best, _ = choose([measured(INT8, 1.0)])
    assert best[0].faster is None
    assert best[0].words == "openvino int8-weights, cosine 0.9999, 12 MB"
    unchecked = replace(measured(INT8), figures={"latency_ms": 1.0})
    _, out = choose([unchecked])
    assert "agreement" in out[0][1]


def test_a_busy_machine_does_not_decide() -> None:
    # While OpenVINO was timed the machine did other work, at a lower clock: its latency is ten times its own time.
    torch, busy = measured(TORCH, 4.0), measured(INT8, 20.0, cpu_ms=2.0, gauge=2.0)
    best, _ = choose([torch, busy])
    assert best[0].result == busy
    assert best[0].faster == pytest.approx(4.0)
