"""Switches on, in the gateway's front, what the sections of a configuration ask for."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, MissingExtra
from ipfs_accelerate_py.gateway.config import GatewayConfig, ModelEntry
from ipfs_accelerate_py.gateway.front import GatewayFront
from ipfs_accelerate_py.gateway.rates import RATES

__all__ = ["switch_off", "switch_on"]

logger = logging.getLogger(__name__)

#: Seconds for each of what is still to be told and written when the gateway stops.
_LAST_WORDS = 5.0


async def switch_on(front: GatewayFront, config: GatewayConfig) -> None:
    """All that the configuration asks for, in the order in which one needs the other.

    Raises `ConfigurationError` with the place of what is wrong, `MissingExtra` for what is not installed.
    """
    features = config.features
    await _costs(front, config)
    for name, switch in (
        ("ledger", _ledger),
        ("exact_cache", _exact),
        ("semantic_cache", _semantic),
        ("single_flight", _single_flight),
        ("batching", _batching),
        ("tracing", _tracing),
        ("metrics_export", _metrics),
        ("log_calls", _log),
    ):
        if name in features:
            await switch(front, features[name])
    for limit in features.get("limits", ()):
        await _limit(front, limit)
    for key in config.keys:
        if key.limits:
            await _limit(front, {**key.limits, "caller": key.name, "place": key.place})
    if "hedging" in features:
        await _call(front.enable_hedging, features["hedging"])
    elif any("hedge" in alias.options for alias in config.aliases):
        front.enable_hedging(None)  # those alone that say so themselves
    for alert in features.get("alerts", ()):
        await _call(front.add_alert, {"rule" if name == "metric" else name: value for name, value in alert.items()})


#: Whose a limit is: the argument, and the word for it in the limit's name.
_WHOSE = (("tenant", "tenant"), ("caller", "key"), ("model", "model"))


# --- one thing each ----------------------------------------------------------------------------------------------


async def _costs(front: GatewayFront, config: GatewayConfig) -> None:
    """Prices, where anything asks for them: a section, a target, a budget in dollars, or the ledger."""
    section = config.features.get("prices")
    own = _own_prices(config)
    limits = [*config.features.get("limits", ()), *(key.limits for key in config.keys)]
    dollars = any("usd" in budget for limit in limits for budget in limit.get("budgets", ()))
    if section is None and not own and not dollars:
        return
    from ipfs_accelerate_py.prices import prices_installed

    section = section or {"place": "prices"}
    book = await _call(
        front.track_costs,
        {
            "place": section["place"],
            "prices": section.get("file") or {**own, **section.get("models", {})},
            "package": section.get("package", prices_installed() or (dollars and not own)),
            **({"default_output": section["default_output"]} if "default_output" in section else {}),
        },
    )
    if "file" in section:
        for name, price in (own | section.get("models", {})).items():
            book.override(name, price)


def _own_prices(config: GatewayConfig) -> dict[str, Any]:
    """What targets say of themselves. The router asks by backend and model, so that is the name."""
    return {
        f"{entry.target.backend}/{entry.model}": entry.price for entry in _entries(config) if entry.price is not None
    }


def _entries(config: GatewayConfig) -> Iterator[ModelEntry]:
    yield from config.models
    for alias in config.aliases:
        yield from (*alias.targets, *alias.shadow)


async def _ledger(front: GatewayFront, section: Mapping[str, Any]) -> None:
    values = dict(section)
    where = values.pop("url", None) or values.pop("path", None)
    if "flush_interval" in values:
        values["window"] = values.pop("flush_interval")
    # It may be away for a while: then what is to be written is kept in a file.
    await _call(front.open_ledger, {**values, "where": where, "check": False})


async def _exact(front: GatewayFront, section: Mapping[str, Any]) -> None:
    await _call(front.enable_cache, section)


async def _semantic(front: GatewayFront, section: Mapping[str, Any]) -> None:
    name = section.get("embedding_model", "")
    embed = front.embedder(name) if name else None
    if embed is not None:
        section = {**{key: value for key, value in section.items() if key != "embedding_model"}, "embed": embed}
    await _call(front.enable_semantic_cache, section)


async def _single_flight(front: GatewayFront, section: Mapping[str, Any]) -> None:
    await _call(front.enable_single_flight, section)


async def _batching(front: GatewayFront, section: Mapping[str, Any]) -> None:
    from ipfs_accelerate_py.pipeline.batching import BatchStrategy

    def enable(**values: Any) -> None:
        strategies = {pattern: BatchStrategy(**each) for pattern, each in values.pop("strategies", {}).items()}
        front.enable_batching(**values, strategies=strategies or None)

    await _call(enable, section)


async def _tracing(front: GatewayFront, section: Mapping[str, Any]) -> None:
    await _call(front.enable_tracing, {"service": "ipfs-accelerate-gateway", **section})


async def _metrics(front: GatewayFront, section: Mapping[str, Any]) -> None:
    await _call(front.enable_metrics, {"service": "ipfs-accelerate-gateway", **section})


async def _log(front: GatewayFront, section: Mapping[str, Any]) -> None:
    await _call(front.log_calls, section)


async def _limit(front: GatewayFront, section: Mapping[str, Any]) -> None:
    """Rates in one limit, and each budget by itself."""
    whose = {name: section[name] for name in ("tenant", "caller", "model", "place") if name in section}
    parts = [f"{word}:{section[name]}" for name, word in _WHOSE if name in section]
    name = section.get("name") or ",".join(parts) or "all"
    rates = {name: section[name] for name in RATES if name in section}
    if rates.keys() - {"wait"}:
        await _call(front.set_limits, {**whose, **rates, "name": name})
    for budget in section.get("budgets", ()):
        await _call(front.set_budget, {**whose, **budget, "name": f"{name}/{budget['per']}"})


async def _call(enable: Callable[..., Any], section: Mapping[str, Any]) -> Any:
    """Switch one thing on; what it finds wrong is told with the section's place."""
    values = {name: _plain(value) for name, value in section.items() if name != "place"}
    try:
        made = enable(**values)
        return await made if inspect.isawaitable(made) else made
    except MissingExtra:
        raise
    except ConfigurationError as error:
        raise ConfigurationError(f"{section['place']}: {error.message}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value


# --- and off again -----------------------------------------------------------------------------------------------


async def switch_off(front: GatewayFront) -> None:
    """Close what was opened, by the configuration or since, and write what is still to be written."""
    for stop in (
        front.flush_alerts,
        front.disable_semantic_cache,
        front.disable_cache,
        front.disable_tracing,
        front.disable_metrics,
        front.close_ledger,
    ):
        await _finish(stop)


async def _finish(stop: Callable[[], Awaitable[Any]]) -> None:
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await stop()
    except AccelerateError as error:
        logger.warning("while stopping: %s", error)
