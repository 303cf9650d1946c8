"""What a checkpoint brings to make arrays of films: its video processor, of those that Transformers has for torchvision
alone, run without it (`borrowed`)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context
from .borrowed import borrowed

__all__ = ["FilmProcessor", "film_processor"]

#: Where checkpoints keep the settings of their video processor, the older place last.
_FILES = ("processor_config.json", "video_preprocessor_config.json")


class FilmProcessor:
    """A video processor of Transformers, for one film at a time.

    Attributes:
        inner: the video processor.
        name: what the model calls the films (``pixel_values_videos``).
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.name = str((getattr(inner, "model_input_names", None) or ["pixel_values_videos"])[0])

    def __call__(self, frames: Sequence[Any]) -> dict[str, Any]:
        """Arrays of one film's frames (Pillow images of one size), with the axis of films first."""
        np = require("numpy")
        film = np.stack([np.asarray(each) for each in frames])
        made = self.inner(videos=[film], do_sample_frames=False, return_tensors="pt")
        return {name: value.float().numpy() for name, value in made.items() if hasattr(value, "numpy")}


def film_processor(context: Context) -> FilmProcessor | None:
    """The checkpoint's video processor; None where it has none.

    Raises:
        RuntimeUnavailable: it has one that cannot be loaded.
    """
    named = _named(context)
    if named is None:
        return None
    try:
        made = borrowed(named).from_pretrained(str(context.path), local_files_only=True)
    except RuntimeUnavailable:
        raise
    except Exception as exc:  # settings of others, read by code of others
        raise RuntimeUnavailable(
            f"model {context.path.name!r} has no video processor that can be loaded: {exc}"
        ) from exc
    return FilmProcessor(made)


def _named(context: Context) -> str | None:
    """Name of its class: the checkpoint's files say, or its type does where there is such a file."""
    for file in _FILES:
        with contextlib.suppress(OSError, ValueError):
            read = json.loads((context.path / file).read_text("utf-8"))
            told = read.get("video_processor") if file == _FILES[0] else read
            if told is None:
                continue
            mapping = require("transformers.models.auto.video_processing_auto").VIDEO_PROCESSOR_MAPPING_NAMES
            usual = (mapping.get(getattr(context.config, "model_type", "")) or {}).get("torchvision")
            return told.get("video_processor_type") or usual
    return None
