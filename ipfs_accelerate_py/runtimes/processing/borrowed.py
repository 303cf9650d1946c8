"""Transformers' processors that exist only for torchvision, run without it.

Such a class is Python over torch tensors, and takes from torchvision a handful of functions that torch has itself
(`tensor_pictures`). So its module is run here under a name of its own, with those functions where it imports
torchvision's: nothing that others import changes, and what comes out is what its author wrote.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .tensor_pictures import BY_PILLOW, FUNCTIONS, InterpolationMode, batched_nms

__all__ = ["borrowed"]

_PREFIX = f"{__name__}.of_"
_lock = threading.RLock()
_made: dict[str, ModuleType] = {}
# Modules of processors whose classes ask for torchvision: what they join is borrowed or Pillow's.
_JOINING = ("processing_pixtral", "processing_omdet_turbo", "processing_smolvlm")
# Modules that hold what such classes are built on.
_BASES = ("transformers.image_processing_backends", "transformers.video_processing_utils")


def borrowed(name: str) -> Any:
    """The class of that name (``Sam2ImageProcessor``), able to run without torchvision.

    Raises:
        RuntimeUnavailable: Transformers has no such class, or it needs more of torchvision than images as tensors.
    """
    transformers = require("transformers")
    home = transformers._class_to_module.get(name, "")
    path = f"transformers.{home}"
    if not home or not _is_processing(path):
        raise RuntimeUnavailable(f"Transformers has no image processor {name!r}")
    try:
        return getattr(_module(path), name)
    except (ImportError, AttributeError) as exc:
        raise RuntimeUnavailable(
            f"{name} needs torchvision, of which it takes what torch does not have: {exc}"
        ) from exc


def _is_processing(path: str) -> bool:
    last = path.rpartition(".")[2]
    if last.startswith("processing_"):
        return last in _JOINING
    return path in _BASES or (last.startswith(("image_processing_", "video_processing_")) and "_pil_" not in last)


def _module(path: str) -> ModuleType:
    with _lock:
        if path not in _made:
            spec = importlib.util.find_spec(path)
            if spec is None or spec.origin is None:
                raise ImportError(f"no module {path}")
            module = ModuleType(_PREFIX + path.rpartition(".")[2])
            module.__file__ = spec.origin
            module.__package__ = path.rpartition(".")[0]
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
            # Docstrings are made from the file of a class, which Python finds by its module's name.
            sys.modules[module.__name__] = _made[path] = module
            try:
                exec(compile(Path(spec.origin).read_text("utf-8"), spec.origin, "exec"), vars(module))  # noqa: S102 - an installed library's own file
            except BaseException:
                del _made[path], sys.modules[module.__name__]
                raise
        return _made[path]


def _import(
    name: str,
    names: Mapping[str, Any] | None = None,
    local: Mapping[str, Any] | None = None,
    wanted: Any = (),
    level: int = 0,
) -> Any:
    """What an import statement in such a module gets."""
    if level == 0 and name.split(".")[0] == "torchvision":
        found: Any = _torchvision()
        for part in name.split(".")[1:] if wanted else ():
            found = getattr(found, part, None)
            if found is None:
                raise ImportError(f"no module {name}")
        return found
    if level == 0 and name == "num2words":
        return SimpleNamespace(num2words=str)  # it writes a number of frames as words; films are not taken here
    if level and names is not None:
        parent = str(names["__package__"]).split(".")
        path = ".".join([*parent[: len(parent) - level + 1], *filter(None, [name])])
        if _is_processing(path):
            return _module(path)
        if (instead := _INSTEAD.get(path)) is not None:
            return _Over(importlib.import_module(path), instead)
    return builtins.__import__(name, names, local, wanted, level)


class _Over:
    """A module, but for some of its names."""

    def __init__(self, module: ModuleType, instead: Mapping[str, Any]) -> None:
        self.__dict__.update(instead)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _torchvision() -> SimpleNamespace:
    functional = SimpleNamespace(**FUNCTIONS)
    v2 = SimpleNamespace(functional=functional, InterpolationMode=InterpolationMode)
    transforms = SimpleNamespace(v2=v2, functional=functional, InterpolationMode=InterpolationMode)
    boxes = SimpleNamespace(batched_nms=batched_nms)
    return SimpleNamespace(transforms=transforms, ops=SimpleNamespace(boxes=boxes, batched_nms=batched_nms))


def _yes() -> bool:
    return True


def _no(version: str) -> bool:
    return False


_ASKED = {
    "is_torchvision_available": _yes,
    "is_num2words_available": _yes,
    "is_torchvision_v2_available": _yes,
    "is_torchvision_greater_or_equal": _no,
}
_INSTEAD: Mapping[str, Mapping[str, Any]] = {
    "transformers.utils": _ASKED,
    "transformers.utils.import_utils": _ASKED,
    "transformers.image_utils": {
        "pil_torch_interpolation_mapping": BY_PILLOW,
        "torch_pil_interpolation_mapping": {value: key for key, value in BY_PILLOW.items()},
    },
}
