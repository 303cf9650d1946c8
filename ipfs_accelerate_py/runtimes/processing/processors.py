"""What a checkpoint brings to make arrays of images: its image processor, or the whole processor of several kinds.

Transformers has most image processors twice, for torchvision and for Pillow; here it is always Pillow's, so that the
same pixels come out wherever this runs. Those that there are only for torchvision run without it (`borrowed`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
from functools import cache
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.engines.loading import quiet
from ipfs_accelerate_py.runtimes.extras import lacks, require

from .base import Context
from .borrowed import borrowed

__all__ = ["has_processor", "image_processor", "processor", "processor_class", "tokenizer"]


def image_processor(context: Context) -> Any:
    """The checkpoint's image processor, with Pillow and numpy, or by torch where it has none for these.

    Raises:
        RuntimeUnavailable: it has none.
    """
    transformers = require("transformers")
    require("PIL.Image")
    only = _for_tensors(context)
    with quiet(transformers):
        try:
            if only is not None:
                return _as_arrays(borrowed(only)).from_pretrained(str(context.path), local_files_only=True)
            return transformers.AutoImageProcessor.from_pretrained(
                str(context.path),
                config=context.config,
                backend="pil",
                local_files_only=True,
                trust_remote_code=context.trust_remote_code,
            )
        except Exception as exc:
            raise _lacking(context, "image processor", exc) from exc


#: Those whose Pillow class calls torchvision all the same, or tensors' functions of arrays (Transformers 5.23).
_UNFINISHED = ("FuyuImageProcessor", "ZoeDepthImageProcessor")


#: Processors that make tensors alone: asked for arrays they fail.
_TENSORS = ("IdeficsProcessor",)


def _for_tensors(context: Context) -> str | None:
    """Name of the class of the checkpoint's image processor, where there is only one for torchvision."""
    transformers = require("transformers")
    mapping = require("transformers.models.auto.image_processing_auto").IMAGE_PROCESSOR_MAPPING_NAMES
    named = [each for each in mapping.values() if isinstance(each, dict)]
    told = None
    for file in ("processor_config.json", "preprocessor_config.json"):
        with contextlib.suppress(OSError, ValueError):
            read = json.loads((context.path / file).read_text("utf-8"))
            read = read.get("image_processor") or read
            if "AutoImageProcessor" in read.get("auto_map", {}):
                return None
            told = told or read.get("image_processor_type")
    if told is None:
        found = mapping.get(getattr(context.config, "model_type", ""))
        told = found.get("pil") or found.get("torchvision") if isinstance(found, dict) else found
    told = str(told or "").removesuffix("Fast")
    if told.removesuffix("Pil") in _UNFINISHED:
        return told.removesuffix("Pil")
    portable = any(each.get("pil") in (told, f"{told}Pil") for each in named)
    exists = told in transformers._class_to_module
    return told if exists and not portable and any(each.get("torchvision") == told for each in named) else None


@cache
def _as_arrays(kind: Any) -> Any:
    """The class, giving numpy's arrays of what numpy has no type for too."""

    def call(self: Any, *args: Any, return_tensors: Any = None, **named: Any) -> Any:
        made = kind.__call__(self, *args, return_tensors="pt" if return_tensors == "np" else return_tensors, **named)
        if return_tensors == "np":
            for name, value in made.items():
                made[name] = _plain(value)
        return made

    return type(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__})


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple) and any(hasattr(each, "numpy") for each in value):
        return type(value)(_plain(each) for each in value)
    if not hasattr(value, "numpy"):
        return value
    return (value.float() if value.is_floating_point() else value).numpy()


def tokenizer(context: Context) -> Any:
    """The checkpoint's tokenizer. Raises `RuntimeUnavailable` where it has none."""
    transformers = require("transformers")
    with quiet(transformers):
        try:
            found = transformers.AutoTokenizer.from_pretrained(
                str(context.path), local_files_only=True, trust_remote_code=context.trust_remote_code
            )
        except Exception as exc:
            raise _lacking(context, "tokenizer", exc) from exc
    _padded(found)
    return found


def _padded(found: Any) -> Any:
    """Of a tokenizer, or a processor with one: something to pad with. Several texts of one image are padded to one
    length, and the attention mask hides whichever token it is."""
    own = getattr(found, "tokenizer", found)
    if getattr(own, "pad_token", "") is None and own.eos_token is not None:
        own.pad_token = own.eos_token
    return found


