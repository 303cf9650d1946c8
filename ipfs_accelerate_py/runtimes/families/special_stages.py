"""More exceptions for small configurations: networks of stages, and those that cut out. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from .special import WHOLE, Special

__all__ = ["CUTTING", "STAGES"]

_STAGES = "a stage takes what the one before gives; cut by name, its convolutions met other widths"

#: Networks of stages: as their classes have them, which are their smallest checkpoints' sizes.
STAGES: Mapping[str, Special] = dict.fromkeys(
    (
        "efficientloftr",
        "glpn",
        "pp_formulanet",
        "pp_ocrv5_mobile_det",
        "pp_ocrv5_server_det",
        "pp_ocrv6_medium_det",
        "pp_ocrv6_small_det",
        "slanet",
        "slanext",
        "superpoint",
        "textnet",
        "univnet",
        "uvdoc",
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
