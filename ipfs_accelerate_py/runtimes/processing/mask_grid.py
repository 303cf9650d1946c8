"""Outlines of everything in an image: a grid of points, each pass's masks sifted, and those that repeat one dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["apart", "everything", "full_size", "grid"]


def grid(side: int) -> Any:
    """Points (x, y) of a square grid, from 0 to 1, as side x side rows: each in the middle of its cell."""
    np = require("numpy")
    line = (np.arange(side) + 0.5) / side
    across, down = np.meshgrid(line, line)
    return np.stack([across.reshape(-1), down.reshape(-1)], axis=1)


def full_size(images: Any, masks: Any, note: Mapping[str, Any]) -> Any:
    """Masks (any x any x height x width, as logits) at the image's own size, by its processor's rule."""
    torch, np = require("torch"), require("numpy")
    return images.post_process_masks(
        [torch.from_numpy(np.ascontiguousarray(masks))], [note["size"]], [note["inner"]], binarize=False
    )[0].numpy()


def everything(network: Any, images: Any, image: Mapping[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
    """Masks of all that the grid's points hit, the surest first.

    Args:
        network: the model.
        images: its image processor.
        image: one image's arrays, with a batch's axis of one.
        note: ``grid`` (points x 2), ``points`` (how many run together), ``size``, ``inner`` and the thresholds.

    Returns:
        ``masks`` (any x height x width, bool) and ``scores`` (any): the model's own guess of its mask's overlap.
    """
    np = require("numpy")
    embedded = _embedded(network, image)
    masks, scores = [], []
    for start in range(0, len(note["grid"]), note["points"]):
        points = note["grid"][start : start + note["points"]][None, :, None]
        labels = np.ones(points.shape[:3], dtype="int64")
        outputs = network.collect(network.launch({**embedded, "input_points": points, "input_labels": labels}))
        sure = outputs["iou_scores"][0].reshape(-1)
        low = outputs["pred_masks"][0].reshape(len(sure), 1, *outputs["pred_masks"].shape[-2:])
        kept = sure > note["iou"] if note["iou"] > 0 else np.ones(len(sure), dtype=bool)
        # At full size a pass's masks may take gigabytes, so those that fail the first test never get there.
        for logits, score in zip(low[kept], sure[kept], strict=True):
            full = full_size(images, logits[None], note)[0, 0]
            inner = (full > note["mask"] + note["offset"]).sum()
            outer = (full > note["mask"] - note["offset"]).sum()
            if outer and (note["stability"] == 0 or inner / outer > note["stability"]):
                masks.append(full > note["mask"])
                scores.append(float(score))
    chosen = apart([_box(mask) for mask in masks], scores, note["nms"])
    empty = np.zeros((0, *note["size"]), dtype=bool)
    return {
        "masks": np.stack([masks[at] for at in chosen]) if chosen else empty,
        "scores": np.array([scores[at] for at in chosen]),
    }


def _embedded(network: Any, image: Mapping[str, Any]) -> dict[str, Any]:
    """The image as the decoder takes it. An engine that has only the whole forward pass computes it again each time."""
    model = getattr(network, "model", None)
    if model is None or not hasattr(model, "get_image_embeddings"):
        return dict(image)
    torch = require("torch")
    with torch.inference_mode():
        pixels = torch.from_numpy(image["pixel_values"]).to(model.device, model.dtype)
        found = model.get_image_embeddings(pixels)
    if isinstance(found, tuple) and len(found) == 2:  # SAM-HQ gives its encoder's middle layers as well
        return {"image_embeddings": found[0], "intermediate_embeddings": found[1]}
    return {"image_embeddings": found}


def _box(mask: Any) -> tuple[int, int, int, int]:
    np = require("numpy")
    down, across = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(down):
        return (0, 0, 0, 0)
    return int(across[0]), int(down[0]), int(across[-1]), int(down[-1])


def apart(boxes: Any, scores: Any, most: float) -> list[int]:
    """Indices of boxes, by score, of which none overlaps a better one by more than ``most`` of what both cover."""
    np = require("numpy")
    if not len(boxes):
        return []
    x0, y0, x1, y1 = np.asarray(boxes, dtype="float64").T
    area = (x1 - x0) * (y1 - y0)
    left = list(np.argsort(-np.asarray(scores), kind="stable"))
    kept: list[int] = []
    while left:
        best, *rest = left
        kept.append(int(best))
        others = np.array(rest, dtype="int64")
        width = np.minimum(x1[best], x1[others]) - np.maximum(x0[best], x0[others])
        height = np.minimum(y1[best], y1[others]) - np.maximum(y0[best], y0[others])
        both = width.clip(0) * height.clip(0)
        union = area[best] + area[others] - both
        left = [int(at) for at, share in zip(rest, both / np.maximum(union, 1e-9), strict=True) if share <= most]
    return kept
