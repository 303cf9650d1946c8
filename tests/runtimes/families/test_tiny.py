"""Tiny checkpoints: loaded by the classes that load real ones, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine
from ipfs_accelerate_py.runtimes.families.catalog import open_source
from ipfs_accelerate_py.runtimes.families.tiny import tiny_model, write_tiny


@pytest.mark.parametrize(
    "model_type",
    ["bert", "roberta", "gpt2", "llama", "t5", "mbart", "deberta-v2", "clip", "gemma", "pegasus", "speecht5"],
)
def test_a_tiny_tokenizer_works_as_its_class_does(model_type: str, tmp_path: Path) -> None:
    write_tiny(model_type, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("The cat sat on a mat.")["input_ids"]
    vocabulary = transformers.AutoConfig.from_pretrained(tmp_path).get_text_config().vocab_size
    assert len(set(ids)) > 4
    assert max(tokenizer.get_vocab().values()) < vocabulary
    said = tokenizer.decode(ids, skip_special_tokens=True).lower().replace(" ", "")
    assert said == "thecatsatonamat."


@pytest.mark.parametrize("model_type", ["whisper", "wav2vec2", "vit", "detr", "llava", "clap"])
def test_a_tiny_checkpoint_has_what_reads_its_inputs(model_type: str, tmp_path: Path) -> None:
    write_tiny(model_type, tmp_path)
    source, task = open_source("it", tmp_path)
    assert TorchEngine().load(source, task, LoadPlan()).memory < 8 << 20
    assert transformers.AutoProcessor.from_pretrained(tmp_path) is not None


def test_weights_follow_from_the_seed() -> None:
    one, again, other = (dict(tiny_model("bert", seed=seed).named_parameters()) for seed in (0, 0, 1))
    name = next(iter(one))
    assert (one[name] == again[name]).all()
    assert (one[name] != other[name]).any()


def test_a_type_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="no model type 'nothing'"):
        write_tiny("nothing", tmp_path)
