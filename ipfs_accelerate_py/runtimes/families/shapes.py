"""Checkpoints with the sizes of published models and random weights: what benchmarks measure without a download.

How fast a model is follows from its sizes, not from what it has learned. Tokenizers are the small ones of `write_tiny`,
filled up with unused tokens to the model's vocabulary, so texts are cut into more pieces than the real ones cut them
into: who measures counts tokens, not words.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.loading import attention_of, quiet
from ipfs_accelerate_py.runtimes.extras import require

from .shape_values import SHAPES, Shape
from .tiny import _hold, _place, _whisper_generation
from .token_ids import Renumbering
from .toy_processors import write_processors
from .toy_tokenizer import write_tokenizer

__all__ = ["SHAPES", "Shape", "write_shaped"]

#: Random numbers that all weights are made of, again and again from different places.
_POOL = 1 << 22


def write_shaped(name: str, folder: str | Path) -> Path:
    """Write a checkpoint of that shape: configuration, safetensors, tokenizer, processors. Takes seconds.

    Args:
        name: of `SHAPES`.
        folder: where; made if it is not there.

    Returns:
        The folder.

    Raises:
        RuntimeUnavailable: there is no shape of that name; the message lists them.
    """
    if (shape := SHAPES.get(name)) is None:
        raise RuntimeUnavailable(f"no shape {name!r}: there are {', '.join(SHAPES)}")
    transformers = require("transformers")
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    kinds = require("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    config = kinds[shape.model_type](**json.loads(json.dumps(shape.values)))
    _renumber(config, Renumbering())
    tokenizer = write_tokenizer(shape.model_type, config, path)
    _hold(config, tokenizer)
    _place(config, tokenizer)
    _widen(path / "tokenizer.json", _vocabulary(config))
    model = _make(config, shape)
    config.architectures = [type(model).__name__]
    with quiet(transformers):
        model.save_pretrained(str(path))
    if type(tokenizer).__name__ == "WhisperTokenizer":
        _whisper_generation(path, tokenizer)
        _never_ends(path)
    # It may be asked how many places an image takes, and half precision is slow on processors.
    write_processors(shape.model_type, config, path, tokenizer, model.float())
    return path


def _renumber(config: Any, numbers: Renumbering) -> None:
    """Special tokens get numbers that the small tokenizer has; sizes stay."""
    for name, value in list(vars(config).items()):
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            _renumber(value, numbers)
        elif name != "vocab_size" and (number := numbers.new(name, value, config)) is not None:
            setattr(config, name, number)


def _vocabulary(config: Any) -> int:
    for part in (config, getattr(config, "text_config", None)):
        if isinstance(size := getattr(part, "vocab_size", None), int):
            return size
    return 0


def _widen(file: Path, size: int) -> None:
    """Fill a tokenizer's vocabulary up with tokens that no text has, so that every number of the model's is one."""
    if not file.is_file():
        return
    whole = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = whole["model"]["vocab"]
    added = {each["id"]: each["content"] for each in whole.get("added_tokens", ())}
    if isinstance(vocabulary, dict):
        taken = {*vocabulary.values(), *added}
        vocabulary |= {f"<unused{number}>": number for number in range(size) if number not in taken}
    else:
        for number in range(len(vocabulary), size):
            vocabulary.append([added.get(number, f"<unused{number}>"), -100.0])
    file.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")


def _make(config: Any, shape: Shape) -> Any:
    transformers, torch = require("transformers"), require("torch")
    kind = getattr(transformers, shape.auto)
    with require("transformers.initialization").no_init_weights():
        model = kind.from_config(
            config, dtype=getattr(torch, shape.dtype), attn_implementation=attention_of(config)
        ).eval()
    model.tie_weights()
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() < 2:  # norms near one, biases near nothing
                value.fill_(1.0 if re.search(r"norm.*weight$|layrnorm.*weight$|ln_.*weight$", name) else 0.0)
                continue
            scale = 0.02 if "embed" in name or "wte" in name else 1.0 / math.sqrt(math.prod(value.shape[1:]))
            at, flat = zlib.crc32(name.encode()) % _POOL, value.reshape(-1)
            for piece in _pieces(flat, pool, at):
                piece *= scale
    return model


def _pieces(flat: Any, pool: Any, at: int) -> Iterator[Any]:
    """Copy the pool into ``flat``, beginning at a place of it; gives each part that was filled."""
    done = 0
    while done < len(flat):
        part = pool[at : at + len(flat) - done]
        view = flat[done : done + len(part)]
        view.copy_(part)
        yield view
        done, at = done + len(part), 0


def _never_ends(path: Path) -> None:
    """Whisper of random weights would end its answers anywhere: here it writes as many tokens as it is told."""
    file = path / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["suppress_tokens"] = [settings["eos_token_id"]]
    settings["max_length"] = 448
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")
