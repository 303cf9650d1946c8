"""Checkpoints of published sizes: the sizes are the published ones, and the network runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.families.shape_values import SHAPES


def test_a_small_shape_is_as_large_as_its_model_and_answers(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from ipfs_accelerate_py.runtimes.families.shapes import write_shaped

    path = write_shaped("t5-efficient-tiny", tmp_path / "t5")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path, local_files_only=True)
    # 15.58 million: https://huggingface.co/google/t5-efficient-tiny
    assert round(sum(each.numel() for each in model.parameters()) / 1e4) == pytest.approx(1558, abs=1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    assert len(tokenizer) == model.config.vocab_size == 32128
    assert tokenizer.decode([30000]).strip()
    one, other = (tokenizer(text, return_tensors="pt") for text in ("The cat sat", "A dog runs"))
    with torch.inference_mode():
        seen = [model(**each, decoder_input_ids=torch.tensor([[0]])).logits for each in (one, other)]
    assert torch.isfinite(seen[0]).all()
    assert not torch.allclose(*seen)


def test_every_shape_is_told_by_its_source() -> None:
    assert all("https://" in shape.source for shape in SHAPES.values())
    assert {shape.dtype for shape in SHAPES.values()} <= {"float32", "float16"}


def test_an_unknown_shape_is_refused_with_those_there_are(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from ipfs_accelerate_py.runtimes.families.shapes import write_shaped

    with pytest.raises(RuntimeUnavailable, match="no shape 'gpt5': there are opt-125m, gpt2"):
        write_shaped("gpt5", tmp_path)
