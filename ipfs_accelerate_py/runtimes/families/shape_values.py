"""Sizes of published models, by name: facts of their configurations, with where they are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SHAPES", "Shape"]


@dataclass(frozen=True, slots=True)
class Shape:
    """One model's sizes.

    Attributes:
        model_type: as in ``config.json``.
        auto: Auto class of the task that it is measured in.
        task: that task.
        values: what its configuration has other than its class's defaults.
        source: where the sizes are from.
        dtype: of the weights in the file.
        note: what it is not, where that matters.
    """

    model_type: str
    auto: str
    task: str
    source: str
    values: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    note: str = ""


SHAPES: Mapping[str, Shape] = {
    "opt-125m": Shape(
        "opt",
        "AutoModelForCausalLM",
        "text-generation",
        "https://huggingface.co/facebook/opt-125m/blob/main/config.json",
        {
            "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "ffn_dim": 3072, "max_position_embeddings": 2048, "word_embed_proj_dim": 768,
        },
    ),
    "gpt2": Shape(
        "gpt2",
        "AutoModelForCausalLM",
        "text-generation",
        "https://huggingface.co/openai-community/gpt2/blob/main/config.json",
        {"vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12},
    ),
    "t5-efficient-tiny": Shape(
        "t5",
        "AutoModelForSeq2SeqLM",
        "text2text-generation",
        "https://huggingface.co/google/t5-efficient-tiny (15.58 million parameters)",
        {
            "vocab_size": 32128, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 4, "num_decoder_layers": 4,
            "num_heads": 4, "feed_forward_proj": "relu",
        },
    ),
    "llava-0.5b": Shape(
        "llava",
        "AutoModelForImageTextToText",
        "image-text-to-text",
        "https://huggingface.co/llava-hf/llava-interleave-qwen-0.5b-hf, as Transformers' conversion script has it: "
        "SigLIP so400m with 26 layers, Qwen1.5-0.5B",
        {
            "vision_config": {
                "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "image_size": 384,
                "patch_size": 14, "num_hidden_layers": 26, "num_attention_heads": 16, "vision_use_head": False,
            },
            "text_config": {
                "model_type": "qwen2", "vocab_size": 152000, "hidden_size": 1024, "intermediate_size": 2816,
                "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16,
                "max_position_embeddings": 32768, "tie_word_embeddings": True,
            },
            "vision_feature_layer": -1, "vision_feature_select_strategy": "full", "image_token_index": 151646,
            "tie_word_embeddings": True,
        },
        dtype="float16",
        note="a small one; its float16 weights are 1.7 GB, where 2.4 GB were named",
    ),
    "clip-vit-base-patch32": Shape(
        "clip",
        "AutoModelForZeroShotImageClassification",
        "zero-shot-image-classification",
        "https://huggingface.co/openai/clip-vit-base-patch32/blob/main/config.json",
        {
            "projection_dim": 512,
            "text_config": {
                "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
                "num_attention_heads": 8, "max_position_embeddings": 77,
            },
            "vision_config": {
                "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                "image_size": 224, "patch_size": 32,
            },
        },
    ),
    "whisper-tiny": Shape(
        "whisper",
        "AutoModelForSpeechSeq2Seq",
        "automatic-speech-recognition",
        "https://huggingface.co/openai/whisper-tiny/blob/main/config.json",
        {
            "vocab_size": 51865, "d_model": 384, "encoder_layers": 4, "decoder_layers": 4,
            "encoder_attention_heads": 6, "decoder_attention_heads": 6, "encoder_ffn_dim": 1536,
            "decoder_ffn_dim": 1536, "num_mel_bins": 80, "max_source_positions": 1500, "max_target_positions": 448,
        },
    ),
    "wav2vec2-tiny": Shape(
        "wav2vec2",
        "AutoModelForCTC",
        "automatic-speech-recognition",
        "wav2vec 2.0's base design (https://arxiv.org/abs/2006.11477) at a third of its width, as the W2V2-tiny that "
        "https://arxiv.org/abs/2109.06870 compares with",
        {
            "vocab_size": 32, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 12,
            "num_attention_heads": 4, "conv_dim": [256] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
            "conv_stride": [5, 2, 2, 2, 2, 2, 2], "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16,
        },
        note="no checkpoint of Transformers' is called so; float32 weights of 44 MB are near the 48 MB that were named",
    ),
    "bert-tiny": Shape(
        "bert",
        "AutoModel",
        "sentence-similarity",
        "https://huggingface.co/prajjwal1/bert-tiny (L=2, H=128, A=2)",
        {
            "vocab_size": 30522, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 512, "max_position_embeddings": 512,
        },
    ),
}  # fmt: skip
