"""Images to features, to other images, and to what a masked part of one may be."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Features, Image, Picture
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import tensor
from .base import Context, Piece
from .candidates import among
from .options import number, whole
from .pictures import picture, refuse
from .vision import ImageTask, stacked

__all__ = ["ImageFeatures", "ImageToImage", "MaskedImage"]

#: Outputs that are an image's features, as Transformers' models name them.
_FEATURES = ("last_hidden_state", "pooler_output", "image_embeds")
#: Types that put the patches of all images of a batch into one row, so that nothing says whose a feature is.
_IN_A_ROW = frozenset({"pixtral"})


class ImageFeatures(ImageTask):
    """``last_hidden_state`` and ``pooler_output``; of a model of images and texts ``image_embeds``; of a backbone
    ``feature_maps.0`` and so on. Without the batch's axis.

    Options: of a model that hides patches of what it sees (ViT-MAE), ``seed`` (0) of which those are; none of others.
    """

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        (piece,) = super().split(given, options)
        if self.context.inputs is not None and "noise" in self.context.inputs:
            piece.features["noise"] = self._noise(piece.features["pixel_values"], whole(options, "seed", 0))
        if self.config.model_type in _IN_A_ROW:
            piece.group = object()
        return [piece]

    def _noise(self, pixels: Any, seed: int) -> Any:
        """A number for each patch; those with the highest are hidden. Not drawn by the network, which would answer the
        same image otherwise each time."""
        patch = self.config.patch_size
        count = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
        return require("numpy").random.default_rng(seed).random(count).astype("float32")

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        batch = stacked(pieces)
        if self.context.inputs is not None and "input_ids" in self.context.inputs:
            # A model of both kinds wants a text too, which does not touch the image's features: its end-of-text token.
            batch["input_ids"] = _no_text(self.config)
        return batch

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Features:
        row = rows[0]
        named = [name for name in row if name.startswith("feature_maps")] or [name for name in _FEATURES if name in row]
        if "image_embeds" in named:
            named = ["image_embeds"]
        named = named or [name for name in row if not name.startswith(("hidden_states", "attentions"))]
        return Features(tensors=[tensor(name, row[name]) for name in named])


def _no_text(config: Any) -> Any:
    np = require("numpy")
    text = config.get_text_config()
    end = getattr(text, "eos_token_id", None)
    end = end[0] if isinstance(end, list) else end
    # CLIP's oldest checkpoints say 2 and mean the highest id; both are then an end for its pooling.
    return np.array([[end if isinstance(end, int) and 0 <= end < text.vocab_size else 0]], dtype="int64")


class ImageToImage(ImageTask):
    """No options. The image that the model makes of it (sharper, larger), as PNG."""

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Picture:
        np = require("numpy")
        made = rows[0]["reconstruction"]
        seen = pieces[0].features["pixel_values"].shape
        height, width = pieces[0].note
        # The processor pads the image to whole windows; what stands for the padding is cut off.
        made = made[:, : height * made.shape[1] // seen[1], : width * made.shape[2] // seen[2]]
        pixels = np.round(made.clip(0, 1) * 255).astype("uint8").transpose(1, 2, 0)
        file = io.BytesIO()
        require("PIL.Image").fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
        return Picture(
            image=Image(data=file.getvalue(), media_type="image/png"), width=pixels.shape[1], height=pixels.shape[0]
        )


class MaskedImage(ImageTask):
    """Input: an image, or a mapping of ``image`` and ``mask``. Options: ``mask`` (by patch, row by row, 1 where it is
    hidden), or ``mask_ratio`` (0.6) and ``seed`` (0) for one by chance.

    Gives ``reconstruction`` (channels x height x width, as the model sees images) and ``mask`` (patches).
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        side = context.config.image_size
        size = side if isinstance(side, tuple | list) else (side, side)
        patch = context.config.patch_size
        self.patches = (size[0] // patch) * (size[1] // patch)

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        np = require("numpy")
        told = among(given, "mask", options)
        if told is None:
            hidden = round(self.patches * number(options, "mask_ratio", 0.6, low=0, high=1))
            mask = np.zeros(self.patches, dtype=bool)
            order = np.random.default_rng(whole(options, "seed", 0)).permutation(self.patches)
            mask[order[:hidden]] = True
        else:
            try:
                mask = np.asarray(told, dtype=bool).reshape(-1)
            except (TypeError, ValueError) as exc:
                raise refuse(f"mask is no array of 0 and 1: {exc}", "mask") from exc
            if mask.size != self.patches:
                raise refuse(f"mask has {mask.size} entries; an image has {self.patches} patches", "mask")
        features = {**self.pixels(picture(given)), "bool_masked_pos": mask}
        return [self.piece(features, mask)]

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Features:
        made = rows[0]["reconstruction"] if "reconstruction" in rows[0] else rows[0]["logits"]
        return Features(tensors=[tensor("reconstruction", made), tensor("mask", pieces[0].note)])
