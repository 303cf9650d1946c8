"""Points of an image that can be found again, and which points of two images are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Keypoints
from ipfs_accelerate_py.runtimes.extras import require

from .base import Piece
from .options import number, whole
from .pictures import picture, refuse
from .vision import ImageTask, as_outputs

__all__ = ["KeypointDetection", "KeypointMatching"]


class KeypointDetection(ImageTask):
    """Options: ``threshold`` (0), ``top_k``. Points by score, in pixels of the image."""

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Keypoints:
        np = require("numpy")
        found = self.images.post_process_keypoint_detection(as_outputs(rows[0]), [pieces[0].note])[0]
        scores = np.asarray(found["scores"], dtype="float64").reshape(-1)
        places = np.asarray(found["keypoints"], dtype="float64").reshape(-1, 2)
        least = number(options, "threshold", 0.0, low=0, high=1)
        order = [int(at) for at in np.argsort(-scores, kind="stable") if scores[at] >= least]
        top = whole(options, "top_k", len(order) or 1, low=1)
        return Keypoints(points=[(float(places[at, 0]), float(places[at, 1]), float(scores[at])) for at in order[:top]])


class KeypointMatching(ImageTask):
    """Input: two images, as a list or as ``images`` of a mapping. Options: ``threshold`` (0).

    Only points that have a partner are told: first those of the first image, then those of the second, and ``matches``
    names the two of each pair by their index in that list. A point's score is its match's.
    """

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        pair = given.get("images") if isinstance(given, Mapping) else given
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise refuse("input must be two images, as a list or as 'images'", "input")
        both = [picture(each) for each in pair]
        made = self.images(images=both, return_tensors="np")
        features = {name: value[0] for name, value in made.items() if self.takes(name)}
        piece = self.piece(features, [(each.height, each.width) for each in both])
        # A pair's points are padded to those of the richest pair of its batch, and not every model ignores padding.
        piece.group = object()
        return [piece]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Keypoints:
        least = number(options, "threshold", 0.0, low=0, high=1)
        found = self.images.post_process_keypoint_matching(as_outputs(rows[0]), [pieces[0].note], threshold=least)[0]
        scores = [float(each) for each in found["matching_scores"]]
        points = [
            (float(x), float(y), score)
            for side in ("keypoints0", "keypoints1")
            for (x, y), score in zip(found[side].tolist(), scores, strict=True)
        ]
        count = len(scores)
        order = sorted(range(count), key=lambda at: -scores[at])
        return Keypoints(points=points, matches=[(at, count + at, scores[at]) for at in order])
