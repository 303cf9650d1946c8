"""The outline of whatever is at a point or in a box; or of everything there is (SAM and its kin).

How masks are kept or dropped follows "Segment Anything" (https://arxiv.org/abs/2304.02643), appendix B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Mask, Masks
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context, Piece
from .candidates import among
from .mask_grid import everything, full_size, grid
from .options import flag, number, whole
from .pictures import picture, refuse
from .vision import ImageTask, stacked, whole_mask

__all__ = ["MaskGeneration"]


class MaskGeneration(ImageTask):
    """Input: an image, or a mapping of ``image`` and what to outline, in pixels of the image:

    ``points``: one object's points ``[[x, y], ...]``, or a list of these for several objects; ``labels``: by point 1
    where it is in the object and 0 where it is not; ``boxes``: one ``[x0, y0, x1, y1]`` for each object. Options:
    ``multimask`` (all of the model's guesses for an object, instead of its best), ``mask_threshold`` (0).

    With neither points nor boxes, a grid of points finds everything. Options then: ``points_per_side`` (32),
    ``points_per_batch`` (64), ``pred_iou_thresh`` (0.88), ``stability_score_thresh`` (0.95),
    ``stability_score_offset`` (1), ``nms_thresh`` (0.7), ``mask_threshold`` (0), ``top_k``.
    """

    # The grid needs the image's embedding once, and then many passes of the decoder.
    runs = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if not hasattr(self.images, "post_process_masks"):
            kind = type(self.images).__name__
            raise RuntimeUnavailable(f"model {context.path.name!r}: its image processor ({kind}) makes no masks")

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        np = require("numpy")
        image = picture(given)
        made = self.images(images=image, return_tensors="np")
        size = (image.height, image.width)
        inner = tuple(int(each) for each in made.get("reshaped_input_sizes", [made["pixel_values"].shape[-2:]])[0])
        scale = np.array([inner[1] / size[1], inner[0] / size[0]])
        note = {
            "size": size,
            "inner": inner,
            "mask": number(options, "mask_threshold", 0.0),
            "iou": number(options, "pred_iou_thresh", 0.88, low=0, high=1),
            "stability": number(options, "stability_score_thresh", 0.95, low=0, high=1),
            "offset": number(options, "stability_score_offset", 1.0, low=0),
            "nms": number(options, "nms_thresh", 0.7, low=0, high=1),
            "points": whole(options, "points_per_batch", 64, low=1),
        }
        features = {"pixel_values": made["pixel_values"][0]}
        told = self.prompts(given, options, scale)
        if told:
            return [self.piece({**features, **told}, note)]
        side = whole(options, "points_per_side", 32, low=1, high=128)
        note["grid"] = (grid(side) * [size[1], size[0]] * scale).astype("float32")
        piece = self.piece(features, note, also="grid")
        piece.length *= 1 + side * side // 64
        return [piece]

    def prompts(self, given: Any, options: Mapping[str, Any], scale: Any) -> dict[str, Any]:
        """The points and boxes as the model takes them: by object, in pixels of what it sees."""
        np = require("numpy")
        told: dict[str, Any] = {}
        points = _numbers(among(given, "points", options), "points", 2)
        if points is not None:
            points = points[None] if points.ndim == 2 else points
            labels = among(given, "labels", options)
            marks = np.ones(points.shape[:2], dtype="int64") if labels is None else np.asarray(labels, dtype="int64")
            if marks.size != points.shape[0] * points.shape[1]:
                raise refuse(f"labels must be one for each of the points, {points.shape[:2]}", "labels")
            told["input_points"] = (points * scale).astype("float32")
            told["input_labels"] = marks.reshape(points.shape[:2])
        boxes = _numbers(among(given, "boxes", options), "boxes", 4)
        if boxes is not None:
            boxes = boxes[None] if boxes.ndim == 1 else boxes
            if points is not None and len(points) != len(boxes):
                raise refuse(f"boxes are {len(boxes)} and points are for {len(points)} objects; give as many", "boxes")
            told["input_boxes"] = (boxes * np.concatenate([scale, scale])).astype("float32")
        return told

    def run(self, network: Any, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        if "grid" not in pieces[0].note:
            return super().run(network, pieces)
        return [everything(network, self.images, stacked([piece]), piece.note) for piece in pieces]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Masks:
        row, note = rows[0], pieces[0].note
        if "grid" in note:
            top = whole(options, "top_k", len(row["scores"]) or 1, low=1)
            return Masks(
                masks=[
                    Mask(label="", score=float(score), mask=whole_mask(where))
                    for score, where in zip(row["scores"][:top], row["masks"][:top], strict=True)
                ]
            )
        masks = full_size(self.images, row["pred_masks"], note) > note["mask"]
        scores = row["iou_scores"]
        every = flag(options, "multimask")
        kept = [
            (at, guess)
            for at in range(scores.shape[0])
            for guess in (range(scores.shape[1]) if every else [int(scores[at].argmax())])
        ]
        return Masks(
            masks=[
                Mask(label="", score=float(scores[at, guess]), mask=whole_mask(masks[at, guess])) for at, guess in kept
            ]
        )


def _numbers(given: Any, name: str, width: int) -> Any:
    if given is None:
        return None
    np = require("numpy")
    try:
        array = np.asarray(given, dtype="float64")
    except (TypeError, ValueError) as exc:
        raise refuse(f"{name} must be lists of {width} numbers, as many for each object: {exc}", name) from exc
    if array.ndim == 1 and width == 2:
        array = array[None]
    if array.size == 0 or array.shape[-1] != width or array.ndim > 3 or not np.isfinite(array).all():
        raise refuse(f"{name} must be lists of {width} numbers, not of the shape {array.shape}", name)
    return array
