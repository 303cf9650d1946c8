"""Inputs that names alone do not tell: by type, what one input is. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["INPUTS", "PLACES", "SIDE"]

#: By type, arguments of the forward pass: shape of normal numbers for one input, or ("ids", shape, below),
#: ("ones", shape), ("true", shape), ("uniform", shape), ("const", value); ("flat", any of these) for an argument whose
#: first axis runs over the parts of all inputs; None for one that is left out.
INPUTS: Mapping[str, Mapping[str, Any]] = {
    "speecht5": {"decoder_input_values": (6, 80)},
    "decision_transformer": {
        "states": (6, 17),
        "actions": (6, 4),
        "rewards": (6, 1),
        "returns_to_go": (6, 1),
        "timesteps": ("const", [0, 1, 2, 3, 4, 5]),
        "attention_mask": ("ones", (6,)),
    },
    "perceiver": {"inputs": ("ids", (16,), 262), "attention_mask": ("ones", (16,))},
    "lxmert": {"visual_feats": (4, 32), "visual_pos": ("uniform", (4, 4))},
    "pix2struct": {
        "flattened_patches": ("uniform", (8, 770)),
        "attention_mask": ("ones", (8,)),
        "decoder_input_ids": ("ids", (6,), 400),
    },
    "fuyu": {"pixel_values": None, "image_patches": (16, 192)},
    "idefics": {"image_attention_mask": ("ones", (12, 1))},
    "instructblip": {"qformer_input_ids": ("ids", (8,), 400), "qformer_attention_mask": ("ones", (8,))},
    "instructblipvideo": {"qformer_input_ids": ("ids", (8,), 400), "qformer_attention_mask": ("ones", (8,))},
    "kosmos-2": {
        "input_ids": ("ids", (70,), 400),
        "attention_mask": ("ones", (70,)),
        "image_embeds_position_mask": ("const", [0] + [1] * 64 + [0] * 5),
    },
    "mllama": {
        "pixel_values": (1, 4, 3, 32, 32),
        "aspect_ratio_ids": ("ones", (1,)),
        "aspect_ratio_mask": ("ones", (1, 4)),
        "cross_attention_mask": ("ones", (12, 1, 4)),
    },
    "musicgen": {"decoder_input_ids": ("flat", ("ids", (4, 6), 64))},
    "musicgen_melody": {"decoder_input_ids": ("flat", ("ids", (4, 6), 64))},
    "jev": {"marks": ("const", [4, 8]), "num_options": ("const", [2, 2]), "question_type_ids": ("const", [0, 1])},
    "nemo_speechlm": {"input_features": (64, 128)},
    "seggpt": {
        "pixel_values": (3, 32, 32),
        "prompt_pixel_values": (3, 32, 32),
        "prompt_masks": (3, 32, 32),
    },
    "lightglue": {"pixel_values": (2, 3, 64, 64)},
    "superglue": {"pixel_values": (2, 3, 64, 64)},
    "efficientloftr": {"pixel_values": (2, 3, 64, 64)},
    "clvp": {"input_ids": ("ids", (12,), 250), "input_features": (80, 32)},
    "vit_mae": {"noise": ("uniform", (16,))},
    "vitmatte": {"pixel_values": (4, 64, 64)},
    "blip_2_qformer": {"encoder_hidden_states": (8, 32)},
    "deepseek_vl_hybrid": {"high_res_pixel_values": (3, 64, 64)},
    "pe_audio_video": {"input_values": (1, 4000), "pixel_values_videos": (4, 3, 64, 64)},
    "pe_audio_video_encoder": {"input_values": (1, 4000), "pixel_values_videos": (4, 3, 64, 64)},
    "pe_video": {"pixel_values_videos": (4, 3, 64, 64)},
    **{each: {"target_sizes": ("const", [4, 4])} for each in ("minicpm_ocr_vision", "minicpmv4_7_vision")},
    "video_llama_3": {"image_merge_sizes": ("flat", ("const", [2]))},
    "video_llama_3_vision": {"merge_sizes": ("flat", ("const", [2]))},
    "granite_docling": {"pixel_values": (1, 3, 32, 32), "pixel_attention_mask": ("true", (1,))},
    "voxtral_realtime": {"input_features": (128, 96)},
    "kyutai_speech_to_text": {"input_ids": ("ids", (12, 5), 60), "attention_mask": ("ones", (12,))},
    **{
        each: {"pixel_values": ("flat", (16, 384))}
        for each in ("muse_glimmer", "muse_glimmer_vision", "muse_spark_vision")
    },
    "muse_glimmer_assistant": {"context_hidden_states": (12, 128), "attention_mask": ("ones", (24,))},
    "inkling2_vision": {"pixel_values": ("flat", (16, 16, 16, 3))},
    "inkling2": {"pixel_values": ("flat", (16, 16, 16, 3))},
    "muse_spark": {"pixel_values": ("flat", (16, 384))},
    "colqwen2": {"pixel_values": (16, 384), "image_grid_thw": ("const", [1, 4, 4])},
    **{each: {"input_features": (64, 560)} for each in ("fun_asr_nano", "fun_asr_nano_encoder")},
    **{each: {"input_features": (64, 320)} for each in ("granite_speech5_ctc", "granite_speech5_encoder")},
    "moss_transcribe_diarize": {"input_features": (80, 100), "input_features_mask": ("const", [1] * 64 + [0] * 36)},
    **{
        each: {"input_values": (1, 3200), "input_features": (10, 160), "input_features_mask": ("ones", (10,))}
        for each in ("xcodec2", "neucodec")
    },
    "dia": {"input_ids": ("ids", (12,), 250), "decoder_input_ids": ("ids", (6, 9), 500)},
    "csm": {"input_values": None},
    "omdet-turbo": {
        "classes_input_ids": ("flat", ("ids", (2, 8), 400)),
        "classes_attention_mask": ("flat", ("ones", (2, 8))),
        "tasks_input_ids": ("ids", (8,), 400),
        "tasks_attention_mask": ("ones", (8,)),
        "classes_structure": ("flat", ("const", [2])),
    },
    "gemma3n_audio": {"audio_mel": (64, 128), "audio_mel_mask": ("const", [False] * 64)},
    "pi0": {
        "state": (32,),
        "pixel_values": (1, 3, 32, 32),
        "pixel_attention_mask": ("true", (1,)),
        "noise": (16, 32),
        "timestep": ("uniform", ()),
    },
    "gemma4_unified": {"pixel_values": (16, 1728)},
    **{each: {"latents": (32, 12)} for each in ("mimi_decoder", "pocket_tts_audio_tokenizer_decoder")},
    "vibevoice_acoustic_tokenizer_decoder": {"hidden_states": (32, 12)},
    "vibevoice_acoustic_tokenizer_encoder": {"hidden_states": (1, 3200)},
    "neomme": {"pixel_values": (16, 192)},
    "univnet": {"input_features": (16, 100), "noise_sequence": (16, 64)},
}

#: By type, how many tokens stand for one picture, where the network does not say so itself.
PLACES: Mapping[str, Mapping[str, int]] = {
    "blip-2": {"image": 8},
    "instructblip": {"image": 8},
    "instructblipvideo": {"image": 32},
    "fuyu": {"image": 16},
    "csm": {"audio": 0},
    "neomme": {"image": 1},
    "moss_transcribe_diarize": {"audio": 8},
    "t5gemma2": {"image": 4},
}

#: By type, height and width of its images in pixels, where its configuration has no such field.
SIDE: Mapping[str, int] = {
    **dict.fromkeys(("d_fine", "deimv2", "pp_doclayout_v2", "rt_detr", "rt_detr_v2"), 320),
    "deformable_detr": 128,
    "grounding-dino": 256,
    "mm-grounding-dino": 256,
    "t5gemma2": 32,
    "depth_pro": 128,
}
