"""What goes into the networks of a model type: their classes say."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .classes import auto_classes
from .overrides import BARE_TASKS

__all__ = ["MIXED", "does_bare", "tells_of_images"]

#: Tasks of bare networks (AutoModel) that follow from what goes into them.
_BARE: Mapping[str, frozenset[str]] = {
    "sentence-similarity": frozenset({"text"}),
    "feature-extraction": frozenset({"text"}),
    "image-feature-extraction": frozenset({"image"}),
    "time-series-forecasting": frozenset({"time"}),
}


@cache
def does_bare(task: str, model_type: str) -> bool:
    """Whether the type's bare network (AutoModel, AutoBackbone) does a task: by what goes into it."""
    if (known := BARE_TASKS.get(model_type)) is not None:
        return task in known
    takes = _takes(model_type)
    return task in _BARE and takes == _BARE[task] and not (takes == {"text"} and model_type in _speaks())


#: Auto classes that have models of other senses than sight too, and some that write nothing.
MIXED = ("AutoModelForImageTextToText", "AutoModelForMultimodalLM")


@cache
def tells_of_images(auto: str, model_type: str) -> bool:
    """Whether the type's class of that Auto class takes images and writes tokens: its class says."""
    for name in auto_classes()[auto][model_type]:
        kind = getattr(require("transformers"), name, None)
        try:
            if kind is not None:
                takes = getattr(kind, "input_modalities", None)
                return bool(kind.can_generate()) and (takes is None or "image" in takes)
        except ImportError:  # the class needs a package that is not here, and says so at any touch
            return True
    return True


@cache
def _speaks() -> frozenset[str]:
    """Types whose text is not read for its sense but spoken."""
    classes = auto_classes()
    return frozenset({*classes["AutoModelForTextToWaveform"], *classes["AutoModelForTextToSpectrogram"]})


@cache
def _takes(model_type: str) -> frozenset[str]:
    """What goes into the type's bare network: its class says."""
    transformers = require("transformers")
    named = auto_classes()["AutoModel"].get(model_type) or auto_classes().get("AutoBackbone", {}).get(model_type, ())
    kind = next((found for name in named if (found := getattr(transformers, name, None)) is not None), None)
    if kind is None:
        return frozenset()
    try:
        takes = getattr(kind, "input_modalities", "text")
    except ImportError:  # the class needs a package that is not here, and says so at any touch
        return frozenset()
    takes = frozenset({takes} if isinstance(takes, str) else takes)
    # Text is what every class of Transformers says that does not say anything itself.
    return takes if takes != {"text"} else _by_signature(kind)


#: What goes into a network, by the name of its main argument.
_ARGUMENTS: Mapping[str, str] = {"pixel_values": "image", "pixel_values_videos": "video", "input_values": "audio"}


def _by_signature(kind: Any) -> frozenset[str]:
    """Text where the class takes tokens; else what its main argument is called after, if that is all it needs."""
    takes = inspect.signature(kind.forward).parameters
    if "input_ids" in takes:
        return frozenset({"text"})
    main = kind.main_input_name
    needed = [
        name
        for name, each in takes.items()
        if name not in ("self", main) and each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    return frozenset({_ARGUMENTS[main]}) if main in takes and main in _ARGUMENTS and not needed else frozenset()
