"""Types whose checkpoints come with another type's processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["HEARD_BY", "LENT", "NAMED", "image_processor_of"]

#: By type, another whose processor its checkpoints come with, where Transformers' table names none for it.
LENT: Mapping[str, str] = {
    **dict.fromkeys(("d_fine", "rt_detr_v2", "rt_detr_resnet", "hgnet_v2"), "rt_detr"),
    **dict.fromkeys(("dab-detr", "lw_detr_vit"), "conditional_detr"),
    **dict.fromkeys(
        ("dinov2_with_registers", "vitdet", "maskformer-swin", "vitpose_backbone", "mlcd_vision_model"), "vit"
    ),
    **dict.fromkeys(("clip_vision_model", "chinese_clip_vision_model"), "clip"),
    "siglip_vision_model": "siglip",
    "siglip2_vision_model": "siglip2",
    "radio": "clip",
    **dict.fromkeys(("edgetam_video", "edgetam_vision_model", "sam2_vision_model", "sam2_hiera_det_model"), "sam2"),
    **dict.fromkeys(("sam_vision_model", "sam_hq_vision_model"), "sam"),
    **dict.fromkeys(("pp_lcnet_v3", "pp_lcnet_v4"), "pp_lcnet"),
    **dict.fromkeys(("vision-encoder-decoder", "upernet"), "vit"),
    "fast_vlm": "llava",
    "qwen2_5_omni_thinker": "qwen2_5_omni",
    "qwen3_omni_moe_thinker": "qwen3_omni_moe",
    **dict.fromkeys(("qwen2_5_omni", "qwen3_omni_moe"), "qwen2_vl"),
    "cosmos3_omni": "qwen3_vl",
    "glmga": "glm46v",
    "dinov3_convnext": "dinov3_vit",
    "rf_detr_dinov2": "rf_detr",
    "tipsv2_vision_model": "tipsv2",
    "uvdoc_backbone": "uvdoc",
    "videomt": "mask2former",
    "vjepa2": "videomae",
    "videoprism": "videomae",
    "videoprism_vision_model": "videomae",
    "glm4v_moe": "glm4v",
    "glm_ocr": "glm46v",
    "qwen3_vl_moe": "qwen3_vl",
    "moonshine_streaming": "moonshine",
    "speech-encoder-decoder": "wav2vec2",
}

#: Processors that checkpoints name in their files, and Transformers' table does not.
NAMED: Mapping[str, str] = {"kosmos-2": "Kosmos2Processor", "kosmos-2.5": "Kosmos2_5Processor"}

#: Feature extractors that checkpoints name, where Transformers' table names another.
HEARD_BY: Mapping[str, str] = {"wav2vec2-bert": "SeamlessM4TFeatureExtractor"}


def image_processor_of(model_type: str) -> Any:
    """Name of the image processor of a type's checkpoints, or names by what it needs, as Transformers' table has them;
    None where there is none: of towers of larger models, mostly, whose processors make other arrays."""
    table = require("transformers.models.auto.image_processing_auto").IMAGE_PROCESSOR_MAPPING_NAMES
    lender = LENT.get(model_type, "")
    return table.get(model_type) or table.get(lender) or table.get(LENT.get(lender, ""))
