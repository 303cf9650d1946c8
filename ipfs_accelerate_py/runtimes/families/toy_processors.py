"""Image processors, feature extractors and processors for tiny models: the types' own classes, at the tiny sizes."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.processing.borrowed import borrowed
from ipfs_accelerate_py.runtimes.processing.processors import processor_class

from .lent import HEARD_BY, LENT, NAMED
from .overrides import SIDE
from .toy_marks import marks_of
from .toy_places import places_of_image
from .toy_tokenizer import PLACEHOLDERS

__all__ = ["write_processors"]


#: Types whose checkpoints make squares of their pictures, where the processor's class does not.
_SQUARE = frozenset({"omdet-turbo", "rf_detr", "rf_detr_dinov2"})


def write_processors(model_type: str, config: Any, folder: Path, tokenizer: Any, model: Any = None) -> None:
    """Write what the type has of these into ``folder``. ``model`` is asked how many places an image takes."""
    image = _image_processor(model_type, config)
    places = places_of_image(model, image) if model is not None and image is not None else None
    if places is not None:  # of the processors that do not have it themselves, some read it here
        image.image_seq_length = places
    features = _feature_extractor(model_type, config)
    if model_type == "cohere2_vision" and places:  # what it calls so is the side of a tile, in places
        image.patch_size = math.isqrt(places)
    told: dict[str, Any] = {}
    file = folder / "preprocessor_config.json"
    for each in (image, features):  # both have one file
        if each is not None:
            each.save_pretrained(str(folder))
            told |= json.loads(file.read_text(encoding="utf-8"))
    if features is None and (needed := _wanting(model_type)):
        told.setdefault("feature_extractor_type", needed)  # as its checkpoints do, and whoever loads it says what lacks
    if told:
        file.write_text(json.dumps(told, indent=1), encoding="utf-8")
    _write_processor(model_type, config, folder, tokenizer, image, features, places)


def _named(mapping: str, model_type: str) -> Any:
    module, name = mapping.rsplit(".", 1)
    table = getattr(require(f"transformers.models.auto.{module}"), name)
    if name == "PROCESSOR_MAPPING_NAMES" and model_type in NAMED:
        return NAMED[model_type]
    lender = LENT.get(model_type, "")
    return table.get(model_type) or table.get(lender) or table.get(LENT.get(lender, ""))


def _image_processor(model_type: str, config: Any) -> Any:
    name = _named("image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES", model_type)
    only = isinstance(name, dict) and not name.get("pil")
    if isinstance(name, dict):
        name = name.get("pil") or name.get("torchvision")
    kind = borrowed(name) if only else getattr(require("transformers"), name, None) if name else None
    if kind is None:
        return None
    side = image_side(config)
    try:
        made = kind()
    except ImportError:
        return None
    given: dict[str, Any] = {}
    size = dict(getattr(made, "size", None) or {})
    if isinstance(side, int):
        if model_type == "pp_ocrv5_mobile_rec":  # three lines of features have to be left of its pictures
            side = 96
        given["size"] = {"height": side, "width": side} if model_type in _SQUARE else _sized(size, side)
        if getattr(made, "crop_size", None) is not None:
            given["crop_size"] = {"height": side, "width": side}
        if getattr(made, "pad_size", None) is not None:
            given["pad_size"] = {"height": side, "width": side}
    if isinstance(side, int) and (most := getattr(made, "max_image_size", None)) is not None:
        # Aria's may be 490 or 980.
        given["max_image_size"] = dict.fromkeys(most, side) if hasattr(most, "keys") else 490
    patch = _vision(config, "patch_size")
    if isinstance(patch, int) and hasattr(made, "encoder_patch_size"):
        given |= {"encoder_patch_size": patch, "tile_size": side, "do_image_splitting": False}
    if isinstance(patch, int) and hasattr(made, "patch_size"):
        given["patch_size"] = {"height": patch, "width": patch} if isinstance(made.patch_size, dict) else patch
    for own, ours in (("temporal_patch_size", "temporal_patch_size"), ("merge_size", "spatial_merge_size")):
        if hasattr(made, own) and isinstance(value := _vision(config, ours), int):
            given[own] = value
    if hasattr(made, "min_pixels") and isinstance(side, int):
        given |= {"min_pixels": side * side, "max_pixels": 4 * side * side}
    if hasattr(made, "clusters"):  # ImageGPT's colours: its vocabulary but for the token that begins
        colours = config.vocab_size - 1
        given["clusters"] = [[math.sin(at + 1), math.sin(7 * at), math.cos(3 * at)] for at in range(colours)]
        given["size"] = dict.fromkeys(("height", "width"), math.isqrt(config.n_positions) // 2)
    if getattr(made, "image_grid_pinpoints", None):
        given["image_grid_pinpoints"] = getattr(config, "image_grid_pinpoints", None) or made.image_grid_pinpoints
    for refused in ((), ("size",), ("max_image_size",), ("size", "max_image_size")):  # some take images of any size
        try:
            return kind(**{key: value for key, value in given.items() if key not in refused})
        except (TypeError, ValueError):
            continue
    return made


def _sized(size: dict[str, Any], side: int) -> Any:
    if "shortest_edge" in size and "longest_edge" in size and size["longest_edge"] > 100_000:
        return {"shortest_edge": side * side, "longest_edge": 4 * side * side}  # areas, of the Qwen processors
    if not size:
        return {"height": side, "width": side}
    if len(set(size.values())) == 1:
        return dict.fromkeys(size, side)
    return {name: 2 * side if name == "longest_edge" and len(size) > 1 else side for name in size}


def _vision(config: Any, name: str) -> Any:
    for part in (getattr(config, "vision_config", None), config):
        value = getattr(part, name, None)
        if isinstance(value, list | tuple) and value:
            value = value[-1]
        if isinstance(value, int):
            return value
    return None


def image_side(config: Any) -> int | None:
    """Height and width of its images, in pixels; None where it takes none."""
    if (own := SIDE.get(config.model_type)) is not None:
        return own
    for part in (
        getattr(config, "vision_config", None),
        getattr(config, "image_config", None),
        config,
        getattr(config, "encoder", None),
        getattr(config, "backbone_config", None),
    ):
        for name in ("image_size", "img_size", "input_size"):
            value = getattr(part, name, None)
            if isinstance(value, list | tuple) and value:
                value = value[0]
            if isinstance(value, int) and value >= 8:
                return value
    return 64


def _feature_extractor(model_type: str, config: Any) -> Any:
    table = "feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES"
    name = HEARD_BY.get(model_type) or _named(table, model_type)
    kind = getattr(require("transformers"), name, None) if name else None
    if kind is None:
        return None
    parameters = inspect.signature(kind.__init__).parameters
    parts = (getattr(config, name, None) for name in ("audio_config", "encoder_config", "encoder"))
    audio = next((each for each in parts if hasattr(each, "num_mel_bins")), config)
    given: dict[str, Any] = {}
    bins = getattr(audio, "num_mel_bins", None)
    if isinstance(bins, int) and "feature_size" in parameters:
        given["feature_size"] = bins
    if isinstance(bins, int) and "num_mel_bins" in parameters:
        given["num_mel_bins"] = bins
    if "chunk_length" in parameters and isinstance(places := getattr(audio, "max_source_positions", None), int):
        given["chunk_length"] = max(1, places // 50)
    if "max_length" in parameters and isinstance(frames := getattr(audio, "max_length", None), int) and frames > 20:
        given["max_length"] = frames
    if isinstance(rate := getattr(audio, "sampling_rate", None), int) and "sampling_rate" in parameters:
        given["sampling_rate"] = rate
    try:
        return kind(**given)
    except (TypeError, ValueError, ImportError):
        return None


def _wanting(model_type: str) -> str:
    """Name of the type's feature extractor where it needs a package that is not here; else empty."""
    name = HEARD_BY.get(model_type) or _named("feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES", model_type)
    try:
        if name and (kind := getattr(require("transformers"), name, None)) is not None:
            kind()
    except ImportError:
        return str(name)
    except (TypeError, ValueError):
        pass
    return ""


