"""Reading LiteLLM's ``router_settings`` and ``litellm_settings``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.gateway.litellm_words import (
    LITELLM_IGNORED,
    LITELLM_REFUSED,
    ROUTER_IGNORED,
    ROUTER_REFUSED,
    ROUTER_SETTINGS,
    STRATEGIES,
)
from ipfs_accelerate_py.gateway.yaml_source import Field, Section
from ipfs_accelerate_py.settings import Settings

__all__ = ["RouterWords", "read_litellm_settings", "read_names", "read_router_settings"]

#: The lists of who stands in for whom, and what they are called here.
_FALLBACKS = {
    "fallbacks": "fallbacks",
    "context_window_fallbacks": "context_fallbacks",
    "content_policy_fallbacks": "content_policy_fallbacks",
}


class RouterWords:
    """What ``router_settings`` and ``litellm_settings`` say of routing.

    ``fallbacks``: by kind and by name, the names that stand in with the place where that is written.
    """

    def __init__(self) -> None:
        self.strategy: str | None = None
        self.settings: dict[str, Any] = {}
        self.fallbacks: dict[str, dict[str, list[tuple[str, Field]]]] = {}
        self.default_fallbacks: list[tuple[str, Field]] = []
        #: Every name that others stand in for, with its place.
        self.named: list[tuple[str, Field]] = []
        #: Other names of names.
        self.group_aliases: dict[str, tuple[str, Field]] = {}


def read_litellm_settings(section: Section, words: RouterWords) -> dict[str, Any]:
    """``litellm_settings``: the pipeline's settings in it; what it says of routing goes into ``words``."""
    found = _settings(section, {"request_timeout": "total_timeout", "num_retries": "max_retries"})
    _read_fallbacks(section, words)
    found |= _cooling(section)
    section.finish(LITELLM_REFUSED, LITELLM_IGNORED)
    return found


def read_router_settings(section: Section, words: RouterWords) -> dict[str, Any]:
    """``router_settings``: the same."""
    if (field := section.take("routing_strategy")) is not None:
        words.strategy = field.checked(_strategy)
    found = _settings(section, ROUTER_SETTINGS)
    _read_fallbacks(section, words)
    found |= _cooling(section)
    if (field := section.take("model_group_alias")) is not None and (inner := field.section()) is not None:
        for name, item in inner.rest():
            target = _group_alias(item)
            if target is not None:
                words.group_aliases[name] = (target, item)
    section.finish(ROUTER_REFUSED, ROUTER_IGNORED)
    return found


def _group_alias(item: Field) -> str | None:
    if not item.is_mapping:
        return item.text()
    inner = item.section()
    field = inner.take("model") if inner is not None else None
    if inner is None or field is None:
        item.error("has no model, the name that it is another one for")
        return None
    inner.take("hidden")
    inner.finish()
    return field.text()


def _strategy(value: Any) -> str:
    found = STRATEGIES.get(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be one of {', '.join(STRATEGIES)}, not {value!r}")
    return found


def _settings(section: Section, names: dict[str, str]) -> dict[str, Any]:
    checker = Settings()
    found: dict[str, Any] = {}
    for name, ours in names.items():
        field = section.take(name)
        if field is not None:
            found[ours] = field.checked(_check(checker, ours))
    return found


def _check(checker: Settings, name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        checker.update({name: value})
        return getattr(checker, name)

    return check


def _cooling(section: Section) -> dict[str, Any]:
    """``allowed_fails`` of them may fail; the next one opens the breaker."""
    field = section.take("allowed_fails")
    if field is None:
        return {}
    value = field.checked(_check(Settings(), "queue_size"))  # a whole number of at least 0
    return {} if value is None else {"circuit_failure_threshold": value + 1}


def _read_fallbacks(section: Section, words: RouterWords) -> None:
    for name, ours in _FALLBACKS.items():
        field = section.take(name)
        if field is not None:
            _read_list(field, words, ours)
    if (field := section.take("default_fallbacks")) is not None:
        words.default_fallbacks += read_names(field)


def _read_list(field: Field, words: RouterWords, kind: str) -> None:
    """``[{name: [others]}, ...]``, or one mapping; the name ``*`` stands for all."""
    found = words.fallbacks.setdefault(kind, {})
    for item in field.items():
        inner = item.section()
        if inner is None:
            continue
        for name, others in inner.rest():
            if name == "*" and kind == "fallbacks":
                words.default_fallbacks += read_names(others)
            else:
                words.named.append((name, others))
                found.setdefault(name, []).extend(read_names(others))


def read_names(field: Field) -> list[tuple[str, Field]]:
    """A list of names, each with its place."""
    found = []
    for item in field.items():
        if item.is_mapping:
            item.error("must be the name of a model; a fallback with parameters of its own is an entry of model_list")
            continue
        text = item.text()
        if text is not None:
            found.append((text, item))
    return found
