"""Architectures that can be written as GGUF: from Transformers' configuration to llama.cpp's keys. Data.

Keys: the ``gguf`` package's `Keys`; how llama.cpp lays tensors out: its conversion script (MIT).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ARCHITECTURES", "Architecture"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One type of Transformers'.

    Attributes:
        name: llama.cpp's name.
        keys: metadata (without the architecture's prefix) from a configuration.
        transposed: endings of weights that Transformers keeps as (in, out), Conv1D's way.
        permuted: whether queries' and keys' rows are put in pairs, as llama.cpp's plain rotary embedding has them.
        skipped: endings of tensors that are no weights.
    """

    name: str
    keys: Callable[[Any], Mapping[str, int | float]]
    transposed: tuple[str, ...] = ()
    permuted: bool = False
    skipped: tuple[str, ...] = ()


def _gpt2(config: Any) -> Mapping[str, int | float]:
    return {
        "context_length": config.n_positions,
        "embedding_length": config.n_embd,
        "block_count": config.n_layer,
        "feed_forward_length": config.n_inner or 4 * config.n_embd,
        "attention.head_count": config.n_head,
        "attention.layer_norm_epsilon": float(config.layer_norm_epsilon),
    }


def _llama(config: Any) -> Mapping[str, int | float]:
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None) or heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": head,
        "rope.freq_base": float(_theta(config)),
        "vocab_size": config.vocab_size,
    }


def _theta(config: Any) -> float:
    """The base of rotary positions, where Transformers 5 keeps it and where 4 did."""
    parameters = getattr(config, "rope_parameters", None) or {}
    return parameters.get("rope_theta") or getattr(config, "rope_theta", None) or 10000.0


def scaled_rope(config: Any) -> str | None:
    """The name of a way of scaling rotary positions that is not written here, or None."""
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    return None if kind == "default" else str(kind)


#: By ``model_type``.
ARCHITECTURES: Mapping[str, Architecture] = {
    "gpt2": Architecture(
        "gpt2",
        _gpt2,
        transposed=("c_attn.weight", "c_proj.weight", "c_fc.weight"),
        skipped=(".attn.bias", ".attn.masked_bias"),
    ),
    "llama": Architecture("llama", _llama, permuted=True),
    "mistral": Architecture("llama", _llama, permuted=True),
    "qwen2": Architecture("qwen2", _llama),
    "qwen3": Architecture("qwen3", _llama),
}
