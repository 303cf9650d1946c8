"""Vectors and hidden states of texts: without padding, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.results import Features, Vector
from ipfs_accelerate_py.runtimes.processing.tokens import Tokens
from ipfs_accelerate_py.runtimes.processing.windows import best_views

from .small import Served

TEXTS = ["the quick brown fox", "a", "anna works at ac in new york city"]


def test_hidden_states_are_cut_to_the_texts_own_length(served: Callable[..., Served], pipeline: Any) -> None:
    import numpy as np

    model = served("feature-extraction", "BertModel")
    reference = pipeline("feature-extraction", model)
    for text, found in zip(TEXTS, model(*TEXTS), strict=True):
        assert isinstance(found, Features)
        tensors = {each.name: each for each in found.tensors}
        hidden = np.frombuffer(tensors["last_hidden_state"].data, "<f4").reshape(tensors["last_hidden_state"].shape)
        assert hidden == pytest.approx(np.asarray(reference(text)[0], dtype="f4"), abs=1e-4)
        assert tensors["pooler_output"].shape == [32]
    (found,) = model(TEXTS[0], outputs=["pooler_output"])
    assert isinstance(found, Features)
    assert [each.name for each in found.tensors] == ["pooler_output"]
    with pytest.raises(InvalidRequest, match="last_hidden_state"):
        model(TEXTS[0], outputs=["nothing"])


@pytest.mark.parametrize("kind", ["mean", "cls", "last", "max"])
def test_a_vector_is_pooled_as_asked(served: Callable[..., Served], kind: str) -> None:
    import numpy as np
    import torch

    model = served("sentence-similarity", "BertModel")
    tokenizer = model.processing.tokenizer.inner  # type: ignore[attr-defined]
    for text, found in zip(TEXTS, model(*TEXTS, pooling=kind, normalize=False), strict=True):
        with torch.no_grad():
            hidden = model.model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy()
        ways = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1], "max": hidden.max(0)}
        assert isinstance(found, Vector)
        assert found.values == pytest.approx(ways[kind], abs=1e-4)
    (unit,) = model(TEXTS[0], dimensions=8)
    assert isinstance(unit, Vector)
    assert len(unit.values) == 8
    assert np.linalg.norm(unit.values) == pytest.approx(1)


def test_windows_cover_a_part_and_keep_what_is_around_it() -> None:
    part: list[int | None] = [None, 0, 0, None, *[1] * 10, None]
    tokens = Tokens({"input_ids": list(range(15))}, part, [(0, 0)] * 15, [None] * 15)
    windows = tokens.windows(1, 9, 2)
    assert [start for start, _ in windows] == [0, 2, 4, 6]
    assert all(len(each) == 9 for _, each in windows)
    seen: set[int] = set()
    for start, window in windows:
        assert window.ids[:4] == [0, 1, 2, 3]
        assert window.ids[-1] == 14
        assert window.ids[4] == 4 + start
        seen |= set(window.ids[4:-1])
    assert seen == set(range(4, 14))
    assert tokens.cut(9).ids == [0, 1, 2, 3, 4, 5, 6, 7, 14]
    assert best_views([(0, 6), (4, 10)], 10) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
