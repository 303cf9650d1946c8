"""Tiny models with random weights, made from configs, in the layouts that real folders have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "query", ":", "passage"]
WORDS += ["日", "本", "語", "ß", "é"]
TEXTS = [
    "the quick brown fox",
    "",
    "a",
    "日本語 é ß",
    "the lazy dog and the quick brown fox " * 9,
    "unknown 🎉 words",
    "fox " * 3,
    "a dog",
]
SIZE = 32


def transformer(kind: str, folder: Path) -> Path:
    """Write a transformer of ``kind`` and its tokenizer into ``folder``."""
    import torch
    import transformers

    torch.manual_seed(7)
    common = {"vocab_size": 64, "hidden_size": SIZE, "num_hidden_layers": 2, "num_attention_heads": 4}
    common |= {"intermediate_size": 48}
    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
    extra: dict[str, Any] = {"model_max_length": 40}
    if kind in ("bert", "cased"):
        model: Any = transformers.BertModel(transformers.BertConfig(**common, max_position_embeddings=64))
    elif kind == "distilbert":
        config = transformers.DistilBertConfig(vocab_size=64, dim=SIZE, n_layers=2, n_heads=4, hidden_dim=48)
        model = transformers.DistilBertModel(config)
    elif kind == "roberta":
        # Room for 30 positions after the two that RoBERTa never uses; the tokenizer knows of no limit.
        config = transformers.RobertaConfig(**common, max_position_embeddings=32, pad_token_id=1, type_vocab_size=1)
        model = transformers.RobertaModel(config)
        extra = {}
    elif kind == "qwen2":  # A decoder: padded on the left, the last token stands for the text.
        config = transformers.Qwen2Config(**common, num_key_value_heads=2, max_position_embeddings=64)
        model = transformers.Qwen2Model(config)
        extra["padding_side"] = "left"
    elif kind == "gpt2":  # No special tokens at all: an empty text has no token.
        config = transformers.GPT2Config(vocab_size=64, n_embd=SIZE, n_layer=2, n_head=4, n_positions=64)
        model = transformers.GPT2Model(config)
        special = {"pad": "[PAD]", "unk": "[UNK]"}
        extra["padding_side"] = "left"
    elif kind == "t5":
        config = transformers.T5Config(vocab_size=64, d_model=SIZE, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
        model = transformers.T5Model(config)
    elif kind == "bart":
        config = transformers.BartConfig(
            vocab_size=64, d_model=SIZE, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64,
        )  # fmt: skip
        model = transformers.BartModel(config)
    else:
        raise ValueError(kind)
    # safetensors only: what a folder from the hub looks like today.
    model.save_pretrained(folder)
    tokenizer(special, swap=kind == "roberta", **extra).save_pretrained(folder)
    return folder


def tokenizer(special: dict[str, str], *, swap: bool = False, **extra: Any) -> Any:
    import tokenizers
    import transformers

    names = list(special.values())
    if swap:  # RoBERTa's padding token has the id 1.
        names[0], names[1] = names[1], names[0]
    vocabulary = {word: number for number, word in enumerate([*names, *WORDS])}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    if "cls" in special:
        ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        inner.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokens = {f"{name}_token": token for name, token in special.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **tokens, **extra)


def legacy(source: Path, folder: Path, *, pooling: dict[str, Any], **files: dict[str, Any]) -> Path:
    """A folder as sentence-transformers up to version 5 wrote it, around the transformer in ``source``."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": SIZE, **pooling}))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def modern(source: Path, folder: Path, *modules: Any, **settings: Any) -> Path:
    """A folder as the installed sentence-transformers writes it: ``modules`` after the transformer in ``source``."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Transformer

    chain = [Transformer(str(source)), *modules]
    SentenceTransformer(modules=chain, device="cpu", **settings).save(str(folder), create_model_card=False)
    return folder
