"""How a configuration's fields are cut, by their names: common to nearly all types."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["HEAD", "HEADS", "RULES", "WIDTH", "at_most"]

#: Width of every hidden state; heads are two of 16, which rotary embeddings in three parts can still be cut into.
WIDTH = 32
HEADS = 2
HEAD = 16

_Rule = Callable[[Any], Any]


def at_most(size: int) -> _Rule:
    """Not more than ``size``, each where there are several."""

    def cut(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(cut(each) for each in value)
        return size if isinstance(value, int) and not isinstance(value, bool) and value > size else value

    return cut


def _widths(value: Any) -> Any:
    """A width; several become a ladder of the same steps, at most twice the width and in eights."""
    if not isinstance(value, list | tuple):
        return WIDTH if value > WIDTH else value
    if any(isinstance(each, list | tuple) for each in value):
        return type(value)(_widths(each) for each in value)
    if len(set(value)) == 1:  # as wide as everything
        return type(value)(min(each, WIDTH) for each in value)
    top = max((each for each in value if each), default=0)
    scale = max(1.0, top / (2 * WIDTH))
    return type(value)(each if each < 8 else max(8, int(each / scale) // 8 * 8) for each in value)


def _inner(value: Any) -> Any:
    return at_most(2 * WIDTH)(value)


def _heads(value: Any) -> Any:
    return at_most(HEADS)(value)


def _patch(value: Any) -> Any:
    return at_most(8)(value)


#: By name of a field, the first that matches it whole.
RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"mamba_(num|n)_heads", at_most(4)),  # times 16 is twice the width
        (
            r"(num|n)_(key_value|kv|query)_(heads|groups)|n_head_kv|kv_heads|num_kv_heads|.*_num_key_value_heads",
            at_most(1),
        ),
        (r".*(attention_heads|num_heads|n_heads?|num_attn_heads)(_per_stage)?|attention_heads|num_query_heads", _heads),
        (r"(.*_)?num_(key|value|query)_heads|linear_num_heads|num_group_heads", _heads),
        (r"(global_|swa_|index_|linear_|attention_)?(head_dim|dim_head)|d_kv|d_head|attention_key_size", at_most(HEAD)),
        (
            r"linear_(key|value)_head_dim|kv_channels|hidden_size_per_head|mamba_(d_head|head_?dim)|head_size",
            at_most(HEAD),
        ),
        (r"qk_nope_head_dim|v_head_dim|qk_head_dim|(q|kv|o|qkv)_lora_rank|lora_rank|adapter_rank", at_most(HEAD)),
        (r"qk_rope_head_dim|rotary_dim|index_head_dim", at_most(8)),
        (
            r"(moe|expert|shared|shared_expert|moe_shared_expert)_(intermediate|ffn_hidden)_size|expert_ffn.*",
            at_most(WIDTH),
        ),
        (
            r"(.*_)?(intermediate|ffn|ffn_hidden|inner|filter|mlp_hidden)_(size|dim)|d_ff|d_inner|n_inner|mlp_dim",
            _inner,
        ),
        (r"(.*_)?feed_forward(_hidden)?(_size|_dim|_proj)?|(.*_)?ffn_embed_dim|dim_feedforward", _inner),
        (r"num_(hidden_)?groups|num_stages", lambda value: value),
        (r"depths|blocks_per_stage|stage_num_blocks|layers_per_stage|num_blocks_per_stage", at_most(1)),
        (
            r"(.*_)?(num|n)_(hidden_|encoder_|decoder_|main_|adapter_)*(layers?|blocks)|(en|de)coder_layers|depth",
            at_most(2),
        ),
        (r"(.*_)?(encoder|decoder|hidden|fusion|text|vision|qformer|memory)_layers|.*_num_layers|layers", at_most(2)),
        (r"(.*_)?depth", at_most(2)),
        (
            r"(.*_)?(hidden|embed|embedding|d_model|proj|projection)_?(size|dim|dims|width)s?|d_model|n_embd|dim",
            _widths,
        ),
        (r"hidden_sizes|embed_dims|neck_hidden_sizes|embed_dim_per_stage|encoder_hidden_sizes|dims|width", _widths),
        (r"(.*_)?(out|output|input|in)_(hidden_size|dim|features)|output_dim|word_embed_proj_dim|emb_dim", _widths),
        (
            r"(.*_)?(stage|stem|encoder|decoder|neck|backbone)_?(in|mid|out)?_?channels?(_list)?|output_channels",
            _widths,
        ),
        (r"(.*_)?(channels_list|channel_list|hidden_channels|base_channels|conv_channels|conv_dim|tdnn_dim)", _widths),
        (r".*_dim|.*_units|num_filters|classifier_proj_size|pooler_output_size|.*projection_size", _widths),
        (r"(num|n)_(local_|routed_|real_)?experts|moe_num_experts|num_moe_experts|.*_num_experts", at_most(4)),
        (
            r"(num_experts_per_tok|moe_topk|moe_top_k|top_k|topk|num_experts_per_token|.*_num_experts_per_tok)",
            at_most(2),
        ),
        (r"(n|num)_(group|expert_group)|topk_group|mamba_n_?groups|n_groups", at_most(1)),
        (r"upsample_groups", at_most(WIDTH)),
        (r"num_frames|frames_per_clip", at_most(4)),
        (r"first_k_dense_replace|num_dense_layers|decoder_sparse_step|moe_layer_start_index", at_most(1)),
        (r"(.*_)?vocab_size", lambda value: value),  # with the tokens
        (
            r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|max_target_positions",
            at_most(512),
        ),
        (r"max_source_positions", at_most(50)),
        (r"(state_size|ssm_state_size|mamba_d_state|time_step_rank|chunk_size|mamba_chunk_size)", at_most(HEAD)),
        (r"patch_size|patch_sizes", _patch),
        (
            r"num_queries|num_query_tokens|num_detection_tokens|num_image_tokens|num_latents|.*resampler_n_latents",
            at_most(8),
        ),
        (r"codebook_size|num_embeddings|num_codevectors_per_group", at_most(64)),
        (r"(num|n)_(codebooks|quantizers)", at_most(4)),
        (r"sliding_window|local_attention", at_most(8)),
        (r"window_size", lambda value: 32 if isinstance(value, int) and value > 64 else at_most(2)(value)),
        (r"index_topk|max_num_patches", at_most(16)),
    )
)
