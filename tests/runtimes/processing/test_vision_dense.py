"""Boxes and masks: against Transformers' own pipelines, or its processors where it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable  # noqa: E402
from ipfs_accelerate_py.results import Boxes, Masks  # noqa: E402

from .vision_models import (  # noqa: E402
    SIZE,
    TEXT,
    VISION,
    Model,
    array,
    assert_batched_equals_single,
    image,
    tokenizer,
)

PICTURES = [image(40, 30, 1), image(100, 64, 2), image(32, 32, 3), image(40, 30, 4)]
EDGES = {"shortest_edge": 64, "longest_edge": 128}


def images_of(kind: str, **named: Any) -> Any:
    return getattr(transformers, f"{kind}ImageProcessorPil")(**named)


def detr_config(kind: str = "Detr", **named: Any) -> Any:
    layers = {f"{side}_{part}": at for side in ("encoder", "decoder") for part, at in
              (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))}  # fmt: skip
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"]
    )
    shape = {"backbone_config": backbone, "d_model": 32, "num_queries": 5, "num_labels": 4, **layers, **named}
    return getattr(transformers, f"{kind}Config")(use_timm_backbone=False, backbone=None, **shape)


def detectors() -> dict[str, tuple[Any, Any]]:
    yolos = {**VISION, "image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 5, "num_labels": 3}
    return {
        "detr": (transformers.DetrForObjectDetection(detr_config()), images_of("Detr", size=EDGES)),
        "conditional_detr": (
            transformers.ConditionalDetrForObjectDetection(detr_config("ConditionalDetr")),
            images_of("ConditionalDetr", size=EDGES),
        ),
        "yolos": (
            transformers.YolosForObjectDetection(transformers.YolosConfig(**yolos)),
            images_of("Yolos", size=EDGES),
        ),
    }


@pytest.mark.parametrize("kind", ["detr", "conditional_detr", "yolos"])
def test_objects_are_where_transformers_finds_them(kind: str, tmp_path: Path) -> None:
    network, images = detectors()[kind]
    model = Model(tmp_path, "object-detection", network, images)
    pipe = model.pipeline()
    for picture, result in zip(PICTURES, model.run(PICTURES, {"threshold": 0.05}), strict=True):
        assert isinstance(result, Boxes)
        expected = sorted(pipe(picture, threshold=0.05), key=lambda each: -each["score"])
        assert len(result.boxes) == len(expected) > 0
        for box, other in zip(result.boxes, expected, strict=True):
            assert box.score == pytest.approx(other["score"], abs=1e-4)
            corners = [other["box"][name] for name in ("xmin", "ymin", "xmax", "ymax")]  # it cuts to whole pixels
            assert [box.x0, box.y0, box.x1, box.y1] == pytest.approx(corners, abs=1.01)
    assert_batched_equals_single(model, PICTURES, {"threshold": 0.05})
    (one,) = model.run(PICTURES[:1], {"threshold": 0.0, "top_k": 1})
    assert len(one.boxes) == 1
    assert model.run(PICTURES[:1], {"threshold": 1.0})[0].boxes == []
    with pytest.raises(InvalidRequest, match="threshold"):
        model.run(PICTURES[:1], {"threshold": 2})


@pytest.fixture(scope="module")
def owl(tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = transformers.OwlViTConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    parts = transformers.OwlViTProcessor(images_of("OwlViT", size=SIZE, crop_size=SIZE), tokenizer())
    model = transformers.OwlViTForObjectDetection(config)
    return Model(tmp_path_factory.mktemp("owl"), "zero-shot-object-detection", model, parts)


def test_labels_of_the_caller_are_found_in_images(owl: Model) -> None:
    labels = ["cat", "a dog on the photo"]
    (result,) = owl.run(PICTURES[:1], {"candidate_labels": labels, "threshold": 0.0})
    parts = owl.work.processor(text=[labels], images=PICTURES[0], return_tensors="pt", padding=True)  # type: ignore[attr-defined]
    parts.pop("token_type_ids", None)
    with torch.no_grad():
        outputs = owl.model(**parts)
    scores, at = torch.sigmoid(outputs.logits[0]).max(-1)
    found = {(box.label, round(box.score, 4)) for box in result.boxes}
    assert found == {(labels[int(which)], round(float(score), 4)) for which, score in zip(at, scores, strict=True)}
    assert_batched_equals_single(owl, PICTURES, {"candidate_labels": labels, "threshold": 0.0})
    with pytest.raises(InvalidRequest, match="candidate_labels"):
        owl.run(PICTURES[:1])


def test_a_model_that_makes_no_boxes_is_refused(owl: Model, tmp_path: Path) -> None:
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**VISION))
    for task, said in (
        ("object-detection", "no boxes"),
        ("image-segmentation", "no masks"),
        ("mask-generation", "no masks"),
    ):
        with pytest.raises(RuntimeUnavailable, match=said):
            Model(tmp_path, task, vit, images_of("ViT", size=SIZE)).run(PICTURES)


def swin() -> Any:
    return transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def maskformer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = transformers.MaskFormerConfig(
        backbone_config=swin(), fpn_feature_size=32, mask_feature_size=32, decoder_config=detr_config(), num_labels=4
    )
    model = transformers.MaskFormerForInstanceSegmentation(config)
    images = images_of("MaskFormer", size={"shortest_edge": 64, "longest_edge": 96})
    return Model(tmp_path_factory.mktemp("maskformer"), "image-segmentation", model, images)


def assert_masks(result: Any, expected: Any, picture: Any) -> None:
    assert isinstance(result, Masks)
    assert [each.label for each in result.masks] == [each["label"] for each in expected]
    for mask, other in zip(result.masks, expected, strict=True):
        assert mask.mask.shape == [picture.height, picture.width]
        assert (array(mask.mask) == (np.asarray(other["mask"]) > 0)).all()
        assert mask.score == (None if other["score"] is None else pytest.approx(other["score"], abs=1e-4))


def assert_alike(one: Any, other: Any) -> None:
    """The same parts, and of their edges at most one pixel in 500 elsewhere, where rounding decides."""
    assert [each.label for each in one.masks] == [each.label for each in other.masks]
    for left, right in zip(one.masks, other.masks, strict=True):
        assert left.score == (None if right.score is None else pytest.approx(right.score, abs=1e-4))
        assert left.mask.shape == right.mask.shape
        assert (array(left.mask) != array(right.mask)).mean() <= 0.002


@pytest.mark.parametrize("subtask", ["panoptic", "instance", "semantic"])
def test_parts_of_an_image_as_transformers_cuts_them(maskformer: Model, subtask: str) -> None:
    options = {"subtask": subtask, "threshold": 0.2, "mask_threshold": 0.4, "overlap_mask_area_threshold": 0.1}
    pipe = maskformer.pipeline()
    results = maskformer.run(PICTURES, options)
    assert any(each.masks for each in results)
    for picture, result in zip(PICTURES, results, strict=True):
        assert_masks(result, pipe(picture, **options), picture)
    alone = maskformer.run(PICTURES, options, together=False)
    for left, right in zip(alone, results, strict=True):
        assert_alike(left, right)
    assert results[0] != results[1], "the model does not look at its input"


def test_an_unknown_kind_of_parts_is_refused(maskformer: Model) -> None:
    with pytest.raises(InvalidRequest, match="subtask"):
        maskformer.run(PICTURES[:1], {"subtask": "exotic"})


def test_classes_of_pixels(tmp_path: Path) -> None:
    config = transformers.SegformerConfig(
        num_encoder_blocks=4, depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16, num_labels=4,
    )  # fmt: skip
    images = images_of("Segformer", size={"height": 64, "width": 64})
    model = Model(tmp_path, "image-segmentation", transformers.SegformerForSemanticSegmentation(config), images)
    pipe = model.pipeline()
    results = model.run(PICTURES)
    for alone, together in zip(model.run(PICTURES, together=False), results, strict=True):
        assert_alike(alone, together)
    assert results[0] != results[3], "the model does not look at its input"
    for picture, result in zip(PICTURES, results, strict=True):
        assert_masks(result, pipe(picture), picture)
        assert (
            sum(array(each.mask).astype(int) for each in result.masks).tolist()
            == np.ones((picture.height, picture.width)).tolist()
        )
    with pytest.raises(InvalidRequest, match="subtask"):
        model.run(PICTURES[:1], {"subtask": "panoptic"})


def test_images_stay_what_they_are(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 30), (9, 9, 9))
    before = np.asarray(picture).copy()
    model = Model(tmp_path, "object-detection", *detectors()["detr"])
    model.run([picture, picture])
    assert (np.asarray(picture) == before).all()
