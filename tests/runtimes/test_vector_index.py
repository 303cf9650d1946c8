"""The index of a semantic cache finds exactly what is near enough, whatever came and went."""

from __future__ import annotations

import sys
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra

np = pytest.importorskip("numpy")

from ipfs_accelerate_py.runtimes import vector_index  # noqa: E402  # numpy first
from ipfs_accelerate_py.runtimes.vector_index import VectorIndex  # noqa: E402


def vectors(count: int, size: int, seed: int = 0) -> Any:
    """Unit vectors whose numbers hold less and less, in axes of their own, as embeddings are."""
    draw = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(draw.normal(size=(size, size)))
    made = (draw.normal(size=(count, size)) / np.sqrt(np.arange(1, size + 1))) @ axes.T
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def expected(kept: dict[int, tuple[str, Any]], group: str, query: Any, threshold: float) -> dict[int, float]:
    unit = query / np.linalg.norm(query)
    found = {number: float(vector @ unit) for number, (name, vector) in kept.items() if name == group}
    return {number: value for number, value in found.items() if value >= threshold}


def agree(index: VectorIndex, kept: dict[int, tuple[str, Any]], group: str, query: Any, threshold: float) -> None:
    found = index.search(group, query, threshold, limit=10**6)
    wanted = expected(kept, group, query, threshold)
    # At the very threshold rounding decides.
    assert {number for number, value in wanted.items() if value > threshold + 1e-5} <= {number for number, _ in found}
    assert all(value >= threshold for _, value in found)
    for number, value in found:
        assert value == pytest.approx(expected(kept, group, query, -2)[number], abs=1e-5)
    assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab"), st.booleans()), max_size=80),
    st.floats(-1, 1),
)
def test_adding_and_removing(steps: list[tuple[int, str, bool]], threshold: float) -> None:
    pool = vectors(200, 8)
    index = VectorIndex()
    kept: dict[int, tuple[str, Any]] = {}
    for at, (number, group, adds) in enumerate(steps):
        if adds:
            index.add(group, number, pool[at] * 3)
            kept[number] = (group, pool[at])
        else:
            index.remove(number)
            kept.pop(number, None)
        assert len(index) == len(kept)
    for group in "ab":
        agree(index, kept, group, pool[100], threshold)


@pytest.mark.parametrize("sample", [64, 4096])
def test_blocks_turned_and_not(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    monkeypatch.setattr(vector_index, "_BLOCK", 64)
    monkeypatch.setattr(vector_index, "_SAMPLE", sample)
    pool = vectors(600, 160)
    index = VectorIndex()
    kept: dict[int, tuple[str, Any]] = {}
    draw = np.random.default_rng(1)
    for number in range(500):
        group = "ab"[number % 3 == 0]
        index.add(group, number, pool[number])
        kept[number] = (group, pool[number])
        if number % 5 == 4:
            gone = int(draw.choice(list(kept)))
            index.remove(gone)
            del kept[gone]
        if number % 50 == 49:
            near = pool[number] + 0.05 * pool[number - 1]
            for threshold in (0.3, 0.9, 0.99):
                for group in "ab":
                    agree(index, kept, group, near, threshold)
    for number in list(kept):
        index.remove(number)
    assert (len(index), index.nbytes, index.search("a", pool[0], -1)) == (0, 0, [])


def test_a_group_is_searched_alone() -> None:
    index = VectorIndex()
    for number in range(1000):
        index.add(number, number, [1.0, 0.0])
    assert index.search(7, [2.0, 0.0], 0.9) == [(7, 1.0)]
    assert index.search("nobody", [1.0, 0.0], 0.9) == []
    assert index.nbytes < 1000 * 16 * 3 * 4 + 1  # a little room for each, and no block


@pytest.mark.parametrize("wrong", [[], [1.0], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 1.0], [[1.0, 0.0]]])
def test_what_is_no_vector_is_refused(wrong: Any) -> None:
    index = VectorIndex()
    index.add("a", 1, [1.0, 0.0])
    for attempt in (lambda: index.add("a", 2, wrong), lambda: index.search("a", wrong, 0.5)):
        with pytest.raises(ConfigurationError, match="embedding"):
            attempt()
    assert len(index) == 1


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra, match=r"\[semantic\]"):
        VectorIndex()
