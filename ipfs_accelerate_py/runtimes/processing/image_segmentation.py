"""The parts of an image: a class for each pixel (semantic), each object apart (instance), or both (panoptic)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Mask, Masks
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context, Piece
from .options import choice, number
from .pictures import picture, refused
from .processors import processor
from .vision import ImageTask, as_outputs, label_of, whole_mask

__all__ = ["ImageSegmentation"]

#: In the order in which one is taken where the caller names none.
KINDS = ("panoptic", "instance", "semantic")


class ImageSegmentation(ImageTask):
    """Options: ``subtask`` (``panoptic``, ``instance``, ``semantic``; the first that the model does), ``threshold``
    (0.9), ``mask_threshold`` (0.5), ``overlap_mask_area_threshold`` (0.5). Masks have the image's own size."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.kinds = [each for each in KINDS if hasattr(self.images, f"post_process_{each}_segmentation")]
        if not self.kinds:
            kind = type(self.images).__name__
            raise RuntimeUnavailable(f"model {context.path.name!r}: its image processor ({kind}) makes no masks")
        self.processor = processor(context) if self.config.model_type == "oneformer" else None

    def kind(self, options: Mapping[str, Any]) -> str:
        """Which of the three is asked."""
        return choice(options, "subtask", self.kinds, self.kinds[0])

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        image = picture(given)
        kind = self.kind(options)
        make = self.images
        settings: dict[str, Any] = {}
        if self.processor is not None:
            make, settings = self.processor, {"task_inputs": [kind]}
        elif self.config.model_type.startswith("eomt"):
            # It reads a semantic image in square windows, and others padded to one.
            settings = {"do_split_image": kind == "semantic", "do_pad": kind != "semantic"}
        try:
            made = make(images=[image], return_tensors="np", **settings)
        except Exception as exc:
            raise refused("image processor", "this image", exc) from exc
        windows = made["pixel_values"].shape[0]
        note = {"size": (image.height, image.width), "patch_offsets": made.get("patch_offsets")}
        np = require("numpy")
        arrays = {
            name: np.asarray(value) for name, value in made.items() if self.takes(name) and hasattr(value, "shape")
        }
        return [self.piece({name: value[at] for name, value in arrays.items()}, note) for at in range(windows)]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Masks:
        np = require("numpy")
        kind, note = self.kind(options), pieces[0].note
        outputs = as_outputs(rows[0])
        if len(rows) > 1:
            torch = require("torch")
            for name in rows[0]:
                stack = np.stack([row[name] for row in rows])
                setattr(outputs, name, torch.from_numpy(stack))
        if note["patch_offsets"] is not None:
            outputs.patch_offsets = note["patch_offsets"]
        settings: dict[str, Any] = {"target_sizes": [note["size"]]}
        process = getattr(self.images, f"post_process_{kind}_segmentation")
        if kind != "semantic":
            settings["threshold"] = number(options, "threshold", 0.9, low=0, high=1)
            for name in ("mask_threshold", "overlap_mask_area_threshold"):
                if name in process.__code__.co_varnames:
                    settings[name] = number(options, name, 0.5, low=0, high=1)
        found = process(outputs, **settings)[0]
        if kind == "semantic":
            classes = np.asarray(found)
            return Masks(masks=[self.mask(int(each), None, classes == each) for each in np.unique(classes)])
        regions = np.asarray(found["segmentation"])
        return Masks(
            masks=[
                self.mask(int(each["label_id"]), float(each["score"]), regions == each["id"])
                for each in found["segments_info"]
            ]
        )

    def mask(self, index: int, score: float | None, where: Any) -> Mask:
        """One part."""
        return Mask(label=label_of(self.config, index), score=score, mask=whole_mask(where))
