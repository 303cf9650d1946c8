"""More exceptions for small configurations: types whose parts have to fit each other. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from .special import Special

__all__ = ["PARTS"]

_LETTERS = "ABCDEFGHIJ"
_CODES = 64

#: Types whose parts have to fit each other.
PARTS: Mapping[str, Special] = {
    "align": Special("pictures come out as wide as the last stage", after={"projection_dim": 80}),
    "align_vision_model": Special(
        "its widths are told several times over",
        after={"width_coefficient": 0.25, "depth_coefficient": 0.1},
        keep=("*",),
    ),
    "efficientnet": Special(
        "its last width follows from the coefficient: 1280 times it",
        after={"width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320},
    ),
    "chameleon": Special(
        "it has no default names of the tokens that stand for parts of a picture",
        before={
            "vocabulary_map": {
                "<image>": 20,
                **{f"IMGIMG{''.join(_LETTERS[int(d)] for d in str(at))}Z": 400 + at for at in range(_CODES)},
            }
        },
    ),
    "emu3": Special(
        "it has no default names of the tokens that stand for parts of a picture",
        before={
            "vocabulary_map": {
                "<image>": 20,
                "<|extra_200|>": 21,
                **{f"<|visual token {at:06d}|>": 400 + at for at in range(_CODES)},
            }
        },
    ),
    "dbrx": Special(
        "its attention reads a field that its class does not have: checkpoints do",
        after={"attn_config": {"kv_n_heads": 1, "rope_theta": 10000.0, "clip_qkv": 8.0}},
    ),
    "pp_doclayout_v3": Special("its first features are as wide as the first stage", after={"x4_feat_dim": 8}),
    **dict.fromkeys(
        ("muse_spark", "muse_glimmer"),
        Special("four patches become one, of four times the width", after={"out_hidden_size": 128}),
    ),
    "fun_asr_nano": Special(
        "what adapts its sound is a quarter as wide as its text",
        after={"adaptor_config": {"hidden_size": 32, "intermediate_size": 8, "num_attention_heads": 2}},
    ),
    "dots3_note_audio_encoder": Special("it has to be as wide as its layers", after={"adapter_input_size": 32}),
    "sapiens2": Special(
        "its head has no default stages, and its layers are told of keys one by one",
        after={
            "num_key_value_heads_per_layer": [2, 2],
            "head_config": {"model_type": "sapiens2_head", "upsample_out_channels": [8], "conv_out_channels": [8]},
        },
    ),
    "zoedepth": Special("its head takes what the fusion gives", after={"bottleneck_features": 32}),
    "clvp": Special("its class has as few tokens of speech as of text", before={"speech_config": {"vocab_size": 8192}}),
    "clvp_encoder": Special("it rotates 32 of a head at least", after={"hidden_size": 64, "num_attention_heads": 2}),
    "emu3_vqgan": Special(
        "its attention is as wide as its last stage: four times the first", after={"hidden_size": 128}
    ),
    **dict.fromkeys(
        ("internvl", "qianfan_ocr"), Special("as many tokens of a tile as it has places", after={"image_seq_length": 4})
    ),
    "mllama_text_model": Special(
        "it sees in layers by number",
        after={"cross_attention_layers": [1], "num_hidden_layers": 2},
    ),
    "idefics2": Special(
        "its text is read through a window: the picture before it has to be in sight of the last word",
        after={
            "text_config": {
                "model_type": "mistral",
                "vocab_size": 512,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "max_position_embeddings": 512,
                "sliding_window": None,
                "pad_token_id": 0,
            }
        },
    ),
    "seggpt": Special(
        "a picture and its prompt stand on one another: twice as high as wide",
        after={
            "image_size": (64, 32),
            "pretrain_image_size": 32,
            "patch_size": 8,
            "merge_index": 0,
            "intermediate_hidden_state_indices": [0, 1],
        },
    ),
    "tvp": Special(
        "it pads every picture to one size, and draws its prompt around it",
        after={"max_img_size": 64, "visual_prompt_size": 8},
    ),
    "vipllava": Special("it takes layers by number", after={"vision_feature_layers": [-2, -1]}),
    "zamba": Special(
        "layers share one transformer: there have to be two of them",
        after={
            "num_hidden_layers": 4,
            "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        },
    ),
    "perceiver": Special(
        "its decoder has 8 heads over 256 channels",
        after={
            "d_latents": 64,
            "d_model": 64,
            "num_latents": 8,
            "num_self_attends_per_block": 2,
            "max_position_embeddings": 64,
        },
    ),
    "bros": Special(
        "an eighth of a quarter of its width has to be even: a box's corner is embedded in sines and cosines",
        after={"hidden_size": 64, "num_attention_heads": 2},
    ),
    "kosmos-2": Special("so many tokens for an image as its processor counts", after={"latent_query_num": 64}),
    "got_ocr2_vision": Special(
        "its processor counts 256 places: a sixteenth of the patches", after={"image_size": 128, "patch_size": 2}
    ),
    **dict.fromkeys(
        ("mimi", "mimi_decoder"),
        Special(
            "its codes are searched at the width of its codebooks; who writes them takes any of 2048",
            after={"vector_quantization_hidden_dimension": 32},
            keep=("codebook_size",),
        ),
    ),
    "pix2struct_vision_model": Special(
        "its patches are of 16 by 16 in three colours", keep=("patch_embed_hidden_size",)
    ),
    "instructblipvideo": Special(
        "its class names no token for a film",
        after={"video_token_id": 21, "video_token_index": 21, "image_token_id": 20, "image_token_index": 20},
    ),
    "llama4_vision_model": Special(
        "four patches become one, of four times the width", after={"intermediate_size": 128}
    ),
    "longcat_flash": Special("heads are as wide as their rotary part", after={"head_dim": 8}),
    "mistral4": Special(
        "half of a head is rotated",
        after={
            "qk_nope_head_dim": 8,
            "rope_parameters": {
                "rope_type": "yarn",  # the default kind takes no part of a head
                "rope_theta": 10000.0,
                "factor": 16.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "partial_rotary_factor": 0.5,
                "llama_4_scaling_beta": 0.1,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    **dict.fromkeys(
        ("seamless_m4t", "seamless_m4t_v2"),
        Special("its features are two frames of 80 bins", keep=("feature_projection_input_dim",)),
    ),
    "encodec": Special("who writes its codes takes any of 1024", keep=("codebook_size",)),
    "step3p5": Special("its class has no default window", after={"sliding_window": 8}),
    "voxtral": Special("its class names no token for sound", after={"audio_token_id": 24}),
    "nemotron_h_omni": Special(
        "its class names no tokens for pictures and sound",
        after={"image_token_id": 20, "audio_token_id": 24, "video_token_id": 25},
    ),
    **dict.fromkeys(
        ("granite_speech", "granite_speech_plus"),
        Special("a window gives as many queries as it is longer than the step", after={"window_size": 15}),
    ),
    **dict.fromkeys(
        ("gemma4", "gemma4_unified", "embedding_gemma2"),
        Special("its class alone has no part for pictures; checkpoints do", before={"vision_config": {}}),
    ),
    "gemma4_text": Special(
        "embeddings of each layer have a vocabulary too",
        after={"vocab_size_per_layer_input": 512, "num_kv_shared_layers": 0},
    ),
    "gemma4_unified_text": Special("with so few layers none is left to share", after={"num_kv_shared_layers": 0}),
    "gemma3n_text": Special(
        "with so few layers none is left to share", after={"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 512}
    ),
    "t5gemma2_encoder": Special("as many tokens of an image as it has patches", after={"mm_tokens_per_image": 4}),
    "shieldgemma2": Special(
        "as many tokens of an image as it has patches, and its two answers among its few tokens",
        after={"mm_tokens_per_image": 4, "yes_token_index": 400, "no_token_index": 401},
    ),
    "ernie4_5_vl_moe_text": Special(
        "height and width get as many parts of a head each",
        after={"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [3, 3, 2]}},
    ),
    "paddleocr_vl_text": Special(
        "three parts of a head of 16",
        after={"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0, "mrope_section": [2, 3, 3]}},
    ),
    "lfm2_moe": Special(
        "it has no default kinds of layers",
        after={"layer_types": ["full_attention", "conv"], "num_hidden_layers": 2, "num_dense_layers": 1},
    ),
    "deepseek_ocr2_text": Special(
        "it has no default kinds of layers", after={"mlp_layer_types": ["dense", "sparse"], "num_hidden_layers": 2}
    ),
    "diffusion_gemma_text": Special(
        "it has no default experts", after={"moe_intermediate_size": 32, "num_experts": 4, "top_k_experts": 2}
    ),
    "molmo2_adapter": Special("it takes layers by number", after={"vision_feature_layer": [1, 0]}),
    **dict.fromkeys(("muse_spark_audio",), Special("a stage to a layer", after={"num_hidden_layers": 4})),
    **dict.fromkeys(
        (
            "vibevoice_acoustic_tokenizer",
            "vibevoice_acoustic_tokenizer_encoder",
            "vibevoice_acoustic_tokenizer_decoder",
        ),
        Special("what it draws at random would hide what the input does", after={"vae_std": 0.0, "num_filters": 4}),
    ),
    **dict.fromkeys(
        ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"),
        Special(
            "its class has no numbers of the tokens around a picture",
            after={
                "vision_start_token_id": 40,
                "vision_end_token_id": 41,
                "audio_start_token_id": 42,
                "audio_end_token_id": 43,
            },
        ),
    ),
    "fastspeech2_conformer_hifigan": Special("it takes the 80 bins of what is before it", after={"model_in_dim": 80}),
    "blt": Special(
        "its pieces are hashed into a table of half a million, and its cache counts layers",
        after={"encoder_hash_byte_group_vocab": 64, "num_hidden_layers": 2},
    ),
    "ministral3": Special(
        "its attention is scaled by a length",
        after={
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1000000.0,
                "factor": 16.0,
                "original_max_position_embeddings": 64,
                "llama_4_scaling_beta": 0.1,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "max_position_embeddings": 1024,
            }
        },
    ),
    "moonshine_streaming": Special("its class leaves out the count of its keys", after={"num_key_value_heads": 2}),
    "depth_pro": Special(
        "it cuts pictures into as large ones as its backbones take",
        after={"patch_size": 32, "intermediate_hook_ids": [1, 0]},
    ),
    "xlstm": Special("keys are half as wide, in steps of 64", after={"hidden_size": 128, "num_heads": 2}),
    **dict.fromkeys(
        ("blt_local_encoder", "blt_local_decoder"),
        Special("as wide as the part between", after={"hidden_size_global": 32, "vocab_size": 512}),
    ),
    "blt_patcher": Special("it reads the same tokens", after={"vocab_size": 512}),
    "gemma4_assistant": Special(
        "its class refuses its own default text configuration",
        before={
            "text_config": {
                "model_type": "gemma4_text",
                "hidden_size_per_layer_input": 0,
                "vocab_size_per_layer_input": 0,
            }
        },
    ),
    "lw_detr": Special("it has no default levels", after={"projector_scale_factors": [1.0]}),
}
