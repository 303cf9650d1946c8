"""``router``: what holds for all aliases that do not say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.gateway.checks import number, one_of
from ipfs_accelerate_py.gateway.litellm import RouterWords, read_names
from ipfs_accelerate_py.gateway.model_list import check_mid_stream
from ipfs_accelerate_py.gateway.yaml_source import Section
from ipfs_accelerate_py.router.targets import STRATEGIES

__all__ = ["read_router"]

_FIELDS: dict[str, Callable[[Any], Any]] = {
    "mid_stream": check_mid_stream,
    "health_check_interval": number(0, more=True),
    "health_check": one_of("models", "chat"),
}


def read_router(section: Section, words: RouterWords) -> dict[str, Any]:
    """Options of the router; strategy and fallbacks go into ``words``, where LiteLLM's are."""
    if (field := section.take("strategy")) is not None:
        words.strategy = field.checked(one_of(*STRATEGIES)) or words.strategy
    if (field := section.take("default_fallbacks")) is not None:
        words.default_fallbacks = read_names(field)
    found = {
        name: value
        for name, check in _FIELDS.items()
        if (field := section.take(name)) is not None and (value := field.checked(check)) is not None
    }
    section.finish()
    return found
