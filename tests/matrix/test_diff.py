"""Two runs held against one another, and the gate that lets no regression through."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.diff import Bounds, Change, Diff, diff
from ipfs_accelerate_py.matrix.gate import regressions
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.results import FAILED, Cell, Result
from tests.matrix.support import MACHINE, VERSIONS, failed, kept, measured, moved, skipped

BERT, GPT2, VIT = Cell("bert"), Cell("gpt2", "openvino", "int8-weights"), Cell("vit", "torch", "float32", "cuda")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "matrix.sqlite") as made:
        yield made


@pytest.fixture
def between(store: Store) -> Callable[..., Diff]:
    """The difference between two runs of these results."""

    def held(
        before: Sequence[Result],
        after: Sequence[Result],
        *,
        bounds: Bounds | None = None,
        machine: dict[str, Any] = MACHINE,
        versions: dict[str, str] = VERSIONS,
    ) -> Diff:
        first = kept(store, before)
        second = kept(store, after, machine=machine, versions=versions)
        return diff(store, first, second, bounds)

    return held


def only(found: Diff) -> Change:
    (change,) = found.changes
    return change


FAULTS = {
    "constant": failed(BERT, "reacts", "constant", "two inputs give the same outputs"),
    "not-finite": failed(BERT, "finite", "not-finite", "logits has NaN"),
    "batch-differs": failed(BERT, "batched", "batch-differs", "row 1 is 0.3 from what it is alone"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_with_its_check(between: Callable[..., Diff], fault: str) -> None:
    found = between([measured(BERT), measured(GPT2)], [FAULTS[fault], measured(GPT2)])
    counting, _ = regressions(found)
    assert counting == [only(found)]
    assert counting[0].kind == "broke"
    assert counting[0].cell == BERT
    assert counting[0].check == {"constant": "reacts", "not-finite": "finite", "batch-differs": "batched"}[fault]
    assert FAULTS[fault].reason in counting[0].line


def test_twice_as_slow_is_a_regression_and_twice_as_fast_is_none(between: Callable[..., Diff]) -> None:
    found = between([measured(BERT, 2.0), measured(GPT2, 4.0)], [measured(BERT, 4.0), measured(GPT2, 2.0)])
    assert [(each.kind, each.cell, each.ratio) for each in found.changes] == [
        ("slowed", BERT, 2.0),
        ("faster", GPT2, 0.5),
    ]
    assert [each.cell for each in regressions(found)[0]] == [BERT]


def test_noise_is_no_regression(between: Callable[..., Diff]) -> None:
    # Medians up to 20 % apart, quartiles that jitter, memory and cosines that are never quite the same.
    chance = random.Random(3)
    before = [measured(Cell(f"type-{number}"), chance.uniform(0.05, 40)) for number in range(300)]

    def again(result: Result) -> Result:
        by = chance.uniform(0.8, 1.2)
        figures = {name: value * by if name.endswith("_ms") and name != "gauge_ms" else value
                   for name, value in result.figures.items()}  # fmt: skip
        figures["latency_low_ms"] *= chance.uniform(0.7, 1.0)
        figures["latency_high_ms"] *= chance.uniform(1.0, 1.6)
        figures["peak_bytes"] *= chance.uniform(0.8, 1.2)
        figures["cosine"] = figures.get("cosine", 1.0) - chance.uniform(0, 0.001)
        return replace(result, figures=figures)

    found = between(before, [again(each) for each in before])
    assert found.compared == 300
    assert not found.changes


def test_a_machine_that_is_slow_that_day_raises_no_alarm(between: Callable[..., Diff]) -> None:
    # Everything takes three times as long, the gauge too: another's work, or a lower clock.
    found = between(
        [measured(BERT, 2.0), measured(GPT2, 9.0)], [moved(measured(BERT, 2.0), 3), moved(measured(GPT2, 9.0), 3)]
    )
    assert not found.changes
    slower = between([measured(BERT, 2.0)], [moved(measured(BERT, 4.0), 3)])
    assert only(slower).kind == "slowed"
    assert only(slower).ratio == pytest.approx(2.0)


def test_the_largest_of_noise_is_not_enough_where_the_quartiles_meet(between: Callable[..., Diff]) -> None:
    wide = measured(BERT, 4.0, latency_low_ms=1.5, latency_high_ms=9.0)
    assert not between([measured(BERT, 2.0)], [wide]).changes


def test_microseconds_are_no_matter(between: Callable[..., Diff]) -> None:
    assert not between([measured(BERT, 0.05)], [measured(BERT, 0.15)]).changes
    assert between([measured(BERT, 0.05)], [measured(BERT, 0.15)], bounds=Bounds(slower_ms=0.01)).counts == {
        "slowed": 1
    }


def test_a_device_that_is_not_the_processor_is_judged_by_latency(between: Callable[..., Diff]) -> None:
    # Its processor time says only how long it took to hand the work over.
    before, after = measured(VIT, 2.0), measured(VIT, 6.0, cpu_ms=2.0)
    assert only(between([before], [after])).kind == "slowed"


def test_what_healed_appeared_vanished_and_was_not_tried(between: Callable[..., Diff]) -> None:
    new, old, left = Cell("new"), Cell("old"), Cell("left")
    found = between(
        [failed(BERT, "ran", "shape"), measured(old), measured(left), skipped(GPT2, "no such thing")],
        [measured(BERT), measured(new), Result(left), measured(GPT2)],
    )
    kinds = {change.cell: change.kind for change in found.changes}
    assert kinds == {BERT: "healed", GPT2: "healed", new: "appeared", old: "vanished", left: "untested"}
    assert [change.cell for change in regressions(found)[0]] == [left]


def test_what_fails_at_more_than_before_is_new(between: Callable[..., Diff]) -> None:
    before = failed(BERT, "batched", "batch-differs")
    earlier = failed(BERT, "finite", "not-finite")
    assert only(between([before], [earlier])).kind == "fails anew"
    assert only(between([before], [earlier])).check == "finite"
    assert only(between([skipped(BERT, "why")], [earlier])).kind == "fails anew"
    assert not between([before], [before]).changes
    otherwise = between([before], [replace(before, failure="error")])
    assert only(otherwise).kind == "fails otherwise"
    assert regressions(otherwise) == ([], [])


def test_ok_to_skipped_is_a_loss(between: Callable[..., Diff]) -> None:
    found = between([measured(BERT)], [skipped(BERT, "the runtime is not installed")])
    assert only(found).line == "lost: bert, torch float32: the runtime is not installed"
    assert regressions(found)[0] == [only(found)]
    assert regressions(between([failed(BERT, "ran", "shape")], [skipped(BERT, "x")])) == ([], [])


def test_more_memory_and_less_agreement(between: Callable[..., Diff]) -> None:
    found = between([measured(GPT2)], [measured(GPT2, peak_bytes=36e6, cosine=0.98)])
    assert [change.kind for change in regressions(found)[0]] == ["more memory", "agrees less"]
    assert "12 MB to 36 MB (x3.00)" in found.changes[0].what
    assert "cosine 0.9999 to 0.980" in found.changes[1].what
    small = between([measured(GPT2, peak_bytes=1e6)], [measured(GPT2, peak_bytes=3e6)])
    assert not small.changes


def test_times_of_other_machines_are_not_compared_but_by_force(between: Callable[..., Diff]) -> None:
    other = {**MACHINE, "processor": "Another Processor"}
    before, after = [measured(BERT), measured(GPT2)], [measured(BERT, 9.0), FAULTS["constant"]]
    after = [measured(BERT, 9.0), replace(FAULTS["constant"], cell=GPT2)]
    found = between(before, after, machine=other)
    assert [change.kind for change in found.changes] == ["broke"]
    assert "different machines" in found.untimed
    assert "'A Processor 9000' and 'Another Processor'" in found.untimed
    forced = between(before, after, machine=other, bounds=Bounds(times=True))
    assert forced.untimed == ""
    assert [change.kind for change in forced.changes] == ["broke", "slowed"]


def test_versions_that_changed_are_told(between: Callable[..., Diff]) -> None:
    found = between(
        [measured(BERT)], [measured(BERT)], versions={"torch": "2.14.0", "openvino": "2026.4", "transformers": "5.23.0"}
    )
    assert found.versions == {"openvino": ("", "2026.4"), "torch": ("2.13.0", "2.14.0")}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [("bert", 1), ("b*", 1), ("bert/torch/*", 1), ("*/torch/float32/cpu", 1), ("broke:bert", 1), ("*", 0),
     ("broke:*", 0), ("slowed:bert", 2), ("BERT", 2), ("bert/openvino/*", 2)],
)  # fmt: skip
def test_what_is_allowed_does_not_count(between: Callable[..., Diff], pattern: str, left: int) -> None:
    found = between([measured(BERT), measured(GPT2)], [FAULTS["constant"], replace(FAULTS["constant"], cell=GPT2)])
    counting, allowed = regressions(found, allow=[pattern])
    assert (len(counting), len(allowed)) == (left, 2 - left)


def test_which_kinds_count_can_be_said(between: Callable[..., Diff]) -> None:
    found = between([measured(BERT), measured(GPT2)], [FAULTS["constant"], measured(GPT2, 9.0)])
    assert [change.kind for change in regressions(found, kinds=["slowed"])[0]] == ["slowed"]
    with pytest.raises(ConfigurationError, match="no kind of change 'worse'"):
        regressions(found, kinds=["worse"])


def test_a_run_of_another_file_can_be_what_is_compared_with(store: Store, tmp_path: Path) -> None:
    with Store(tmp_path / "baseline.sqlite") as baseline:
        before = kept(baseline, [measured(BERT)], label="release")
        after = kept(store, [FAULTS["constant"]])
        found = diff(store, before, after, other=baseline)
    assert found.counts == {"broke": 1}
    assert found.plain()["changes"][0] == {
        **BERT._asdict(),
        "kind": "broke",
        "check": "reacts",
        "what": f"{FAILED}, not reacts, constant: {FAULTS['constant'].reason}",
        "ratio": None,
    }
