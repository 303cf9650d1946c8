"""When a batch goes, and how much is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.pipeline.batching import BatchStrategy, Strategies
from ipfs_accelerate_py.pipeline.batching.cutter import BatchCutter
from ipfs_accelerate_py.pipeline.batching.strategies import BELIEVED
from ipfs_accelerate_py.types import Operation
from tests.pipeline.support import Clock

EMBED = Operation.EMBED


def cutter(clock: Clock, items: int = 4, tokens: float = 100, wait: float = 0.5) -> BatchCutter[str]:
    return BatchCutter(items, tokens, wait, clock)


def test_nobody_waits_while_nothing_is_under_way() -> None:
    found = cutter(Clock())
    assert found.due() is None
    assert found.add("a", 1, 1) == []
    assert found.due() == 0.0


def test_the_window_begins_with_the_first_and_only_while_something_is_under_way() -> None:
    clock = Clock()
    found = cutter(clock)
    found.running = 1
    found.add("a", 1, 1)
    clock.advance(0.2)
    found.add("b", 1, 1)
    assert found.due() == pytest.approx(0.3)
    clock.advance(0.4)
    assert found.due() == 0.0
    assert found.cut() == ["a", "b"]
    assert found.due() is None
    found.add("c", 1, 1)
    assert found.due() == pytest.approx(0.5)
    found.running = 0
    assert found.due() == 0.0


def test_a_full_one_goes_at_once() -> None:
    found = cutter(Clock())
    assert found.add("a", 2, 1) == []
    assert found.add("b", 2, 1) == [["a", "b"]]
    assert found.add("c", 3, 1) == []
    assert found.add("d", 2, 1) == [["c"]]  # it would be too many: those that wait go without it
    assert found.add("e", 1, 99) == [["d", "e"]]
    assert found.add("f", 1, 60) == []
    assert found.add("g", 1, 60) == [["f"]]
    assert found.add("h", 9, 1) == [["g"], ["h"]]


def test_who_leaves_takes_its_size_along() -> None:
    found = cutter(Clock())
    found.add("a", 3, 50)
    assert found.remove("a")
    assert not found.remove("a")
    assert found.due() is None
    found.add("b", 3, 50)
    assert found.cut() == ["b"]


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 60), st.booleans()), max_size=60),
    st.integers(1, 10),
    st.integers(1, 80),
)
def test_nothing_is_lost_doubled_reordered_or_too_large(
    steps: list[tuple[int, int, bool]], items: int, tokens: int
) -> None:
    found: BatchCutter[int] = BatchCutter(items, tokens, 1.0, Clock())
    sent: list[list[int]] = []
    gone = set()
    for number, (count, weight, leaves) in enumerate(steps):
        sent += found.add(number, count, weight)
        if leaves and found.remove(number):
            gone.add(number)
    sent.append(found.cut())
    assert [entry for batch in sent for entry in batch] == [n for n in range(len(steps)) if n not in gone]
    for batch in sent:
        sizes = [steps[entry] for entry in batch]
        if len(batch) > 1:
            assert sum(each[0] for each in sizes) <= items
            assert sum(each[1] for each in sizes) <= tokens


def test_what_is_known_of_services() -> None:
    openai = Strategies(service="openai").bounds(EMBED, "text-embedding-3-small")
    assert (openai.items, openai.most_items, openai.most_tokens) == (64, 2048, 300_000)
    assert Strategies(max_items=5000, service="openai").bounds(EMBED, "x").items == 2048
    assert Strategies(service="gemini").bounds(EMBED, "x").most_items == 100
    assert Strategies(service="hf_tei").bounds(Operation.RERANK, "x")[:2] == (32, float("inf"))
    assert Strategies().bounds(EMBED, "text-embedding-3-large").most_items == 2048
    assert Strategies().bounds(EMBED, "text-embedding-004").most_items == 100
    assert Strategies().bounds(EMBED, "mine").most_items == float("inf")
    assert Strategies(service="openai").bounds(Operation.MODERATE, "x").items == 32


def test_the_callers_own_strategies_come_first() -> None:
    found = Strategies(
        max_items=50,
        max_wait=0.2,
        given={"big-*": BatchStrategy(500, 9000, 0.0), "*": BatchStrategy(max_wait=0.5)},
        service="openai",
    )
    assert found.bounds(EMBED, "big-one") == (500, 9000, 0.0, 500, 9000)
    assert found.bounds(EMBED, "other") == (50, 300_000, 0.5, 2048, 300_000)


def test_a_limit_that_was_met_is_believed_for_a_while() -> None:
    clock = Clock()
    found = Strategies(clock=clock)
    found.refused(EMBED, "m", 40)
    assert found.bounds(EMBED, "m").items == 20
    assert found.bounds(EMBED, "other").items == 64
    clock.advance(BELIEVED)
    assert found.bounds(EMBED, "m").items == 64


def test_the_service_says_what_it_takes() -> None:
    found = Strategies(max_items=500, service="hf_tei")
    assert found.bounds(EMBED, "m").items == 32
    found.service_takes(256)
    assert found.bounds(EMBED, "m").items == 256


@pytest.mark.parametrize("wrong", [{"max_items": 0}, {"max_tokens": True}, {"max_wait": -1}, {"max_wait": 61}])
def test_wrong_strategies_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        BatchStrategy(**wrong)
    with pytest.raises(ConfigurationError, match="BatchStrategy"):
        Strategies(given={"*": 5})  # type: ignore[dict-item]
