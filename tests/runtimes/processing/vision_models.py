"""Small random models of images, with tokenizers and processors of the real classes, and how a test runs them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ipfs_accelerate_py.runtimes.engines.loading import quiet
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchNetwork
from ipfs_accelerate_py.runtimes.processing.base import Context, Processing
from ipfs_accelerate_py.runtimes.processing.registry import make_processing

SIZE = {"height": 32, "width": 32}
VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
_WORDS = "a b c cat dog bird photo of this is what how many the on red green blue . : , user assistant"


def image(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of coarse random patches: no two seeds look alike to a small model."""
    patches = np.random.default_rng(seed).integers(0, 255, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def png(picture: Image.Image, kind: str = "PNG", **named: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **named)
    return file.getvalue()


def tokenizer(special: Sequence[str] = (), **named: Any) -> Any:
    """One token a word, BERT's frame around a text."""
    words = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS.split()])}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        mask_token="[MASK]",
        **{"model_max_length": 512, **named},
    )
    if special:
        made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def lively(model: Any, seed: int = 0) -> Any:
    """The model with weights large enough that its answer depends on what it sees."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                width = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * width * 1.5)
    return model.eval()


def save(folder: Path, model: Any, *parts: Any) -> Path:
    with quiet(transformers), contextlib.redirect_stderr(io.StringIO()):
        for part in (model, *parts):
            part.save_pretrained(folder)
    return folder


class Model:
    """A model with its folder: what both sides of a comparison start from."""

    def __init__(self, folder: Path, task: str, model: Any, *parts: Any) -> None:
        self.model = lively(model)
        self.path = save(folder, self.model, *parts)
        self.network = TorchNetwork(self.model, device="cpu", precision="float32")
        self.config = transformers.AutoConfig.from_pretrained(str(folder))
        self.context = Context(self.path, self.config, self.network.inputs, auto=type(model).__name__)
        self.task = task
        self._work: Processing | None = None

    @property
    def work(self) -> Processing:
        if self._work is None:
            self._work = make_processing(self.task, self.context)
        return self._work

    def run(
        self, inputs: Sequence[Any], options: Mapping[str, Any] | None = None, *, together: bool = True
    ) -> list[Any]:
        """Results of the inputs; together, all pieces of a group share one batch."""
        options = options or {}
        pieces = [self.work.split(given, options) for given in inputs]
        groups: dict[Any, list[tuple[int, int]]] = {}
        for at, each in enumerate(pieces):
            for part, piece in enumerate(each):
                groups.setdefault(piece.group if together else (at, part), []).append((at, part))
        rows: dict[tuple[int, int], Any] = {}
        for places in groups.values():
            found = self.work.run(self.network, [pieces[at][part] for at, part in places])
            rows.update(zip(places, found, strict=True))
        return [
            self.work.join([rows[at, part] for part in range(len(each))], each, options)
            for at, each in enumerate(pieces)
        ]

    def pipeline(self, task: str | None = None, **named: Any) -> Any:
        """Transformers' own, with Pillow's image processor."""
        with quiet(transformers):
            processor = transformers.AutoImageProcessor.from_pretrained(str(self.path), backend="pil")
            return transformers.pipeline(task or self.task, model=self.model, image_processor=processor, **named)


def numbers(result: Any) -> Iterator[float]:
    """All numbers in a result, its tensors' too, in order."""
    if isinstance(result, bool | int | float):
        yield float(result)
    elif isinstance(result, list | tuple):
        for each in result:
            yield from numbers(each)
    elif isinstance(result, dict):
        yield from numbers(list(result.values()))
    elif isinstance(result, msgspec.Struct):
        if hasattr(result, "datatype"):
            yield from array(result).astype("float64").reshape(-1).tolist()
        else:
            for name in result.__struct_fields__:
                yield from numbers(getattr(result, name))


def array(tensor: Any) -> Any:
    kind = {"BOOL": "?", "FP32": "<f4", "INT64": "<i8"}[tensor.datatype]
    return np.frombuffer(tensor.data, kind).reshape(tensor.shape)


def assert_same(left: Any, right: Any, most: float = 1e-4) -> None:
    one, two = np.array(list(numbers(left))), np.array(list(numbers(right)))
    assert one.shape == two.shape
    assert one.size
    np.testing.assert_allclose(one, two, atol=most, rtol=most)


def assert_batched_equals_single(
    model: Model, inputs: Sequence[Any], options: Mapping[str, Any] | None = None, most: float = 1e-4
) -> None:
    together, single = model.run(inputs, options), model.run(inputs, options, together=False)
    for left, right in zip(together, single, strict=True):
        assert_same(left, right, most)
    assert list(numbers(together[0])) != list(numbers(together[1])), "the model does not look at its input"
