"""Turns, and which figures may be set beside one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ipfs_accelerate_py.bench.figures import HIGHER, LOWER, Case, Measurement, Session
from ipfs_accelerate_py.bench.pairing import compare, in_turns, turns
from ipfs_accelerate_py.errors import ConfigurationError

CASE = Case("embeddings", "bert", "torch", "float32", "cpu", 8, "16 tokens")


def measured(session: Session, runtime: str, values: list[float], better: str = HIGHER) -> Measurement:
    found = session.measurement(replace(CASE, runtime=runtime), "speed", "1/s", better, "together")
    for number, value in enumerate(values):
        found.add(number, value)
    return found


def here() -> Session:
    return Session("bench", 2, {"processor": "one"})


def test_everyone_has_a_turn_in_each_round_and_the_order_changes() -> None:
    assert list(turns("ABC", 3)) == [
        (0, "A"), (0, "B"), (0, "C"), (1, "C"), (1, "B"), (1, "A"), (2, "A"), (2, "B"), (2, "C"),
    ]  # fmt: skip


def test_the_first_turn_of_each_does_not_count() -> None:
    seen: list[str] = []

    def measure(each: str) -> int:
        seen.append(each)
        return len(seen)

    found = list(
        in_turns(
            "AB",
            2,
            measure,
            warm=lambda each: seen.append(f"warm {each}"),
            between=lambda number: seen.append(f"round {number}"),
        )
    )
    assert seen == ["warm A", "warm B", "round 0", "A", "B", "round 1", "B", "A"]
    assert [(number, each) for number, each, _ in found] == [(0, "A"), (0, "B"), (1, "B"), (1, "A")]


def test_a_ratio_is_the_median_of_those_within_the_rounds() -> None:
    session = here()
    # The machine was half as fast in the second round: the ratio of the medians would be 3.
    one, other = measured(session, "openvino", [20, 60, 20]), measured(session, "torch", [10, 20, 10])
    ratio = compare(one, other)
    assert ratio.ratios == (2, 3, 2)
    assert ratio.median == 2
    assert ratio.clear
    assert ratio.text() == "2.00 x (2.00 to 3.00)"
    assert compare(other, one).median == 0.5


def test_where_less_is_better_the_ratio_is_turned_round() -> None:
    session = here()
    fast, slow = measured(session, "openvino", [1, 1], LOWER), measured(session, "torch", [4, 2], LOWER)
    assert compare(fast, slow).median == 3
    assert not compare(measured(session, "a", [1, 3]), measured(session, "b", [2, 2])).clear


def test_refuses_to_compare_what_was_measured_apart() -> None:
    session = here()
    one, other = measured(session, "openvino", [20, 60]), measured(session, "torch", [10, 20])

    def elsewhere(**changes: object) -> Measurement:
        apart = replace(session, measurements=[], **changes)  # type: ignore[arg-type]
        return measured(apart, "torch", [10, 20])

    def changed(change: Callable[[Measurement], None]) -> Measurement:
        made = measured(replace(session, measurements=[]), "torch", [10, 20])
        change(made)
        return made

    def single(made: Measurement) -> None:
        made.turns = ""

    for apart, reason in (
        (elsewhere(id="another"), "in different sessions, not in turns"),
        (elsewhere(machine={"processor": "two"}), "on different machines"),
        (elsewhere(threads=4), "different numbers of threads"),
        (changed(single), "not in the same rounds"),
        (changed(lambda made: made.add(2, 3.0)), "not in the same rounds"),
        (changed(lambda made: setattr(made, "unit", "1/h")), "one is speed in 1/s, the other speed in 1/h"),
        (changed(lambda made: setattr(made, "case", replace(made.case, batch=1))), "different questions"),
        (changed(lambda made: setattr(made, "session", None)), "no session"),
        (changed(lambda made: made.values.__setitem__(0, 0.0)), "a value of zero"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            compare(one, apart)
    weights = session.measurement(CASE, "weights", "bytes", "", "together")
    with pytest.raises(ConfigurationError, match="no value is the better one"):
        compare(weights, weights)
    assert compare(one, other).median == pytest.approx(2.5)
