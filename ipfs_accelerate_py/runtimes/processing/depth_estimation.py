"""How far away each pixel of an image is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import DepthMap
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import tensor
from .base import Piece
from .vision import ImageTask, as_outputs

__all__ = ["DepthEstimation"]


class DepthEstimation(ImageTask):
    """No options. The map has the image's own height and width, whatever size the model sees."""

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> DepthMap:
        outputs, size = as_outputs(rows[0]), pieces[0].note
        if not hasattr(outputs, "field_of_view"):
            outputs.field_of_view = None  # of DepthPro without the part that measures it; its processor asks for it
        if hasattr(self.images, "post_process_depth_estimation"):
            # Its second parameter is the size to make, or (ZoeDepth) the size that the image had: the same here.
            depth = self.images.post_process_depth_estimation(outputs, [size])[0]["predicted_depth"]
        else:
            torch = require("torch")
            depth = torch.nn.functional.interpolate(
                outputs.predicted_depth[:, None], size=size, mode="bicubic", align_corners=False
            )
        return DepthMap(depth=tensor("depth", depth.reshape(size).numpy()))
