"""Outlines of what is at points and in boxes, and of everything (SAM): against the plain model."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import torch  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.mask_grid import apart  # noqa: E402

from .vision_models import (  # noqa: E402
    Model,
    array,
    assert_batched_equals_single,
    image,
)

PICTURES = [image(40, 30, 1), image(100, 64, 2), image(32, 32, 3), image(40, 30, 4)]


def images_of(kind: str, **named: Any) -> Any:
    return getattr(transformers, f"{kind}ImageProcessorPil")(**named)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Model:
    vision = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 8,
        "mlp_dim": 32, "output_channels": 32, "window_size": 4, "global_attn_indexes": [1], "num_pos_feats": 16,
    }  # fmt: skip
    prompts = {
        "hidden_size": 32,
        "image_size": 64,
        "patch_size": 8,
        "mask_input_channels": 4,
        "image_embedding_size": 8,
    }
    decoder = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "mlp_dim": 32,
        "num_hidden_layers": 2,
        "iou_head_hidden_dim": 16,
    }
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    images = images_of("Sam", size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    return Model(tmp_path_factory.mktemp("sam"), "mask-generation", transformers.SamModel(config), images)


def test_points_and_boxes_outline_what_the_plain_model_outlines(sam: Model) -> None:
    points, labels = [[[10, 10], [5, 20]], [[30, 8], [2, 2]]], [[1, 0], [1, 1]]
    given = [{"image": picture, "points": points, "labels": labels} for picture in PICTURES]
    (first, *_) = sam.run(given, {"multimask": True})
    plain = transformers.SamProcessor(sam.work.images)(  # type: ignore[attr-defined]
        images=PICTURES[0], input_points=[points], input_labels=[labels], return_tensors="pt"
    )
    with torch.no_grad():
        outputs = sam.model(
            pixel_values=plain["pixel_values"],
            input_points=plain["input_points"].float(),
            input_labels=plain["input_labels"],
        )
    scores = outputs.iou_scores[0].reshape(-1).tolist()
    assert [each.score for each in first.masks] == pytest.approx(scores, abs=1e-5)
    masks = sam.work.images.post_process_masks(  # type: ignore[attr-defined]
        outputs.pred_masks, plain["original_sizes"], plain["reshaped_input_sizes"]
    )[0]
    for mask, other in zip(first.masks, masks.flatten(0, 1).numpy(), strict=True):
        assert (array(mask.mask) != other).mean() < 0.001
    best = sam.run(given)
    assert [len(each.masks) for each in best] == [2] * len(PICTURES)
    assert best[0].masks[0].score == pytest.approx(max(scores[:3]), abs=1e-5)
    boxes = [{"image": picture, "boxes": [[3, 3, 20, 20]]} for picture in PICTURES]
    for each in (given, boxes):
        assert_batched_equals_single(sam, each)


def test_everything_in_an_image_is_outlined_without_prompts(sam: Model) -> None:
    options = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "nms_thresh": 1.0}
    pictures = PICTURES[:2]
    results = sam.run(pictures, {**options, "points_per_batch": 5})
    for picture, result in zip(pictures, results, strict=True):
        assert len(result.masks) == 4 * 4 * 3
        assert all(each.mask.shape == [picture.height, picture.width] for each in result.masks)
        scores = [each.score for each in result.masks if each.score is not None]
        assert scores == sorted(scores, reverse=True)
    again = sam.run(pictures, {**options, "points_per_batch": 64}, together=False)
    for one, two in zip(results, again, strict=True):
        assert [each.score for each in one.masks] == pytest.approx([each.score for each in two.masks], abs=1e-4)
    fewer = sam.run(pictures, {**options, "nms_thresh": 0.3})[0]
    assert 0 < len(fewer.masks) < 48
    assert sam.run(pictures, {**options, "pred_iou_thresh": 1.0, "stability_score_thresh": 1.0})[0].masks == []


@pytest.mark.parametrize(
    "wrong",
    [{"points": "x"}, {"points": [[1, 2, 3]]}, {"points": [[1, 2]], "labels": [1, 0]}, {"boxes": [[1, 2]]},
     {"points": [[1, 2]], "boxes": [[1, 2, 3, 4], [1, 2, 3, 4]]}],
)  # fmt: skip
def test_prompts_that_do_not_fit_are_refused(sam: Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"points|boxes|labels"):
        sam.run([{"image": PICTURES[0], **wrong}])


def test_of_boxes_that_overlap_the_best_one_stays() -> None:
    boxes = [[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 5, 5]]
    assert apart(boxes, [0.5, 0.9, 0.1, 0.2], 0.5) == [1, 3, 2]
    assert apart([], [], 0.5) == []
