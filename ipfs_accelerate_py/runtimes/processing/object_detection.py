"""Objects in an image and the rectangles around them: of classes the model knows, or of labels the caller gives."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Box, Boxes
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context, Piece
from .candidates import candidate_labels
from .options import number, whole
from .pictures import picture, refused
from .processors import processor
from .vision import ImageTask, as_outputs, label_of

__all__ = ["ObjectDetection", "ZeroShotDetection"]


class ObjectDetection(ImageTask):
    """Options: ``threshold`` (0.5), ``top_k``. Boxes are in pixels of the image as it came (upright)."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if not hasattr(self.images, "post_process_object_detection"):
            kind = type(self.images).__name__
            raise RuntimeUnavailable(f"model {context.path.name!r}: its image processor ({kind}) makes no boxes")

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Boxes:
        found = self.images.post_process_object_detection(
            as_outputs(rows[0]),
            threshold=number(options, "threshold", 0.5, low=0, high=1),
            target_sizes=[pieces[0].note],
        )[0]
        names = [label_of(self.config, int(each)) for each in found["labels"]]
        return boxes(names, found, options)


class ZeroShotDetection(ImageTask):
    """Input: an image, or a mapping of ``image`` and ``candidate_labels``.

    Options: ``candidate_labels``, ``threshold`` (0.1), ``text_threshold`` (Grounding DINO: how sure a word of the
    label must be, 0.25), ``top_k``. All labels of an image go through the model at once.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.processor = processor(context)
        self.images = self.processor.image_processor
        self.lock = threading.Lock()

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        labels = candidate_labels(given, options)
        image = picture(given)
        try:
            with self.lock:
                made = self.processor(images=image, text=[labels], return_tensors="np", padding=True, truncation=True)
        except Exception as exc:  # a processor raises whatever its library does
            raise refused("processor", "this image with these labels", exc) from exc
        np = require("numpy")
        features = {name: np.asarray(value) for name, value in made.items() if self.takes(name)}
        return [self.piece(features, (labels, (image.height, image.width)), also=tuple(labels))]

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        # One image has one row of pixels and, by model, one row of text or one for each label.
        np = require("numpy")
        return {name: np.concatenate([piece.features[name] for piece in pieces]) for name in pieces[0].features}

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Boxes:
        labels, size = pieces[0].note
        settings: dict[str, Any] = {
            "threshold": number(options, "threshold", 0.1, low=0, high=1),
            "target_sizes": [size],
            "text_labels": [labels],
        }
        outputs = as_outputs(rows[0])
        if "grounding" in self.config.model_type:
            outputs.input_ids = require("torch").from_numpy(pieces[0].features["input_ids"])
            settings["text_threshold"] = number(options, "text_threshold", 0.25, low=0, high=1)
        found = self.processor.post_process_grounded_object_detection(outputs, **settings)[0]
        names = found.get("text_labels") or [labels[int(each)] for each in found["labels"]]
        return boxes([str(each) for each in names], found, options)


def boxes(names: Sequence[str], found: Mapping[str, Any], options: Mapping[str, Any]) -> Boxes:
    """Boxes by score, the likeliest first."""
    scores = [float(each) for each in found["scores"]]
    corners = [_corners(each) for each in found["boxes"]]
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    top = whole(options, "top_k", len(order) or 1, low=1)
    return Boxes(boxes=[Box(names[at], scores[at], *corners[at]) for at in order[:top]])


def _corners(box: Any) -> list[float]:
    """Left, top, right and bottom: of four numbers those, of points around a line of text the rectangle around them."""
    if getattr(box, "ndim", 1) == 1:
        return [float(value) for value in box]
    xs, ys = ([float(point[axis]) for point in box] for axis in (0, 1))
    return [min(xs), min(ys), max(xs), max(ys)]
