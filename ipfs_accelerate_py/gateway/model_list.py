"""``model_list``: which names are served and by whom, in our way of writing it and in LiteLLM's.

Entries with one name are targets of that name. What is said of the name itself (``strategy``, ``fallbacks``, ...) may
stand in any of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway import checks, litellm_words
from ipfs_accelerate_py.gateway.backend_fields import known_backend, read_backend, read_limits_of_time, read_settings
from ipfs_accelerate_py.gateway.entries import BackendEntry, ModelEntry
from ipfs_accelerate_py.gateway.target_prices import litellm_prices, one_price_each, own_price
from ipfs_accelerate_py.gateway.yaml_source import Field, Section
from ipfs_accelerate_py.router.targets import STRATEGIES
from ipfs_accelerate_py.settings import MID_STREAM

__all__ = ["FALLBACKS", "Group", "check_mid_stream", "read_models"]

_MODEL = "must be a backend and its model, such as openai/gpt-4o"


@dataclasses.dataclass
class Group:
    """All that is said of one name: its targets, and what stands beside them (fields by what they are called here)."""

    name: str
    place: str = ""
    field: Field | None = None
    targets: list[ModelEntry] = dataclasses.field(default_factory=list)
    shadow: list[ModelEntry] = dataclasses.field(default_factory=list)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Where each list of other names stands: kind, name, place.
    fallbacks: dict[str, list[tuple[str, Field]]] = dataclasses.field(default_factory=dict)
    #: LiteLLM's ``order`` of each target.
    orders: list[float | None] = dataclasses.field(default_factory=list)
    #: What may be asked of a target in a minute, by its number; its share of the calls where all have one.
    shares: dict[int, float] = dataclasses.field(default_factory=dict)
    #: Whether an entry is of LiteLLM's kind: then several targets share the calls, and else they are asked in order.
    litellm: bool = False


def read_models(field: Field) -> tuple[dict[str, Group], tuple[BackendEntry, ...]]:
    """The names with what is said of them, and the backends that a ``backend/*`` serves whole."""
    groups: dict[str, Group] = {}
    wildcards: list[BackendEntry] = []
    for section in field.sections():
        name_field = section.take("model_name", "name")
        name = name_field.text() if name_field is not None else None
        if name_field is None:
            section.problems.error(section.line, section.path, "has no model_name, the name that clients ask for")
        group = None
        if name is not None and name_field is not None:
            group = groups.get(name) or Group(name, section.problems.place(section.line), name_field)
        found = _entry(section, group)
        if group is None or name is None or name_field is None or not found:
            continue
        if "*" in name or any("*" in entry.model for entry in found):
            _wildcard(name, name_field, found, wildcards)
        else:
            groups[name] = group
            group.targets += [dataclasses.replace(entry, name=name) for entry in found]
    one_price_each([each for group in groups.values() for each in (*group.targets, *group.shadow)], field)
    return groups, tuple(wildcards)


def _wildcard(name: str, field: Field, found: list[ModelEntry], wildcards: list[BackendEntry]) -> None:
    [entry, *others] = found
    same = name == entry.model == "*" or (
        name.endswith("/*") and entry.model == "*" and name[:-2] == entry.target.backend
    )
    if same and not others:
        wildcards.append(entry.target)
    else:
        field.error("a * stands for all models of one backend: write the same on both sides, such as openai/*")


def _entry(section: Section, group: Group | None) -> list[ModelEntry]:
    """The targets of one entry; what it says of the name goes into ``group``."""
    params = section.take("litellm_params")
    info = section.take("model_info")
    if params is not None:
        return _litellm_entry(section, params, info, group)
    scratch = group or Group("")
    targets = section.take("targets")
    if targets is None:
        target = _target(section, limits=True)
        found = [] if target is None else [target]
    else:
        found = [each for inner in targets.sections() if (each := _whole_target(inner)) is not None]
        if not found and not section.problems.errors:
            targets.error("has no target")
        settings = read_limits_of_time(section)
        if (field := section.take("settings")) is not None and (inner_settings := field.section()) is not None:
            settings = {**read_settings(inner_settings), **settings}
        for name, value in settings.items():
            _say(scratch, name, value, section.path, section)
    if info is not None:
        about, prices = _info(info)
        found = [
            dataclasses.replace(each, options={**about, **each.options}, price=each.price or prices or None)
            for each in found
        ]
    _alias_fields(section, scratch)
    scratch.orders += [None] * len(found)
    section.finish(
        {"litellm_params": "is not beside these fields"}
        if targets is None
        else dict.fromkeys(
            ("model", "api_base", "base_url", "api_key", "weight"), "stands beside targets; write it in one"
        )
    )
    return found


def _whole_target(section: Section) -> ModelEntry | None:
    found = _target(section, limits=True)
    section.finish()
    return found


def _target(section: Section, *, limits: bool) -> ModelEntry | None:
    found = _model_and_backend(section, section.take("model"))
    options = _target_options(section)
    prices = own_price(section)
    times = read_limits_of_time(section) if limits else {}
    if found is None:
        return None
    model, backend = found
    if times:
        backend = dataclasses.replace(backend, settings={**backend.settings, **times})
    return ModelEntry("", model, backend, options, prices)


# --- LiteLLM's entries -------------------------------------------------------------------------------------------


def _litellm_entry(section: Section, params: Field, info: Field | None, group: Group | None) -> list[ModelEntry]:
    inner = params.section()
    if inner is None:
        return []
    found = _model_and_backend(inner, inner.take("model"), litellm_words.PARAMS_SETTINGS)
    options: dict[str, Any] = {}
    if (field := inner.take("weight")) is not None:
        options["weight"] = field.checked(checks.number(0))
    elif found is not None:
        # As LiteLLM's "simple-shuffle" has it: what may be asked of a deployment is its share.
        settings = found[1].settings
        share = settings.get("requests_per_minute") or settings.get("tokens_per_minute")
        if share and group is not None:
            group.shares[len(group.targets)] = share
    order = inner.take("order")
    prices = litellm_prices(inner)
    if info is not None:
        about, told = _info(info)
        options = {**about, **options}
        prices = {**told, **prices}
    inner.finish(litellm_words.PARAMS_REFUSED, litellm_words.PARAMS_IGNORED)
    section.finish(
        dict.fromkeys(section.names(), "stands beside litellm_params; write it inside them, or leave them out")
    )
    if group is not None:
        group.litellm = True
        group.orders.append(order.checked(checks.number(None)) if order is not None else None)
    if found is None:
        return []
    return [ModelEntry("", found[0], found[1], options, prices or None)]


def _info(field: Field) -> tuple[dict[str, Any], dict[str, float]]:
    """What ``model_info`` says of a target: `Target`'s options, and prices. The rest of it is for people."""
    about: dict[str, Any] = {}
    section = field.section()
    if section is None:
        return about, {}
    for written, name, check in _INFO_FIELDS:
        if (item := section.take(written)) is not None:
            about[name] = item.checked(check)
    prices = litellm_prices(section)
    dict(section.rest())
    return about, prices


# --- fields ------------------------------------------------------------------------------------------------------


def _model_and_backend(
    section: Section, field: Field | None, litellm: Mapping[str, str] | None = None
) -> tuple[str, BackendEntry] | None:
    if field is None:
        section.problems.error(section.line, section.path, f"has no model; it {_MODEL}")
        read_backend("openai", section, litellm)  # for the other problems there may be
        return None
    text = field.text() or ""
    backend, slash, model = text.partition("/")
    if not slash:
        backend, model = "openai", text  # as LiteLLM reads it
    known = bool(model) and known_backend(backend, field)
    entry = read_backend(backend if known else "openai", section, litellm)
    if text and not model:
        field.error(_MODEL)
    return (model, entry) if known else None


def _target_options(section: Section) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, check in _TARGET_FIELDS.items():
        field = section.take(name)
        if field is not None:
            found[name if name != "label" else "name"] = field.checked(check)
    return found


def _alias_fields(section: Section, group: Group) -> None:
    for name, check in _ALIAS_FIELDS.items():
        field = section.take(name)
        if field is not None:
            value = field.checked(check)
            if value is not None:
                _say(group, name, value, field.path, section)
    for name in FALLBACKS:
        field = section.take(name)
        if field is not None:
            named = [(text, item) for item in field.items() if (text := item.text()) is not None]
            group.fallbacks.setdefault(name, []).extend(named)
    if (field := section.take("shadow")) is not None:
        group.shadow += [each for inner in field.sections() if (each := _whole_target(inner)) is not None]


def _say(group: Group, name: str, value: Any, path: str, section: Section) -> None:
    """Something about a name; where another entry has said otherwise, that is a mistake."""
    if group.options.setdefault(name, value) != value:
        section.problems.error(
            section.line, path, f"is {value!r} here, and {group.options[name]!r} in another entry of this name"
        )


def check_mid_stream(value: Any) -> str:
    """What may become of a stream that breaks, as far as a vendor's client can bear it."""
    if value == "restart":
        raise ConfigurationError(
            "must be continue or error here: a vendor's client cannot be told to throw away what it has of a stream"
        )
    return checks.one_of(*MID_STREAM)(value)


def _hedge(value: Any) -> float | str:
    if value == "p95":
        return "p95"
    if isinstance(value, str):
        raise ValueError(f"must be a number of seconds, or p95, not {value!r}")
    return checks.number(0)(value)


_TARGET_FIELDS: dict[str, Callable[[Any], Any]] = {
    "weight": checks.number(0),
    "accepts_continuation": checks.flag,
    "context_window": checks.whole(),
    "label": checks.text,
}
#: Of LiteLLM's ``model_info``.
_INFO_FIELDS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("max_input_tokens", "context_window", checks.whole()),
    ("supports_assistant_prefill", "accepts_continuation", checks.flag),
    ("id", "name", checks.text),
)
_ALIAS_FIELDS: dict[str, Callable[[Any], Any]] = {
    "strategy": checks.one_of(*STRATEGIES),
    "mid_stream": check_mid_stream,
    "sticky": checks.flag,
    "shadow_share": checks.share,
    "hedge": _hedge,
}
FALLBACKS = ("fallbacks", "context_fallbacks", "content_policy_fallbacks")
