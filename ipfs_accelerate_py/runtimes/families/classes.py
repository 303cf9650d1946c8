"""Transformers' own tables of which class makes which model type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["auto_classes", "known_types"]


@cache
def auto_classes() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """By Auto class, by model type, names of the classes it makes; the first is the usual one."""
    auto = require("transformers.models.auto.modeling_auto")
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in dir(auto):
        mapping = getattr(getattr(auto, name), "_model_mapping", None)
        if name.startswith("Auto") and mapping is not None:
            named = mapping._model_mapping
            found[name] = {t: (c,) if isinstance(c, str) else tuple(c) for t, c in named.items()}
    return found


@cache
def known_types() -> tuple[str, ...]:
    """Every model type that an Auto class of the installed Transformers makes, in alphabetical order."""
    return tuple(sorted({kind for named in auto_classes().values() for kind in named}))
