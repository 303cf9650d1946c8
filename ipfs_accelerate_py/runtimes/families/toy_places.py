"""How many places of a text an image of a tiny model takes."""

from __future__ import annotations

import inspect
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["places_of_image"]


def places_of_image(model: Any, image_processor: Any) -> int | None:
    """Features that the network makes of one square picture, or of one of its tiles; None where it makes none apart.

    Real checkpoints tell it in their processor's settings; here it follows from sizes that were cut, by rules of each
    network's own, so it is the network that is asked.
    """
    torch, np = require("torch"), require("numpy")
    ask = getattr(model, "get_image_features", None) or getattr(
        getattr(model, "model", None), "get_image_features", None
    )
    if ask is None:
        return None
    picture = require("PIL.Image").fromarray(np.full((64, 64, 3), 128, dtype=np.uint8))
    try:
        made = image_processor(images=[picture], return_tensors="pt")
        takes = inspect.signature(ask).parameters
        given = {name: value for name, value in made.items() if name in takes}
        with torch.inference_mode():
            found = ask(**given)
    except Exception:  # networks of other arguments: their processors count by themselves
        return None
    found = getattr(found, "pooler_output", found)
    if isinstance(found, list | tuple):
        found = found[0] if found else None
    shape = tuple(getattr(found, "shape", ()))
    return int(shape[-2]) if len(shape) in (2, 3) else None
