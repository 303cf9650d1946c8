"""Small checkpoints with random weights, and the smallest thing that serves them: what tests of text and audio run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.results import TaskResult
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchNetwork
from ipfs_accelerate_py.runtimes.processing.base import Context, Piece, Processing
from ipfs_accelerate_py.runtimes.processing.registry import make_processing

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "quick", "brown", "fox", "lives", "in", "new", "york", "city", "anna", "works", "at", "ac", "and", "is"]
WORDS += [".", ",", "?", "!", "who", "where", "this", "example", "sports"]


class Served:
    """A task of a model in a folder, run as the scheduler runs it: pieces by group, in batches."""

    def __init__(self, task: str, folder: Path, model: Any, auto: str = "") -> None:
        self.model = model
        self.network = TorchNetwork(model.eval(), device="cpu", precision="float32")
        context = Context(folder, model.config, inputs=self.network.inputs, auto=auto)
        self.processing: Processing = make_processing(task, context)
        #: Sizes of the batches of the last call.
        self.batches: list[int] = []

    def __call__(self, *inputs: Any, **options: Any) -> list[TaskResult]:
        """Results of all inputs, run together wherever they may be."""
        split = [self.processing.split(each, options) for each in inputs]
        groups: dict[Any, list[Piece]] = {}
        for piece in (piece for pieces in split for piece in pieces):
            groups.setdefault(piece.group, []).append(piece)
        rows: dict[int, Mapping[str, Any]] = {}
        self.batches = [len(pieces) for pieces in groups.values()]
        for pieces in groups.values():
            for piece, row in zip(pieces, self.processing.run(self.network, pieces), strict=True):
                rows[id(piece)] = row
        return [self.processing.join([rows[id(piece)] for piece in pieces], pieces, options) for pieces in split]

    def alone(self, *inputs: Any, **options: Any) -> list[TaskResult]:
        """Results of each input by itself."""
        return [self(each, **options)[0] for each in inputs]


def wordpiece(folder: Path, *, words: Iterable[str] = (), **extra: Any) -> Any:
    """A tokenizer as BERT's, of known words, letters and continuing letters, saved in ``folder``."""
    import tokenizers
    import transformers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names = [*special, *WORDS, *words, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(names))}
    inner = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    inner.decoder = tokenizers.decoders.WordPiece()
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    extra.setdefault("model_max_length", 64)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **tokens, **extra)
    made.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    made.save_pretrained(folder)
    return made


def bert(head: str, folder: Path, *, seed: int = 3, **config: Any) -> Any:
    """A BERT with that head (``BertForMaskedLM``), its weights wide enough that its answers differ."""
    import torch
    import transformers

    torch.manual_seed(seed)
    settings: dict[str, Any] = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings |= {"intermediate_size": 48, "max_position_embeddings": 80, "initializer_range": 0.3}
    model = getattr(transformers, head)(transformers.BertConfig(**(settings | config))).eval()
    model.save_pretrained(folder)
    return model


def wav2vec2(head: str, folder: Path, norm: str, *, seed: int = 0, **config: Any) -> Any:
    """A Wav2Vec2 with that head, its letters and feature extractor, saved in ``folder``."""
    import json

    import torch
    import transformers

    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS.upper()]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"vocab_size": 31, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings |= {"intermediate_size": 48, "conv_dim": (16,) * 7, "feat_extract_norm": norm, "initializer_range": 0.4}
    settings |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16}
    settings |= {"do_stable_layer_norm": norm == "layer", "pad_token_id": 0}
    settings |= {"tdnn_dim": (16, 16, 16, 16, 32), "xvector_output_dim": 16}
    model = getattr(transformers, head)(transformers.Wav2Vec2Config(**(settings | config))).eval()
    model.save_pretrained(folder)
    return model


def tone(seconds: float, pitch: float = 300.0, rate: int = 16000) -> Any:
    """A wavering tone with some noise, the same every time: float32 samples."""
    import numpy as np

    times = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(int(pitch)).standard_normal(len(times))
    return (0.4 * np.sin(2 * np.pi * pitch * times * (1 + 0.3 * np.sin(3 * times))) + 0.05 * noise).astype("f4")


def gap(one: Any, other: Any) -> float:
    """The largest difference of two results' numbers; infinity where anything else differs."""
    import msgspec

    return _gap(msgspec.to_builtins(one), msgspec.to_builtins(other))


def _gap(one: Any, other: Any) -> float:
    if isinstance(one, float) and isinstance(other, float | int):
        return abs(one - other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_gap(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((_gap(*pair) for pair in zip(one, other, strict=True)), default=0.0)
    return 0.0 if one == other else float("inf")
