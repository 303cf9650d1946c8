"""Types that PyTorch's own attention answers wrongly are loaded with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_accelerate_py.runtimes.engines.loading import load_model
from ipfs_accelerate_py.runtimes.families.catalog import open_source
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


def test_text_that_fills_its_row_is_read_as_one_that_does_not(tmp_path: Path) -> None:
    """AIMv2's text model is causal, and was not where no position was filled up."""
    source, _ = open_source("aimv2", write_tiny("aimv2", tmp_path, auto="AutoModel"))
    model = load_model(source, "float32").text_model
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    whole, filled = torch.ones_like(ids), torch.tensor([[1, 1, 1, 0, 0]])
    with torch.no_grad():
        one = model(input_ids=ids, attention_mask=whole).last_hidden_state[:, :3]
        other = model(input_ids=ids, attention_mask=filled).last_hidden_state[:, :3]
    torch.testing.assert_close(one, other)
