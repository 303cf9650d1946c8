"""A checkpoint of Transformers' as a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .architectures import ARCHITECTURES, Architecture, scaled_rope
from .vocabulary import Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["QUANTISATIONS", "cannot_write", "dequantised", "write_gguf"]

#: By our names of precisions: GGUF's types of weights.
QUANTISATIONS: Mapping[str, str] = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int8-weights": "Q8_0",
    "int8": "Q8_0",
    "int4": "Q4_0",
}
# Blocks of quantised weights hold 32 numbers of one row.
_BLOCK = 32


def cannot_write(config: Any) -> str | None:
    """Why a model with this configuration is not written as GGUF, in a sentence; None where it is."""
    kind = getattr(config, "model_type", "")
    if kind not in ARCHITECTURES:
        return f"models of type {kind!r} are not written as GGUF (those that are: {', '.join(ARCHITECTURES)})"
    if (scaled := scaled_rope(config)) is not None and ARCHITECTURES[kind].name != "gpt2":
        return f"its rotary positions are scaled ({scaled}), which is not written as GGUF"
    return None


def write_gguf(
    path: Path, *, folder: Path, config: Any, weights: Mapping[str, Any], precision: str, template: str | None = None
) -> None:
    """Write ``path``.

    Args:
        folder: the checkpoint's, for its tokenizer.
        config: Transformers' configuration object.
        weights: the state dictionary of the model's class for causal language modelling.
        precision: a key of `QUANTISATIONS`; vectors and tables of positions stay float32.
        template: the chat template (Jinja).

    Raises:
        RuntimeUnavailable: the type, or its tokenizer, is not written as GGUF.
    """
    if (reason := cannot_write(config)) is not None:
        raise RuntimeUnavailable(reason)
    gguf = require("gguf")
    architecture = ARCHITECTURES[config.model_type]
    vocabulary = read_vocabulary(folder, config.model_type, config.vocab_size)
    writer = gguf.GGUFWriter(path, architecture.name)
    try:
        _describe(writer, architecture, config, vocabulary, template)
        for name, array in _tensors(gguf, architecture, config, weights):
            kind = _kind(gguf, name, array, precision)
            if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
                writer.add_tensor(name, array.astype("float16" if kind == gguf.GGMLQuantizationType.F16 else "float32"))
            else:
                writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def dequantised(array: NDArray[Any], name: str, precision: str) -> NDArray[Any]:
    """A weight as it is after having been written with ``precision``: what its loss is measured with."""
    gguf = require("gguf")
    kind = _kind(gguf, name, array, precision)
    if kind == gguf.GGMLQuantizationType.F32:
        return array
    if kind == gguf.GGMLQuantizationType.F16:
        return array.astype("float16").astype("float32")
    made: NDArray[Any] = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
    return made


def _describe(
    writer: Any, architecture: Architecture, config: Any, vocabulary: Vocabulary, template: str | None
) -> None:
    for key, value in architecture.keys(config).items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"{architecture.name}.{key}", value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    for add, found in (
        (writer.add_bos_token_id, config.bos_token_id),
        (writer.add_eos_token_id, config.eos_token_id),
        (writer.add_pad_token_id, config.pad_token_id),
    ):
        first = found[0] if isinstance(found, list | tuple) and found else found
        if isinstance(first, int) and 0 <= first < config.vocab_size:
            add(first)
    writer.add_add_bos_token(False)  # templates write it, and a plain prompt is what it is
    if template:
        writer.add_chat_template(template)


def _tensors(
    gguf: Any, architecture: Architecture, config: Any, weights: Mapping[str, Any]
) -> Iterator[tuple[str, NDArray[Any]]]:
    blocks = int(architecture.keys(config)["block_count"])
    numbers = {arch: number for number, arch in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(numbers[architecture.name], blocks)
    tied = bool(getattr(config, "tie_word_embeddings", False))
    for name, tensor in weights.items():
        if name.endswith(architecture.skipped or ("\0",)) or (tied and name == "lm_head.weight"):
            continue
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise RuntimeUnavailable(f"its tensor {name} has no place in GGUF's {architecture.name}")
        array = tensor.detach().float().cpu().numpy()
        if name.endswith(architecture.transposed or ("\0",)):
            array = array.T
        if architecture.permuted and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads
            if name.endswith("k_proj.weight"):
                heads = getattr(config, "num_key_value_heads", None) or heads
            array = _paired(array, heads)
        yield written, require("numpy").ascontiguousarray(array)


def _paired(array: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of each head from halves (Transformers' rotary embedding) to neighbours (llama.cpp's plain one)."""
    rows = array.shape[0]
    made: NDArray[Any] = (
        array.reshape(heads, 2, rows // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
    )
    return made


def _kind(gguf: Any, name: str, array: NDArray[Any], precision: str) -> Any:
    kinds = gguf.GGMLQuantizationType
    if array.ndim < 2 or name.startswith("position_embd"):
        return kinds.F32
    wanted = getattr(kinds, QUANTISATIONS[precision])
    if wanted in (kinds.Q4_0, kinds.Q8_0) and array.shape[-1] % _BLOCK:
        return kinds.F16  # a row that is no multiple of a block stays whole
    # The table of tokens is the output matrix too where they are tied: 4 bits there cost most of the loss.
    if wanted == kinds.Q4_0 and name.startswith(("token_embd", "output.")):
        return kinds.Q8_0
    return wanted
