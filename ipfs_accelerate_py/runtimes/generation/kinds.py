"""What the layers of a decoder keep from one token to the next, by its configuration."""

from __future__ import annotations

from typing import Any, NamedTuple

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["Kind", "layer_kinds"]


class Kind(NamedTuple):
    """What a decoder's layer keeps: ``columns``, ``states``, ``both`` or ``none``; whether its attention has a window;
    how many recurrent states there are."""

    name: str
    window: bool
    states: int


def layer_kinds(config: Any) -> list[Kind] | None:
    """Kinds of a decoder's layers, in order. None where there are some that this cache has no place for."""
    cache_utils = require("transformers.cache_utils")
    plain = {
        cache_utils.DynamicLayer: ("columns", False),
        cache_utils.DynamicSlidingWindowLayer: ("columns", True),
        cache_utils.LinearAttentionLayer: ("states", False),
        cache_utils.LinearAttentionAndFullAttentionLayer: ("both", False),
        cache_utils.LinearAttentionAndSlidingWindowAttentionLayer: ("both", True),
        cache_utils.DummyLayer: ("none", False),
    }
    kinds = []
    for layer in cache_utils.DynamicCache(config=config).layers:
        if type(layer) not in plain:
            return None
        kinds.append(Kind(*plain[type(layer)], getattr(layer, "number_of_states", 1)))
    return kinds
