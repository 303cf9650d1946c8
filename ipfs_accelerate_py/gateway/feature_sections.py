"""The sections that switch something on: caches, single flight, hedging, batching, limits, ledger, traces, alerts.

Each comes to the arguments of what switches it on (`enabling`), as plain values; secrets stay `Secret` until then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ipfs_accelerate_py.gateway.checks import flag, number, one_of, optional, share, text, texts, whole
from ipfs_accelerate_py.gateway.rates import RATES, read_rates
from ipfs_accelerate_py.gateway.yaml_source import Field, Section

__all__ = ["read_features"]

Checks = Mapping[str, Callable[[Any], Any]]
#: Marks a field that may hold a password or key.
_SECRET: Callable[[Any], Any] = text

_EXACT: Checks = {
    "store": one_of("memory", "disk", "redis"),
    "path": text,
    "url": _SECRET,
    "max_bytes": whole(1024),
    "ttl": number(0, more=True),
    "max_entry_bytes": whole(1024),
    "only_deterministic": flag,
    "opt_in": flag,
    "namespace": text,
    "time_limit": number(0, more=True),
}
_SEMANTIC: Checks = {
    "similarity_threshold": share,
    "cache_size": whole(),
    "ttl": number(0, more=True),
    "embedding_model": text,
    "embedding_timeout": number(0, more=True),
    "guard": flag,
    "multi_turn": flag,
    "most_characters": whole(),
    "opt_in": flag,
    "store": one_of("memory", "disk", "redis"),
    "path": text,
    "url": _SECRET,
    "max_bytes": whole(1024),
    "namespace": text,
}
_SINGLE_FLIGHT: Checks = {"operations": texts, "nondeterministic": flag}
_HEDGING: Checks = {"after": optional(number(0, more=True)), "most_share": share, "operations": texts}
_BATCHING: Checks = {
    "max_batch_size": whole(),
    "batch_timeout": number(0),
    "max_tokens": whole(),
    "operations": texts,
}
_STRATEGY: Checks = {"max_items": whole(), "max_tokens": whole(), "max_wait": number(0)}
_LEDGER: Checks = {
    "path": text,
    "url": _SECRET,
    "durability": one_of("normal", "full"),
    "flush_interval": number(0, more=True),
    "keep_days": number(0, more=True),
}
_TRACING: Checks = {
    "endpoint": text,
    "service": text,
    "sample": share,
    "capture_content": flag,
    "propagate": flag,
}
_METRICS_EXPORT: Checks = {"endpoint": text, "service": text, "interval": number(0, more=True)}
_ALERT: Checks = {
    "metric": text,
    "above": number(0),
    "name": text,
    "window": number(1),
    "for_seconds": number(0),
    "min_samples": whole(0),
    "resolve_below": number(0),
    "repeat": number(1),
    "cooldown": number(0),
    "backend": text,
    "model": text,
    "tenant": text,
    "severity": one_of("info", "warning", "critical"),
    "webhook": _SECRET,
    "secret": _SECRET,
    "log": flag,
}
#: Fields whose values are not shown.
_SECRETS = frozenset({"url", "webhook", "secret"})


def read_features(top: Section) -> dict[str, Any]:
    """By section, what it says; sections that are not there, or are ``false``, are not in it."""
    found: dict[str, Any] = {}
    if (field := top.take("cache")) is not None and (section := field.section()) is not None:
        for name, checks in (("exact", _EXACT), ("semantic", _SEMANTIC)):
            inner = section.take(name)
            if inner is not None and (values := _switch(inner, checks)) is not None:
                found[f"{name}_cache"] = values
        section.finish()
    for name, checks in (
        ("single_flight", _SINGLE_FLIGHT),
        ("hedging", _HEDGING),
        ("ledger", _LEDGER),
        ("tracing", _TRACING),
        ("metrics_export", _METRICS_EXPORT),
    ):
        field = top.take(name)
        if field is not None and (values := _switch(field, checks)) is not None:
            found[name] = values
    if (field := top.take("batching")) is not None and (values := _switch(field, _BATCHING, _strategies)) is not None:
        found["batching"] = values
    if (field := top.take("prices")) is not None and (values := _prices(field)) is not None:
        found["prices"] = values
    if (field := top.take("limits")) is not None:
        found["limits"] = [_place(section, _limit(section)) for section in field.sections()]
    if (field := top.take("alerts")) is not None:
        found["alerts"] = [_place(section, _fields(section, _ALERT)) for section in field.sections()]
    if (field := top.take("log_calls")) is not None:
        found["log_calls"] = {"level": field.checked(optional(whole(0))), "place": _where(field)}
    return found


def _where(field: Field | Section) -> str:
    return f"{field.problems.place(field.line)}: {field.path}"


def _place(section: Section, values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "place": _where(section)}


def _switch(
    field: Field, checks: Checks, more: Callable[[Section, dict[str, Any]], None] | None = None
) -> dict[str, Any] | None:
    """What a section says: ``true`` for all as it is by default, ``false`` for nothing at all."""
    if not field.is_mapping:
        on = field.checked(_on)
        return {"place": _where(field)} if on else None
    section = field.section()
    if section is None:
        return None
    if (switch := section.take("enabled")) is not None and switch.checked(flag) is False:
        dict(section.rest())
        return None
    values: dict[str, Any] = {}
    if more is not None:
        more(section, values)
    return _place(section, {**values, **_fields(section, checks)})


def _on(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true, false, or a mapping (name: value, one a line)")
    return value


def _fields(section: Section, checks: Checks) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, check in checks.items():
        field = section.take(name)
        if field is None:
            continue
        if name in _SECRETS:
            found = field.secret()
            if found is not None:
                values[name] = found[1]
        elif (value := field.checked(check)) is not None:
            values[name] = value
    if "endpoint" in checks or "webhook" in checks:
        headers = section.take("headers")
        if headers is not None and (inner := headers.section()) is not None:
            values["headers"] = {name: found[1] for name, item in inner.rest() if (found := item.secret()) is not None}
    section.finish()
    return values


def _strategies(section: Section, values: dict[str, Any]) -> None:
    """What holds for the models of a name's pattern instead."""
    field = section.take("strategies")
    inner = field.section() if field is not None else None
    if inner is None:
        return
    values["strategies"] = {
        pattern: _fields(each, _STRATEGY) for pattern, item in inner.rest() if (each := item.section()) is not None
    }


