"""Depth, points, features, pictures of pictures: against Transformers' own pipelines and processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest  # noqa: E402
from ipfs_accelerate_py.results import DepthMap, Picture  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.pictures import picture as decoded  # noqa: E402

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


def images_of(kind: str, **named: Any) -> Any:
    return getattr(transformers, f"{kind}ImageProcessorPil")(**named)


def depth_models() -> dict[str, tuple[Any, Any]]:
    dpt = transformers.DPTConfig(
        **{**VISION, "num_hidden_layers": 4}, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8, reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    glpn = transformers.GLPNConfig(
        num_encoder_blocks=4,
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    )
    return {
        "dpt": (transformers.DPTForDepthEstimation(dpt), images_of("DPT", size=SIZE)),
        "glpn": (transformers.GLPNForDepthEstimation(glpn), images_of("GLPN", size_divisor=32)),
    }


@pytest.mark.parametrize("kind", ["dpt", "glpn"])
def test_depth_has_the_images_own_size(kind: str, tmp_path: Path) -> None:
    network, images = depth_models()[kind]
    model = Model(tmp_path, "depth-estimation", network, images)
    pictures = [image(70, 64, 1), image(100, 64, 2), image(70, 64, 3)]
    pipe = model.pipeline()
    for picture, result in zip(pictures, model.run(pictures), strict=True):
        assert isinstance(result, DepthMap)
        assert result.depth.shape == [picture.height, picture.width]
        expected = pipe(picture)["predicted_depth"].numpy()
        most = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(array(result.depth), expected.reshape(result.depth.shape), atol=most)
    assert_batched_equals_single(model, pictures, most=1e-3)  # of depths up to about 50


def test_points_that_can_be_found_again(tmp_path: Path) -> None:
    config = transformers.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=16, keypoint_decoder_dim=65, descriptor_decoder_dim=16,
        keypoint_threshold=0.0, max_keypoints=10,
    )  # fmt: skip
    images = images_of("SuperPoint", size={"height": 48, "width": 64})
    model = Model(tmp_path, "keypoint-detection", transformers.SuperPointForKeypointDetection(config), images)
    for picture, result in zip(PICTURES, model.run(PICTURES), strict=True):
        with torch.no_grad():
            outputs = model.model(**images(picture, return_tensors="pt"))
        expected = images.post_process_keypoint_detection(outputs, [(picture.height, picture.width)])[0]
        found = {(x, y, round(score, 4)) for x, y, score in result.points}
        places = zip(expected["keypoints"].tolist(), expected["scores"].tolist(), strict=True)
        assert found == {(float(x), float(y), round(score, 4)) for (x, y), score in places}
    assert_batched_equals_single(model, PICTURES)
    assert len(model.run(PICTURES[:1], {"top_k": 3})[0].points) == 3


def test_an_image_becomes_a_larger_one(tmp_path: Path) -> None:
    config = transformers.Swin2SRConfig(
        image_size=16, patch_size=1, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, upscale=2
    )
    images = images_of("Swin2SR")
    model = Model(tmp_path, "image-to-image", transformers.Swin2SRForImageSuperResolution(config), images)
    pictures = [image(21, 18, 1), image(32, 16, 2)]
    for picture, result in zip(pictures, model.run(pictures), strict=True):
        assert isinstance(result, Picture)
        assert (result.width, result.height) == (2 * picture.width, 2 * picture.height)
        with torch.no_grad():
            made = model.model(**images(picture, return_tensors="pt")).reconstruction[0]
        made = made[:, : result.height, : result.width].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
        assert np.abs(np.asarray(decoded(result.image.data)).astype(int) - made).max() <= 1


def test_features_of_images_alone_and_of_images_with_texts(tmp_path: Path) -> None:
    vit = transformers.ViTModel(transformers.ViTConfig(**VISION))
    model = Model(tmp_path / "vit", "image-feature-extraction", vit, images_of("ViT", size=SIZE))
    (result,) = model.run(PICTURES[:1])
    with torch.no_grad():
        expected = model.model(**model.work.images(PICTURES[0], return_tensors="pt"))  # type: ignore[attr-defined]
    assert [each.name for each in result.tensors] == ["last_hidden_state", "pooler_output"]
    np.testing.assert_allclose(array(result.tensors[0]), expected.last_hidden_state[0].numpy(), atol=1e-5)
    assert_batched_equals_single(model, PICTURES)

    clip = transformers.CLIPModel(transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16))
    cut = images_of("CLIP", size={"shortest_edge": 32}, crop_size=SIZE)
    model = Model(tmp_path / "clip", "image-feature-extraction", clip, cut, tokenizer())
    (result,) = model.run(PICTURES[:1])
    with torch.no_grad():
        found = model.model.get_image_features(**cut(PICTURES[0], return_tensors="pt"))
    found = getattr(found, "pooler_output", found)[0]
    assert [each.name for each in result.tensors] == ["image_embeds"]
    np.testing.assert_allclose(array(result.tensors[0]), (found / found.norm()).numpy(), atol=1e-5)
    assert_batched_equals_single(model, PICTURES)


def test_what_is_hidden_of_an_image_is_made_up(tmp_path: Path) -> None:
    network = transformers.ViTForMaskedImageModeling(transformers.ViTConfig(**VISION, encoder_stride=8))
    model = Model(tmp_path, "masked-image-modeling", network, images_of("ViT", size=SIZE))
    mask = [1, 0] * 8
    (told,) = model.run([{"image": PICTURES[0], "mask": mask}])
    with torch.no_grad():
        pixels = model.work.images(PICTURES[0], return_tensors="pt")["pixel_values"]  # type: ignore[attr-defined]
        expected = model.model(pixels, bool_masked_pos=torch.tensor([mask], dtype=torch.bool)).reconstruction[0]
    np.testing.assert_allclose(array(told.tensors[0]), expected.numpy(), atol=1e-4)
    (one, two) = (model.run(PICTURES[:1], {"mask_ratio": 0.5, "seed": seed})[0] for seed in (1, 1))
    assert one == two
    assert array(one.tensors[1]).sum() == 8
    assert model.run(PICTURES[:1], {"seed": 2, "mask_ratio": 0.5})[0] != one
    with pytest.raises(InvalidRequest, match="16 patches"):
        model.run([{"image": PICTURES[0], "mask": [1, 0]}])


def test_the_same_points_of_two_images(tmp_path: Path) -> None:
    points = transformers.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=16, keypoint_decoder_dim=65, descriptor_decoder_dim=16,
        keypoint_threshold=0.0, max_keypoints=12,
    )  # fmt: skip
    config = transformers.SuperGlueConfig(
        keypoint_detector_config=points, hidden_size=16, keypoint_encoder_sizes=[8, 16],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2, sinkhorn_iterations=5, matching_threshold=0.0,
    )  # fmt: skip
    images = images_of("SuperGlue", size={"height": 48, "width": 64})
    model = Model(tmp_path, "keypoint-matching", transformers.SuperGlueForKeypointMatching(config), images)
    pairs = [[PICTURES[0], PICTURES[0]], [PICTURES[1], PICTURES[2]]]
    for pair, result in zip(pairs, model.run(pairs), strict=True):
        with torch.no_grad():
            outputs = model.model(**images([pair], return_tensors="pt"))
        sizes = [[(each.height, each.width) for each in pair]]
        expected = images.post_process_keypoint_matching(outputs, sizes)[0]
        found = {(result.points[one][:2], result.points[two][:2]) for one, two, _ in result.matches}
        both = zip(expected["keypoints0"].tolist(), expected["keypoints1"].tolist(), strict=True)
        assert found == {(tuple(map(float, one)), tuple(map(float, two))) for one, two in both}
    for wrong in (PICTURES[0], [PICTURES[0]], {"images": PICTURES[:3]}):
        with pytest.raises(InvalidRequest, match="two images"):
            model.run([wrong])
