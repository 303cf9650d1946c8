"""The older API's figures of usage and cost, from a client's own counters, its prices and its ledger."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.prices import prices_installed
from ipfs_accelerate_py.sync import Client

__all__ = ["key_stats", "track_costs", "usage_stats"]


def track_costs(client: Client) -> None:
    """Have the calls of a new client priced, where there are prices. Nothing runs on its loop yet."""
    if prices_installed():
        client.asynchronous.track_costs()


def usage_stats(client: Client) -> dict[str, Any]:
    """Counters, with ``estimated_cost_usd`` where it is known, and what the ledger has where one is open."""
    usage: dict[str, Any] = client.snapshot()["usage"]
    cost, priced, unpriced = usage.pop("cost"), usage.pop("priced_requests"), usage["unpriced_requests"]
    if client.asynchronous.usage_policy.pricer is not None and (priced or not unpriced):
        usage["estimated_cost_usd"] = round(cost, 10)
    else:
        for model in usage["models"].values():
            del model["cost"]
    ledger = client.ledger
    if ledger is not None:
        rows = ledger.totals(backend=client.backend)
        usage["ledger"] = {
            "total_requests": rows[0].calls if rows else 0,
            "failed_requests": rows[0].failures if rows else 0,
            "total_tokens": rows[0].total_tokens if rows else 0,
            "estimated_cost_usd": rows[0].cost if rows else 0.0,
            "unpriced_requests": rows[0].unpriced if rows else 0,
        }
    return usage


def key_stats(client: Client) -> dict[str, dict[str, Any]]:
    """By name of key its counters, with ``cost`` where there are prices."""
    keys: dict[str, dict[str, Any]] = client.snapshot()["keys"]
    policy = client.asynchronous.usage_policy
    if policy.pricer is not None:
        costs = client.portal().run(policy.totals.costs_by_key.copy)
        for name, figures in keys.items():
            figures["cost"] = round(costs.get(name, 0.0), 10)
    return keys
