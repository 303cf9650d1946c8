"""The few functions on images as tensors that image processors written for torchvision call, by torch alone.

Names, arguments and results are those of ``torchvision.transforms.v2.functional`` (https://pytorch.org/vision/stable/
transforms.html), which does the same with the same functions of torch. Images are ``... x channels x height x width``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["BY_PILLOW", "FUNCTIONS", "InterpolationMode", "batched_nms"]


class InterpolationMode(enum.Enum):
    """How pixels between pixels are made."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


#: By Pillow's number of it.
BY_PILLOW = {
    0: InterpolationMode.NEAREST_EXACT,
    1: InterpolationMode.LANCZOS,
    2: InterpolationMode.BILINEAR,
    3: InterpolationMode.BICUBIC,
    4: InterpolationMode.BOX,
    5: InterpolationMode.HAMMING,
}
_NEAREST = (InterpolationMode.NEAREST, InterpolationMode.NEAREST_EXACT)


def resize(
    image: Any,
    size: Sequence[int] | int | None,
    interpolation: Any = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """To ``(height, width)``, or with the shorter edge of that length."""
    torch = require("torch")
    height, width = image.shape[-2:]
    size = [size] if isinstance(size, int) else list(size or ())
    if len(size) == 1:
        short, long = sorted((height, width))
        new, other = size[0], int(size[0] * long / short)
        if max_size is not None and other > max_size:
            new, other = int(max_size * new / other), max_size
        size = [other, new] if height > width else [new, other]
    if tuple(size) == (height, width):
        return image
    mode = BY_PILLOW[interpolation] if isinstance(interpolation, int) else InterpolationMode(interpolation.value)
    if mode not in (*_NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC):
        raise ValueError(f"torchvision has no interpolation {mode.value!r} for tensors")
    flat = image.reshape(-1, *image.shape[-3:]) if image.dim() != 4 else image
    smooth = mode not in _NEAREST
    kept = flat.dtype
    if not flat.is_floating_point() and (smooth or kept == torch.bool) and kept != torch.uint8:
        flat = flat.float()
    made = torch.nn.functional.interpolate(
        flat,
        size=[int(each) for each in size],
        mode=mode.value,
        **({"align_corners": False, "antialias": bool(antialias)} if smooth else {}),
    )
    if made.dtype != kept:
        made = made.round().to(kept)
    return made.reshape(*image.shape[:-2], *made.shape[-2:])


def pad(image: Any, padding: Any, fill: Any = None, padding_mode: str = "constant") -> Any:
    """With ``padding`` of left, top, right, bottom; or of both sides each; or of all."""
    torch = require("torch")
    sides = [padding] if isinstance(padding, int) else [int(each) for each in padding]
    left, top, right, bottom = sides * 4 if len(sides) == 1 else sides * 2 if len(sides) == 2 else sides
    value = 0 if fill is None else fill
    if padding_mode == "constant" and isinstance(value, list | tuple):
        height, width = image.shape[-2:]
        colour = torch.as_tensor(value, dtype=image.dtype, device=image.device).reshape(-1, 1, 1)
        whole = colour.expand(*image.shape[:-2], height + top + bottom, width + left + right).clone()
        whole[..., top : top + height, left : left + width] = image
        return whole
    if padding_mode == "constant":
        return torch.nn.functional.pad(image, [left, right, top, bottom], value=value)
    rows, columns = (
        torch.from_numpy(_indices(length, before, after, padding_mode))
        for length, before, after in ((image.shape[-2], top, bottom), (image.shape[-1], left, right))
    )
    return image[..., rows, :][..., columns]


def _indices(length: int, before: int, after: int, mode: str) -> Any:
    np = require("numpy")
    return np.pad(np.arange(length), (before, after), mode=mode)


def crop(image: Any, top: int, left: int, height: int, width: int) -> Any:
    """A part, black where it reaches past the image."""
    rows, columns = image.shape[-2:]
    part = image[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    sides = [max(-left, 0), max(-top, 0), max(left + width - columns, 0), max(top + height - rows, 0)]
    return pad(part, sides) if any(sides) else part


def center_crop(image: Any, output_size: Any) -> Any:
    """The middle of that height and width, with black around a smaller image."""
    sides = [output_size] * 2 if isinstance(output_size, int) else list(output_size)
    height, width = (sides * 2)[:2]
    rows, columns = image.shape[-2:]
    if height > rows or width > columns:
        over = [max(width - columns, 0), max(height - rows, 0)]
        image = pad(image, [over[0] // 2, over[1] // 2, (over[0] + 1) // 2, (over[1] + 1) // 2])
        rows, columns = image.shape[-2:]
    return crop(image, round((rows - height) / 2.0), round((columns - width) / 2.0), height, width)


def normalize(image: Any, mean: Any, std: Any, inplace: bool = False) -> Any:
    """Less the mean and divided by the deviation of each channel."""
    torch = require("torch")
    mean, std = (torch.as_tensor(each, dtype=image.dtype, device=image.device) for each in (mean, std))
    mean, std = (each.reshape(-1, 1, 1) if each.dim() == 1 else each for each in (mean, std))
    return image.sub_(mean).div_(std) if inplace else (image - mean) / std


def grayscale_to_rgb(image: Any) -> Any:
    """Three channels of one."""
    return image.expand(*image.shape[:-3], 3, *image.shape[-2:]) if image.shape[-3] == 1 else image


def rgb_to_grayscale(image: Any, num_output_channels: int = 1) -> Any:
    """Luma of ITU-R BT.601, which is what Pillow and torchvision take."""
    kept = image.dtype
    red, green, blue = image.float().unbind(-3)[:3]
    luma = (0.2989 * red + 0.587 * green + 0.114 * blue).to(kept).unsqueeze(-3)
    return luma.expand(*image.shape[:-3], 3, *image.shape[-2:]) if num_output_channels == 3 else luma


def to_dtype(image: Any, dtype: Any, scale: bool = False) -> Any:
    """In another type of number; with ``scale`` from 0..255 to 0..1 or back."""
    torch = require("torch")
    if scale and image.dtype == torch.uint8 and dtype.is_floating_point:
        return image.to(dtype) / 255.0
    if scale and image.is_floating_point() and dtype == torch.uint8:
        return image.mul(255.0 + 1.0 - 1e-3).to(dtype)
    return image.to(dtype)


def pil_to_tensor(image: Any) -> Any:
    """A Pillow image's bytes: channels x height x width."""
    torch, np = require("torch"), require("numpy")
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def to_pil_image(image: Any, mode: str | None = None) -> Any:
    """A Pillow image of one tensor; numbers with a point are from 0 to 1."""
    pil = require("PIL.Image")
    shown = image.mul(255).byte() if image.is_floating_point() else image
    array = shown.cpu().numpy()
    array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array.transpose(1, 2, 0)
    return pil.fromarray(array) if mode is None else pil.fromarray(array).convert(mode)


def gaussian_blur(image: Any, kernel_size: Sequence[int], sigma: Sequence[float] | None = None) -> Any:
    """Blurred with a Gaussian of that size and deviation (width, height), the edges mirrored."""
    torch = require("torch")
    deviations = [0.15 * each + 0.35 for each in kernel_size] if sigma is None else list(sigma)
    flat = image.reshape(-1, 1, *image.shape[-2:]).float()
    for axis, (size, deviation) in enumerate(zip(kernel_size, deviations, strict=True)):
        places = torch.linspace(-(size - 1) / 2, (size - 1) / 2, size)
        bell = torch.softmax(-(places / deviation).square() / 2, dim=0)
        half = size // 2
        shape, sides = ((1, 1, 1, size), [half, half, 0, 0]) if axis == 0 else ((1, 1, size, 1), [0, 0, half, half])
        flat = torch.nn.functional.conv2d(torch.nn.functional.pad(flat, sides, mode="reflect"), bell.reshape(shape))
    made = flat.reshape(image.shape)
    return made if image.is_floating_point() else made.round().to(image.dtype)


def batched_nms(boxes: Any, scores: Any, idxs: Any, iou_threshold: float) -> Any:
    """Which boxes (x0, y0, x1, y1) are left, the likeliest first, where one of the same class hides others that overlap
    it by more than the threshold."""
    torch = require("torch")
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = torch.maximum(boxes[best, :2], boxes[rest, :2])
        other = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (other - corner).clamp(min=0).prod(-1)
        overlap = shared / (area[best] + area[rest] - shared)
        order = rest[(overlap <= iou_threshold) | (idxs[rest] != idxs[best])]
    return torch.stack(kept) if kept else order


#: All of them by torchvision's names.
FUNCTIONS = {
    "InterpolationMode": InterpolationMode,
    **{
        each.__name__: each
        for each in (
            *(resize, pad, crop, center_crop, normalize, grayscale_to_rgb, rgb_to_grayscale, to_dtype, pil_to_tensor),
            *(to_pil_image, gaussian_blur),
        )
    },
    "to_dtype_image": to_dtype,
    "to_image": pil_to_tensor,
}
