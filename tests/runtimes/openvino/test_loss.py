"""What quantising is said to cost."""

from __future__ import annotations

import numpy as np

from ipfs_accelerate_py.runtimes.engines.loss import measure


def test_equal_answers_cost_nothing() -> None:
    rows = [{"logits": np.array([[1.0, 2.0], [3.0, -1.0]], np.float32)}]
    loss = measure(rows, rows)
    assert (loss.rows, round(loss.cosine, 12), loss.difference, loss.perplexity) == (2, 1.0, 0.0, None)
    assert loss.too_much() is None


def test_other_answers_are_refused_with_the_figure() -> None:
    loss = measure([{"logits": np.array([[1.0, 0.0]])}], [{"logits": np.array([[0.0, 1.0]])}])
    reason = loss.too_much()
    assert reason is not None
    assert "0.0000" in reason


def test_padding_is_left_out() -> None:
    before = np.ones((1, 3, 2), np.float32)
    after = before.copy()
    after[0, 2] = -5
    mask = np.array([[1, 1, 0]])
    assert measure([{"last_hidden_state": before}], [{"last_hidden_state": after}], masks=[mask]).difference == 0.0


def test_perplexity_is_that_of_the_texts_the_first_would_write() -> None:
    before = np.log(np.array([[[0.5, 0.5]]]))
    after = np.log(np.array([[[0.25, 0.75]]]))
    loss = measure([{"logits": before}], [{"logits": after}], writes=True)
    assert loss.perplexity is not None
    assert abs(loss.perplexity - float(np.exp(0.5 * np.log(2) + 0.5 * np.log(2 / 3)))) < 1e-9
    assert loss.too_much() is not None


def test_what_is_no_number_is_refused() -> None:
    rows, broken = [{"logits": np.ones((1, 2))}], [{"logits": np.full((1, 2), np.nan)}]
    assert measure(rows, broken).too_much() == "its answers are not finite numbers"
