"""How long a sequence a model can hold, by its configuration."""

from __future__ import annotations

from typing import Any

__all__ = ["UNBOUNDED", "most_positions"]

#: Stands for models without a limit of their own: recurrent ones, relative positions.
UNBOUNDED = 1 << 30
_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "context_length",
    "decoder_max_length",
)
#: Types whose figure limits nothing: positions are relative, or there are none.
_RELATIVE = frozenset(
    (
        *("t5", "mt5", "umt5", "longt5", "switch_transformers", "pop2piano", "udop", "pix2struct", "xlnet"),
        *("mamba", "mamba2", "falcon_mamba", "xlstm"),
    )
)


def most_positions(config: Any) -> int:
    """Most positions of the decoder's sequence; `UNBOUNDED` where nothing limits it."""
    if config.model_type in _RELATIVE:
        return UNBOUNDED
    decoder = getattr(config, "decoder", None)
    for each in (decoder if hasattr(decoder, "model_type") else None, config.get_text_config(decoder=True), config):
        if each is None or each.model_type in _RELATIVE:
            continue
        for name in ("max_target_positions", *_NAMES) if config.is_encoder_decoder else _NAMES:
            value = getattr(each, name, None)
            if isinstance(value, int) and value > 0:
                # RoBERTa's kind numbers positions from the padding token's id on.
                return value - each.pad_token_id - 1 if _offset(each) else value
    return UNBOUNDED


def _offset(config: Any) -> bool:
    return getattr(config, "pad_token_id", None) == 1 and config.model_type in (
        "roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "xmod", "data2vec-text", "roberta-prelayernorm",
    )  # fmt: skip
