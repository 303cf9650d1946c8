"""More exceptions for small configurations: networks of stages, and those that cut out. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from .special import WHOLE, Special

__all__ = ["CUTTING", "SIGHT", "STAGES"]

_STAGES = "a stage takes what the one before gives; cut by name, its convolutions met other widths"

#: Networks of stages: as their classes have them, which are their smallest checkpoints' sizes.
STAGES: Mapping[str, Special] = dict.fromkeys(
    (
        "efficientloftr",
        "glpn",
        "pp_formulanet",
        "pp_ocrv5_mobile_det",
        "slanet",
        "slanext",
        "superpoint",
        "textnet",
        "univnet",
    ),
    Special(_STAGES, keep=WHOLE),
)

#: Networks that cut things out of pictures: sizes of what a part gives follow from its picture's.
CUTTING: Mapping[str, Special] = {
    **dict.fromkeys(
        (
            "sam_prompt_encoder",
            "sam_hq_prompt_encoder",
            "sam3_tracker_prompt_encoder",
            "sam3_tracker_video_prompt_encoder",
        ),
        Special("it has the size of the pictures too", after={"image_size": 64, "patch_size": 8}),
    ),
    **dict.fromkeys(
        ("sam_vision_model", "sam_hq_vision_model"),
        Special("its positions are as wide as what it gives, in two halves", after={"num_pos_feats": 16}),
    ),
    "sam3_vision_model": Special(
        "sizes of its features follow from that of its images",
        after={"backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]]},
    ),
    "sam2_hiera_det_model": Special(
        "a stage takes what the one before gives",
        after={
            "hidden_size": 16,
            "num_attention_heads": 1,
            "image_size": [64, 64],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [16, 32, 64, 128],
            "num_attention_heads_per_stage": [1, 2, 2, 2],
            "window_size_per_stage": [4, 4, 4, 4],
            "global_attention_blocks": [3],  # the first of a stage halves its picture by windows
        },
    ),
    **dict.fromkeys(
        ("sam2_vision_model", "edgetam_video_vision_model"),
        Special(
            "sizes of its features follow from that of its images",
            after={
                "backbone_channel_list": [128, 64, 32, 16],
                "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
                "fpn_hidden_size": 32,
            },
        ),
    ),
}

#: Sizes of kernel, stride and padding of the parts of a block that tells lines of text apart.
_INTRACLASS: Mapping[str, list[object]] = {
    "reduce_channel": [1, 1, 0],
    "return_channel": [1, 1, 0],
    **{
        f"{shape}_{ratio}ratio": [[high(n), wide(n)], [1, 1], [high(n) // 2, wide(n) // 2]]
        for ratio, n in (("long", 7), ("mid", 5), ("short", 3))
        for shape, high, wide in (
            ("vertical_long_to_small_conv", int, lambda _: 1),
            ("horizontal_small_to_long_conv", lambda _: 1, int),
            ("symmetric_conv_long", int, int),
        )
    },
}
_FOUR = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_DETECTOR = {
    "intraclass_block_config": _INTRACLASS,
    "scale_factor_list": [1, 2, 4, 8],
    "kernel_list": [3, 2, 2],
    "neck_out_channels": 32,
}
#: Four stages, each of half the height and width of the one before, where the class halves the height alone.
_LCNET = {
    "model_type": "pp_lcnet_v4",
    "stem_channels": [3, 8, 16],
    "block_configs": [
        [[3, 16, 16, 1, False]],
        [[3, 16, 24, 2, True]],
        [[3, 24, 32, 2, False]],
        [[3, 32, 48, 2, False]],
    ],
    **_FOUR,
}
_UNTOLD = "its class leaves out what its checkpoints tell"

#: Networks of pictures that their classes' defaults do not make whole.
SIGHT: Mapping[str, Special] = {
    "pp_ocrv5_server_det": Special(
        _UNTOLD,
        before={**_DETECTOR, "backbone_config": {"model_type": "hgnet_v2", **_FOUR}},
        keep=WHOLE,
    ),
    "pp_ocrv6_medium_det": Special(_UNTOLD, before={**_DETECTOR, "backbone_config": _LCNET}, keep=WHOLE),
    "pp_ocrv6_small_det": Special(
        _UNTOLD, before={"backbone_config": _LCNET, "layer_list_out_channels": [16, 24, 32, 48]}, keep=WHOLE
    ),
    "uvdoc": Special(
        "its head takes what all six stages of its bridge give",
        before={"backbone_config": {"model_type": "uvdoc_backbone", "out_indices": [1, 2, 3, 4, 5, 6]}},
        keep=WHOLE,
    ),
    "pp_doclayout_v2": Special(
        _UNTOLD, after={"class_thresholds": [0.5] * 25, "class_order": [at % 8 for at in range(25)], "num_labels": 25}
    ),
    "chmv2": Special(
        "its head reads the token of the class beside each layer's features",
        after={
            "backbone_config": {
                "model_type": "dinov3_vit",
                "image_size": 32,
                "patch_size": 8,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 4,
                "num_attention_heads": 2,
                "out_indices": [1, 2, 3, 4],
                "return_class_token": True,
            }
        },
    ),
    "vitmatte": Special(
        "its widths have to be a list, its class has a tuple; its pictures have a fourth channel, of what is unknown",
        after={
            "convstream_hidden_sizes": [16, 16, 32],
            "fusion_hidden_sizes": [32, 32, 16, 16],
            "backbone_config": {
                "model_type": "vitdet",
                "num_channels": 4,
                "image_size": 64,
                "pretrain_image_size": 64,
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "out_features": ["stage2"],
            },
        },
    ),
    "omdet-turbo": Special(
        "its default backbone is one of the package timm's; a ResNet's features are laid out the other way round; its "
        "class is at a loss where a text is as wide as its decoder",
        after={
            "decoder_hidden_dim": 64,
            "d_model": 64,
            "apply_layernorm_after_vision_backbone": False,
            "encoder_in_channels": [8, 16, 32],
            "vision_features_channels": [64, 64, 64],
        },
    ),
    "levit": Special("four convolutions halve its pictures before the first stage", after={"patch_size": 16}),
    "superglue": Special(
        "it is as wide as what SuperPoint says of a point",
        after={"gnn_layers_types": ["self", "cross"]},
        keep=("hidden_size",),
    ),
}
