"""Image processors that Transformers has only for torchvision."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from ipfs_accelerate_py.errors import RuntimeUnavailable  # noqa: E402
from ipfs_accelerate_py.runtimes.processing import tensor_pictures as ours  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.base import Context  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.borrowed import borrowed  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.processors import image_processor  # noqa: E402

from .vision_models import image  # noqa: E402

PICTURE = image(80, 60, 1)


@pytest.mark.parametrize(
    ("name", "pil", "levels"),
    [("ViTImageProcessor", "ViTImageProcessorPil", 1), ("CLIPImageProcessor", "CLIPImageProcessorPil", 2),
     ("ConvNextImageProcessor", "ConvNextImageProcessorPil", 2), ("DetrImageProcessor", "DetrImageProcessorPil", 1)],
)  # fmt: skip
def test_pixels_are_pillows_but_for_rounding(name: str, pil: str, levels: int) -> None:
    """Of processors that there are for both: as many grey levels of 255 apart as torch and Pillow round apart."""
    ours_, theirs = (
        kind()(images=PICTURE, return_tensors="np") for kind in (borrowed(name), getattr(transformers, pil))
    )
    assert ours_.keys() == theirs.keys()
    one, other = (np.asarray(each["pixel_values"]) for each in (ours_, theirs))
    assert one.shape == other.shape
    assert np.abs(one - other).max() <= levels / 255 / 0.224 + 1e-5  # the least deviation of ImageNet's


@pytest.mark.parametrize(
    ("name", "shape"),
    [("DINOv3ViTImageProcessor", (1, 3, 224, 224)), ("Sam2ImageProcessor", (1, 3, 1024, 1024)),
     ("RfDetrImageProcessor", (1, 3, 800, 1066)), ("Llama4ImageProcessor", (1, 3, 336, 336))],
)  # fmt: skip
def test_those_only_for_torchvision_run_without_it(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    borrowed(name)().save_pretrained(tmp_path)
    images = image_processor(Context(tmp_path, transformers.BertConfig()))
    pixels = np.asarray(images(images=PICTURE, return_tensors="np")["pixel_values"])
    assert pixels.shape[-3:] == shape[-3:]
    assert pixels.dtype == np.float32
    other = np.asarray(images(images=image(80, 60, 2), return_tensors="np")["pixel_values"])
    assert np.abs(pixels - other).max() > 0.1


def test_what_others_import_is_as_it_was() -> None:
    borrowed("Sam2ImageProcessor")
    assert not transformers.utils.is_torchvision_available()
    with pytest.raises(ImportError, match="orchvision"):
        transformers.Sam2ImageProcessor()
    with pytest.raises(RuntimeUnavailable, match="NoSuchProcessor"):
        borrowed("NoSuchProcessor")


def test_functions_of_images_as_tensors() -> None:
    numbers = torch.arange(24, dtype=torch.float32).reshape(1, 4, 6)
    assert ours.pad(numbers, [1, 2, 3, 4]).shape == (1, 10, 10)
    assert ours.pad(numbers, [1, 0], padding_mode="reflect")[0, 0].tolist() == [1, 0, 1, 2, 3, 4, 5, 4]
    assert ours.pad(torch.zeros(3, 1, 1), 1, fill=[1, 2, 3])[:, 0, 0].tolist() == [1, 2, 3]
    assert ours.crop(numbers, -1, 4, 3, 4)[0].tolist() == [[0, 0, 0, 0], [4, 5, 0, 0], [10, 11, 0, 0]]
    assert ours.center_crop(numbers, [2, 2])[0].tolist() == [[8, 9], [14, 15]]
    assert ours.resize(numbers, 2).shape == (1, 2, 3)
    assert ours.resize(numbers, [8, 12], ours.InterpolationMode.NEAREST)[0, 0].tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
    ]
    assert ours.normalize(numbers, [2.0], [4.0])[0, 0, 0].item() == -0.5
    assert ours.to_dtype(torch.tensor([255, 0], dtype=torch.uint8), torch.float32, scale=True).tolist() == [1.0, 0.0]
    blurred = ours.gaussian_blur(numbers, [3, 3], [1.0, 1.0])
    assert blurred.shape == numbers.shape
    assert torch.allclose(blurred[0, 1:3, 1:5], numbers[0, 1:3, 1:5], atol=1e-4)  # a slope stays one
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 10]], dtype=torch.float32)
    kept = ours.batched_nms(boxes, torch.tensor([0.5, 0.9, 0.3, 0.2]), torch.tensor([0, 0, 0, 1]), 0.5)
    assert kept.tolist() == [1, 2, 3]