def _prices(field: Field) -> dict[str, Any] | None:
    """Prices by name, and ``file``, ``default_output`` and ``package`` for what stands behind them."""
    if not field.is_mapping:
        return {"place": _where(field)} if field.checked(_on) else None
    section = field.section()
    if section is None:
        return None
    values: dict[str, Any] = {"place": _where(section)}
    for name, check in (("file", text), ("default_output", whole()), ("package", flag)):
        item = section.take(name)
        if item is not None and (value := item.checked(check)) is not None:
            values[name] = value
    models = section.take("models")
    if models is not None and (inner := models.section()) is not None:
        values["models"] = {name: value for name, item in inner.rest() if (value := item.checked(_price)) is not None}
    section.finish()
    return values


def _price(value: Any) -> Any:
    from ipfs_accelerate_py.prices.overrides import read_override

    read_override("this model", value)
    return value


def _limit(section: Section) -> dict[str, Any]:
    """Rates and budgets, and whom they are for: a tenant, key or model, each of them (``*``), or everybody together."""
    values: dict[str, Any] = {}
    for name in ("name", "tenant", "key", "model"):
        field = section.take(name)
        if field is not None and (value := field.checked(text)) is not None:
            values["caller" if name == "key" else name] = value
    rates = read_rates(section)
    if not rates:
        section.problems.error(section.line, section.path, f"has no limit; there are: {', '.join(RATES)}, budget")
    section.finish()
    return {**values, **rates}
