"""What the general rules for small configurations do not know: by type, what to set, and why. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from .special import Special
from .special_configs import PARTS
from .special_inputs import INPUTS, PLACES, SIDE
from .special_stages import CUTTING, SIGHT, STAGES

__all__ = [
    "BARE_TASKS",
    "CONFIG",
    "CONSTANT",
    "HEADS",
    "INPUTS",
    "OWN_CLASS",
    "OWN_TASK",
    "PLACES",
    "SIDE",
    "SKIPPED_TYPES",
    "UNBATCHED",
    "Special",
]


#: What to set in place of what the general rules make.
CONFIG: Mapping[str, Special] = {
    **STAGES,
    **CUTTING,
    **SIGHT,
    **PARTS,
    **dict.fromkeys(
        ("informer", "time_series_transformer"),
        Special(
            "it has no default length of what it predicts",
            before={"prediction_length": 4},
            after={"prediction_length": 4, "context_length": 8},
        ),
    ),
    "clap_audio_model": Special(
        "its width is that of its fourth stage", after={"patch_embeds_hidden_size": 16, "hidden_size": 128}
    ),
    "autoformer": Special(
        "its decoder begins with the end of what it was shown",
        before={"prediction_length": 4},
        after={"prediction_length": 4, "context_length": 12, "label_length": 4},
    ),
    "mamba2": Special("heads times their width is twice the width", after={"num_heads": 4, "head_dim": 16}),
    "bamba": Special("it has to have a layer with attention", after={"attn_layer_indices": [1]}),
    "jamba": Special("it has to have a layer with attention", after={"attn_layer_period": 2, "attn_layer_offset": 1}),
    "cvt": Special(
        "its third stage has three layers at least, which its dropout is taken from", after={"depth": (1, 2, 3)}
    ),
    "bridgetower_text_model": Special("heads are made of 64", after={"hidden_size": 64, "num_attention_heads": 1}),
    "bridgetower_vision_model": Special("heads are made of 64", after={"hidden_size": 64}),
    "bridgetower": Special(
        "heads are made of 64", after={"hidden_size": 64, "num_attention_heads": 1, "contrastive_hidden_size": 32}
    ),
    "gpt_neo": Special(
        "its kinds of layers are told by a table", after={"attention_types": [[["global", "local"], 1]]}
    ),
    **dict.fromkeys(
        ("pp_lcnet", "pp_lcnet_v3", "pp_lcnet_v4", "mobilenet_v2", "poolformer", "pvt"),
        Special("its widths are told several times over, and it is small as it is", keep=("*",)),
    ),
    **dict.fromkeys(
        ("blip-2", "instructblip"),
        Special(
            "its checkpoints name the place of an image, its class does not",
            after={"image_token_index": 20, "image_token_id": 20},
        ),
    ),
    **dict.fromkeys(
        ("wav2vec2-bert", "wav2vec2-conformer"),
        Special(
            "it has no default vocabulary; features are two frames of 80 bins",
            after={"vocab_size": 32},
            keep=("feature_projection_input_dim",),
        ),
    ),
    "dots3_note_text": Special(
        "every head has its own keys", after={"num_key_value_heads": 2, "num_attention_heads": 2}
    ),
    "swin2sr": Special(
        "it has three heads to a stage, no power of two",
        after={"num_heads": [2, 2], "depths": [1, 1], "embed_dim": 32, "window_size": 2},
    ),
    "lw_detr_vit": Special("windows of its images", after={"num_windows": 4, "image_size": 64, "patch_size": 8}),
    "ernie4_5_moe": Special("experts", after={"moe_k": 2}),
    "esm": Special(
        "it has no default vocabulary nor special tokens",
        after={"vocab_size": 512, "mask_token_id": 32, "pad_token_id": 1},
    ),
    "xmod": Special("its language has to be named", after={"default_language": "en_XX"}),
    "vit_mae": Special("it draws patches to hide, unless none are to be", after={"mask_ratio": 0.0}),
    "hgnet_v2": Special(
        "what goes into a stage is what came out of the one before",
        after={
            "stem_channels": [3, 16, 8],
            "stage_in_channels": [8, 8, 16, 32],
            "stage_mid_channels": [8, 8, 8, 8],
            "stage_out_channels": [8, 16, 32, 64],
            "stage_numb_of_layers": [1, 1, 1, 1],
        },
    ),
    "granitemoehybrid": Special(
        "it has to have a layer with attention", after={"layer_types": ["mamba", "attention"], "num_hidden_layers": 2}
    ),
    "recurrent_gemma": Special("its third layer is the one with attention", after={"num_hidden_layers": 3}),
    "reformer": Special(
        "its positions are a product, its width their sum",
        after={
            "axial_pos_embds_dim": (8, 24),
            "axial_pos_shape": (16, 32),
            "attention_head_size": 16,
            "num_hidden_layers": 2,
            "attn_layers": ["local", "lsh"],
            # Longer than what it is shown: of what is longer, keys are looked up by random turns of theirs.
            "lsh_attn_chunk_length": 64,
            "local_attn_chunk_length": 64,
        },
    ),
    "mllama_vision_model": Special(
        "its layers are picked by number", after={"intermediate_layers_indices": [0, 1], "vision_output_dim": 96}
    ),
    "aria": Special(
        "queries by number of patches: its processor makes images of 490 pixels, which are 61 times 61 of 8",
        after={"projector_patch_to_query_dict": {16: 4, 3721: 4}},
    ),
    "gemma3": Special("as many tokens of an image as it has patches", after={"mm_tokens_per_image": 4}),
    "layoutlmv3": Special(
        "its width is that of six parts of a box", after={"hidden_size": 32, "coordinate_size": 6, "shape_size": 4}
    ),
    "mgp-str": Special("three vocabularies of its own", keep=("num_character_labels",)),
    "codegen": Special("its projections are for four groups of heads", after={"n_head": 4, "rotary_dim": 4}),
    "lilt": Special("its boxes have a width of six parts", after={"hidden_size": 48, "channel_shrink_ratio": 2}),
    "luke": Special("entities are many", after={"entity_vocab_size": 64}),
    "fsmt": Special("two vocabularies", after={"src_vocab_size": 512, "tgt_vocab_size": 512}),
    "bit": Special("its norms are over 32 groups of channels", after={"num_groups": 8}),
    "vits": Special(
        "its pieces are many, and what it draws at random would hide what the input does",
        after={
            "noise_scale": 0.0,
            "noise_scale_duration": 0.0,
            "upsample_initial_channel": 32,
            "spectrogram_bins": 33,
            "flow_size": 32,
            "posterior_encoder_num_wavenet_layers": 2,
            "prior_encoder_num_wavenet_layers": 2,
        },
    ),
}

#: By type with several, the Auto class that most of its checkpoints are, where the general order has another first.
OWN_CLASS: Mapping[str, str] = {
    "speecht5": "AutoModelForTextToSpectrogram",  # its speech is what it is known for
    "segformer": "AutoModelForSemanticSegmentation",
    "sam3_video": "AutoModel",  # the other one makes a part of it, that has a type of its own
    "shieldgemma2": "AutoModelForImageClassification",
    "reformer": "AutoModelForCausalLM",  # it was published as a writer, and its tokenizer has no mask
}

#: By type, the task of its class that its checkpoints were made for.
OWN_TASK: Mapping[str, str] = {
    "marian": "translation",
    "m2m_100": "translation",
    "mbart": "translation",
    "fsmt": "translation",
    "nllb-moe": "translation",
    "seamless_m4t": "translation",
    "seamless_m4t_v2": "translation",
    "pegasus": "summarization",
    "pegasus_x": "summarization",
    "bigbird_pegasus": "summarization",
    "led": "summarization",
    "clap": "zero-shot-audio-classification",
}

#: By type, all tasks that its bare network does, where its class does not tell, or tells wrongly: pictures, sounds and
#: texts in one space, mostly.
BARE_TASKS: Mapping[str, tuple[str, ...]] = {
    "clap": ("zero-shot-audio-classification", "sentence-similarity"),
    "xclip": ("video-classification",),
    "clip": ("sentence-similarity", "image-feature-extraction"),
    "siglip": ("sentence-similarity", "image-feature-extraction"),
    "siglip2": ("sentence-similarity", "image-feature-extraction"),
    "time_series_transformer": ("time-series-forecasting",),
    "autoformer": ("time-series-forecasting",),
    "informer": ("time-series-forecasting",),
    "videoprism": ("video-classification",),
    "seggpt": (),  # it marks in a picture what another one has marked, and takes neither alone
    # They compare speech, or sounds and films, with texts, and take none without the other.
    **dict.fromkeys(("clvp", "pe_audio", "pe_audio_video"), ()),
    "dia": (),  # what it reads is to be spoken
}

#: Types that are not built here, and why.
SKIPPED_TYPES: Mapping[str, str] = {
    "timm_backbone": "needs the package timm, which is not among ours",
    "timm_wrapper": "needs the package timm, which is not among ours",
    **dict.fromkeys(
        ("gemma3n", "gemma3n_vision", "fast_vlm", "perception_lm", "edgetam", "edgetam_vision_model"),
        "its part for pictures needs the package timm, which is not among ours",
    ),
    "layoutlmv2": "needs the package detectron2, which is not in the package index",
    "higgs_audio_v2_tokenizer": "needs the package torchaudio, which is not among ours",
    "dinat": "needs the package natten, which has no build for CPU",
    "nat": "needs the package natten, which has no build for CPU",
}

#: Types whose answer does not depend on their input, and why that is right.
CONSTANT: Mapping[str, str] = {}

#: Types that take one input at a time, and why.
UNBATCHED: Mapping[str, str] = {
    "autoformer": "its class looks up the delays of one input's series for another's, so a batch mixes them",
    "videoprism": "its scores are a softmax over the texts and films of a batch",
    **dict.fromkeys(
        ("minicpm_ocr_vision", "minicpmv4_7_vision"), "it takes the patches of all pictures of a batch in one row"
    ),
    "tvp": "its class adds the positions of one picture's patches to those of one picture",
    **dict.fromkeys(
        ("vits", "fastspeech2_conformer", "fastspeech2_conformer_with_hifigan"),
        "a shorter sound hears the padding behind it: seen where two texts take different times, the longer is equal",
    ),
}

#: By task and type, the class of Transformers that has the head for it, where no Auto class leads there.
HEADS: Mapping[tuple[str, str], str] = {
    ("time-series-forecasting", "autoformer"): "AutoformerForPrediction",
    ("time-series-forecasting", "informer"): "InformerForPrediction",
    ("time-series-forecasting", "patchtsmixer"): "PatchTSMixerForPrediction",
    ("time-series-forecasting", "patchtst"): "PatchTSTForPrediction",
    ("time-series-forecasting", "time_series_transformer"): "TimeSeriesTransformerForPrediction",
}