def _write_processor(
    model_type: str, config: Any, folder: Path, tokenizer: Any, image: Any, features: Any, places: int | None
) -> None:
    """The processor's own file: what joins the parts, whose files are there already."""
    name = _named("processing_auto.PROCESSOR_MAPPING_NAMES", model_type)
    try:
        kind = processor_class(name) if name else None
    except RuntimeUnavailable:  # there is one for torchvision alone
        return
    if kind is None:
        return
    parts = {"tokenizer": tokenizer, "image_processor": image, "feature_extractor": features}
    parameters = inspect.signature(kind.__init__).parameters
    settings = _settings(config, set(parameters), tokenizer, places)
    given = {part: value for part, value in parts.items() if part in parameters and value is not None}
    template = getattr(tokenizer, "chat_template", None)
    if template and "chat_template" in parameters:
        given["chat_template"] = template
    try:
        kind(**given, **settings).save_pretrained(str(folder))
    except (TypeError, ValueError, AttributeError, ImportError, OSError):
        # It has parts that are not made here (for videos): its settings alone, as its file would have them.
        file = folder / "processor_config.json"
        file.write_text(json.dumps({"processor_class": name, **settings}, indent=1), encoding="utf-8")


def _settings(config: Any, parameters: set[str], tokenizer: Any, places: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("patch_size", "spatial_merge_size"):
        if name in parameters and isinstance(value := _vision(config, name), int):
            found[name] = value
    for name in _COUNTS:
        if name in parameters and getattr(config, name, None) is not None:
            found[name] = getattr(config, name)
    tiled = getattr(config, "image_grid_pinpoints", None)
    side, patch = image_side(config), _vision(config, "patch_size")
    if (tiled or places is None) and side and patch:  # it counts the tiles itself, and is told the places of one
        places = (side // patch) ** 2
    if "size_conversion" in parameters:
        found["size_conversion"] = {490: next(iter(config.projector_patch_to_query_dict.values()))}
    if "img_size" in parameters:
        found["img_size"] = side
    if "vision_feature_select_strategy" in parameters and "vision_feature_select_strategy" not in found:
        found["vision_feature_select_strategy"] = "default"
    for name in ("image_seq_length", "image_seq_len", "num_image_tokens", "num_query_tokens"):
        if name in parameters and name not in found and places is not None:
            found[name] = places
    if "num_additional_image_tokens" in parameters:
        # SigLIP has no token for the class among those of the picture.
        tower = getattr(getattr(config, "vision_config", None), "model_type", "")
        found["num_additional_image_tokens"] = 0 if tower.startswith("siglip") else 1
    for place, token in PLACEHOLDERS.items():
        if f"{place}_token" in parameters and not marks_of(config.model_type).named and token in tokenizer.get_vocab():
            found[f"{place}_token"] = token
    return found


#: Settings that a processor shares with the configuration, by the same name.
_COUNTS = (
    *("downsample_factor", "downsample_rate", "pixel_shuffle_ratio"),
    *("vision_feature_select_strategy", "image_seq_length", "num_image_tokens", "num_query_tokens"),
)