def processor(context: Context) -> Any:
    """The checkpoint's processor: tokenizer, image processor and what joins them.

    Raises:
        RuntimeUnavailable: it has none, or one that there is only for torchvision.
    """
    transformers = require("transformers")
    kind = _processor_class(context)
    with quiet(transformers):
        try:
            parts = kind.get_attributes() if kind is not None else ()
            if "video_processor" in parts or ("image_processor" in parts and _for_tensors(context) is not None):
                return _in_parts(kind, context)
            if kind is not None and kind.__name__ in _TENSORS:
                kind = _as_arrays(kind)
            found = (kind or transformers.AutoProcessor).from_pretrained(
                str(context.path),
                local_files_only=True,
                trust_remote_code=context.trust_remote_code,
                **({"backend": "pil"} if kind is None or "image_processor" in kind.get_attributes() else {}),
            )
            return _padded(found)
        except RuntimeUnavailable:
            raise
        except Exception as exc:
            raise _lacking(context, "processor", exc) from exc


def has_processor(context: Context) -> bool:
    """Whether Transformers has a processor for this checkpoint, whether or not it loads."""
    return _processor_class(context) is not None


def _processor_class(context: Context) -> Any:
    """Transformers' class of this checkpoint's processor; None where only its Auto class can tell (remote code)."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    name = None
    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        with contextlib.suppress(OSError, ValueError):
            told = json.loads((context.path / file).read_text("utf-8"))
            if "AutoProcessor" in told.get("auto_map", {}) and context.trust_remote_code:
                return None
            name = name or told.get("processor_class")
    name = name or PROCESSOR_MAPPING_NAMES.get(getattr(context.config, "model_type", ""))
    return processor_class(name) if name else None


def processor_class(name: str) -> Any:
    """Transformers' processor of that name; None where there is none. Those that it hides without torchvision, though
    they only join a tokenizer and an image processor, run without it."""
    kind = getattr(require("transformers"), name, None)
    if name == "SmolVLMProcessor" and importlib.util.find_spec("num2words") is None:
        return borrowed(name)
    if getattr(kind, "is_dummy", False) and "torchvision" in type.__getattribute__(kind, "_backends"):
        return borrowed(name)
    return kind


def _in_parts(kind: Any, context: Context) -> Any:
    """A processor with parts that need torchvision: with our own for images, and none for videos."""
    transformers = require("transformers")
    common = {"local_files_only": True, "trust_remote_code": context.trust_remote_code}
    parts: dict[str, Any] = {}
    for name in kind.get_attributes():
        if name == "video_processor":
            parts[name] = _NoVideos(context)
        elif name == "image_processor":
            parts[name] = image_processor(context)
        elif name in ("feature_extractor", "audio_processor"):
            parts[name] = transformers.AutoFeatureExtractor.from_pretrained(str(context.path), **common)
        elif name == "tokenizer":
            parts[name] = tokenizer(context)
        else:
            parts[name] = transformers.AutoTokenizer.from_pretrained(str(context.path / name), **common)

    def check(self: Any, argument: str, value: Any) -> Any:
        own = ("video_processor", "image_processor")
        return None if argument in own else kind.check_argument_for_proper_class(self, argument, value)

    loose = type(kind.__name__, (kind,), {"check_argument_for_proper_class": check, "__module__": kind.__module__})
    settings, _ = kind.get_processor_dict(str(context.path), local_files_only=True)
    wanted = set(kind.__init__.__code__.co_varnames[: kind.__init__.__code__.co_argcount])
    kept = {name: value for name, value in settings.items() if name in wanted and name not in parts}
    return loose(**parts, **kept)


class _NoVideos:
    """Stands where a processor expects its part for videos; has the settings that others read from it."""

    model_input_names = ["pixel_values_videos"]

    def __init__(self, context: Context) -> None:
        for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
            with contextlib.suppress(OSError, ValueError):
                for name, value in json.loads((context.path / file).read_text("utf-8")).items():
                    setattr(self, name, value)

    def __call__(self, *args: Any, **named: Any) -> Any:
        raise UnsupportedOperation(
            "videos for this model need torchvision, which is not used here; send some of its frames as images"
        )


def _lacking(context: Context, what: str, exc: Exception) -> AccelerateError:
    reason = str(exc)
    if "torchvision" in reason.lower():
        kind = f"the {what} of {context.path.name!r}"
        return RuntimeUnavailable(f"{kind} exists only for torchvision in Transformers, and this machine runs Pillow's")
    if isinstance(exc, ImportError):
        return lacks(f"the {what} of {context.path.name!r}", exc)
    return RuntimeUnavailable(f"model {context.path.name!r} has no {what} that can be loaded: {reason}")
