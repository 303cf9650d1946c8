"""The guard of the semantic cache: what differs in more than its wording is told apart."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ipfs_accelerate_py.pipeline.cache.wording import plain, same_question

PAIRS = json.loads((Path(__file__).resolve().parents[2] / "data" / "semantic_pairs.json").read_text(encoding="utf-8"))


def test_there_are_enough_pairs_of_every_kind() -> None:
    assert len(PAIRS["different"]) >= 250
    assert len(PAIRS["same"]) >= 100
    kinds = {pair["kind"] for pair in PAIRS["different"]}
    assert {"negation", "number", "name", "unit", "direction", "quantity", "opposite", "time"} <= kinds
    every = [frozenset((pair["a"], pair["b"])) for group in PAIRS.values() for pair in group]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("pair", PAIRS["different"], ids=lambda pair: f"{pair['a']} {pair['b']}"[:60])
def test_what_differs_never_hits(pair: dict[str, str]) -> None:
    assert not same_question(pair["a"], pair["b"]), (plain(pair["a"]), plain(pair["b"]))
    assert not same_question(pair["b"], pair["a"])


def test_most_of_what_asks_the_same_may_hit() -> None:
    hits = sum(same_question(pair["a"], pair["b"]) for pair in PAIRS["same"])
    assert hits / len(PAIRS["same"]) > 0.6


@given(st.text(max_size=60))
def test_any_text_is_itself_and_nothing_is_raised(text: str) -> None:
    assert same_question(text, text)
    assert same_question(f" {text} ", text) or not text.strip()


WORDS = st.sampled_from(
    [
        "what",
        "is",
        "are",
        "the",
        "a",
        "of",
        "in",
        "to",
        "how",
        "do",
        "does",
        "did",
        "not",
        "can",
        "could",
        "you",
        "who",
        "why",
        "5",
        "6",
        "seven",
        "kg",
        "Paris",
        "London",
        "US",
        "us",
        "it",
        "IT",
        "prime",
        "number",
        "capital",
        "define",
        "list",
        "explain",
        "name",
        "tell",
        "me",
        "please",
        "big",
        "large",
        "may",
        "May",
        "10%",
        "-3",
        '"x"',
        "and",
        "or",
        "with",
        "without",
    ]
)


@given(
    st.lists(WORDS, min_size=1, max_size=7), st.integers(0, 6), st.sampled_from(["not", "8", "never", "Berlin", "lb"])
)
def test_one_word_more_of_those_that_matter_is_another_question(words: list[str], at: int, more: str) -> None:
    longer = [*words[:at], more, *words[at:]]
    assert not same_question(" ".join(words), " ".join(longer))
