"""What the tasks of images have in common: the processor, arrays of one image, batches of equal shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.results import Tensor
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context, Piece, Processing
from .pictures import picture, refused
from .processors import image_processor

__all__ = ["ImageTask", "as_outputs", "label_of", "stacked", "whole_mask"]


class ImageTask(Processing):
    """A task of one image. Those whose arrays have equal shapes run together: padding an image changes what a
    convolution or an absolute position sees, so a batch of padded ones would not give what each gives alone."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.images = image_processor(context)

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        image = picture(given)
        return [self.piece(self.pixels(image), (image.height, image.width))]

    def pixels(self, image: Any, **named: Any) -> dict[str, Any]:
        """The image processor's arrays for one image, without the batch's axis."""
        try:
            made = self.images(images=image, return_tensors="np", **named)
        except InvalidRequest:
            raise
        except Exception as exc:  # a processor raises whatever its library does
            raise refused("image processor", "this image", exc) from exc
        return {name: value[0] for name, value in made.items() if self.takes(name) and hasattr(value, "shape")}

    def takes(self, name: str) -> bool:
        """Whether the model's forward pass has an input of this name."""
        return self.context.inputs is None or name in self.context.inputs

    def piece(self, features: dict[str, Any], note: Any = None, also: Any = None) -> Piece:
        """A piece that runs with others of equal shapes (and equal ``also``)."""
        shapes = tuple((name, features[name].shape) for name in sorted(features))
        cost = max((value.size // 768 for value in features.values()), default=1)
        return Piece(features, length=max(1, cost), group=(shapes, also), note=note)

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return stacked(pieces)


def stacked(pieces: Sequence[Piece]) -> dict[str, Any]:
    """A batch of pieces whose arrays have equal shapes."""
    np = require("numpy")
    return {name: np.stack([piece.features[name] for piece in pieces]) for name in pieces[0].features}


def as_outputs(row: Mapping[str, Any], *names: str) -> Any:
    """One row as the object that Transformers' post-processing takes: a batch of one, as torch tensors.

    Args:
        row: arrays of one piece.
        names: those that are wanted; all where there are none.
    """
    torch, np = require("torch"), require("numpy")
    return SimpleNamespace(
        **{name: torch.from_numpy(np.array(value))[None] for name, value in row.items() if not names or name in names}
    )


def label_of(config: Any, index: int) -> str:
    """The name of a class."""
    names = getattr(config, "id2label", None) or {}
    return str(names.get(index, f"LABEL_{index}"))


def whole_mask(where: Any) -> Tensor:
    """A mask of height x width, true where the part is, as BOOL."""
    np = require("numpy")
    where = np.ascontiguousarray(np.asarray(where), dtype="?")
    return Tensor(name="mask", shape=list(where.shape), datatype="BOOL", data=where.tobytes())
