"""What a report is made of: gathered from counters and snapshots that are there anyway, as plain data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.pipeline.stack import ORDER
from ipfs_accelerate_py.pipeline.usage import Histogram
from ipfs_accelerate_py.types import Priority

if TYPE_CHECKING:
    from ipfs_accelerate_py.features.host import FeatureHost
    from ipfs_accelerate_py.pipeline import Pipeline
    from ipfs_accelerate_py.pipeline.usage import UsageTotals

__all__ = ["gather"]

#: Models of which a report tells one by one: those with the most calls.
MOST_MODELS = 50
#: The policies that a report tells of, and the method that enables each.
_ENABLED_BY = {
    "exact_cache": "enable_cache()",
    "semantic_cache": "enable_semantic_cache()",
    "single_flight": "enable_single_flight()",
    "limits": "set_limits(), set_budget()",
    "batching": "enable_batching()",
    "hedging": "enable_hedging()",
    "tracing": "enable_tracing()",
}
#: The methods that tell of them.
_FIGURES = {
    "exact_cache": "cache_stats",
    "semantic_cache": "cache_stats",
    "single_flight": "single_flight_stats",
    "limits": "limits",
    "batching": "batching_stats",
    "hedging": "hedging_stats",
}


def gather(host: FeatureHost, alerts: Mapping[str, Any] | None) -> dict[str, Any]:
    """The report of a client, router or gateway. Nothing in it is content or a key's value."""
    totals = host.usage_policy.totals
    pipelines = host.pipelines()
    usage = totals.snapshot()
    failed = totals.failures
    return {
        "of": repr(host),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "calls": {
            "total": totals.requests,
            "successful": totals.successes,
            "failed": failed,
            "cancelled": totals.cancelled,
            "in_flight": host.usage_policy.in_flight,
            "failure_rate": failed / (totals.successes + failed) if totals.successes + failed else 0.0,
            "retries": sum(pipeline.totals.retries for pipeline in pipelines.values()) or totals.retries,
        },
        "failures": dict(sorted(totals.errors.items(), key=lambda item: -item[1])),
        "tokens": {name: usage[f"{name}_tokens"] for name in ("input", "output", "total")},
        "latency": {
            "complete": _quantiles(model.latency for model in totals.models.values()),
            "first_content": _quantiles(model.first_content for model in totals.models.values()),
        },
        "models": _models(totals),
        "queue": _queue(totals, pipelines),
        "targets": {name: _target(pipeline) for name, pipeline in pipelines.items()},
        "costs": _costs(host, totals),
        "budgets": _budgets(host),
        "enabled": {name: _policy(host, name) for name in ORDER},
        "alerts": None if alerts is None else dict(alerts),
    }


def _quantiles(histograms: Iterable[Histogram]) -> dict[str, Any]:
    whole = Histogram()
    for each in histograms:
        whole.count += each.count
        whole.total += each.total
        for index, count in enumerate(each.counts):
            whole.counts[index] += count
    return {
        "count": whole.count,
        "mean": whole.total / whole.count if whole.count else 0.0,
        **{f"p{round(share * 100)}": whole.quantile(share) for share in (0.5, 0.95, 0.99)},
    }


def _models(totals: UsageTotals) -> dict[str, Any]:
    found = {}
    for name, model in sorted(totals.models.items(), key=lambda item: -item[1].requests)[:MOST_MODELS]:
        found[name] = {**model.as_dict(), **{f"{k}_latency": v for k, v in _quantiles([model.latency]).items()}}
        del found[name]["count_latency"]
    return found


def _queue(totals: UsageTotals, pipelines: Mapping[str, Pipeline]) -> dict[str, Any]:
    every = [pipeline.totals for pipeline in pipelines.values()] or [totals]
    return {
        priority.name: {
            "waiting": sum(pipeline.admission.queued[priority] for pipeline in pipelines.values()),
            "waited": _quantiles(each.queue_wait[priority] for each in every),
        }
        for priority in Priority
    }


def _target(pipeline: Pipeline) -> dict[str, Any]:
    state = pipeline.snapshot()
    return {
        "queue": state["queue"],
        "breaker": {
            **state["circuit"],
            "history": [
                {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), "state": str(became)}
                for at, became in pipeline.breaker.history
            ],
        },
        "keys": state["keys"],
    }


def _costs(host: FeatureHost, totals: UsageTotals) -> dict[str, Any] | None:
    """What is known of money; None where there are no prices."""
    if host.usage_policy.pricer is None:
        return None
    ledger = getattr(host, "ledger", None)
    return {
        "usd": totals.cost,
        "priced_calls": totals.priced,
        "unpriced_calls": totals.unpriced,
        "usd_by_model": {name: model.cost for name, model in totals.models.items() if model.cost},
        "usd_by_key": dict(totals.costs_by_key),
        "ledger": None if ledger is None else ledger.snapshot(),
    }


def _budgets(host: FeatureHost) -> list[dict[str, Any]]:
    budgets = getattr(host, "budgets", None)
    return list(budgets()) if callable(budgets) else []


def _policy(host: FeatureHost, name: str) -> dict[str, Any]:
    """Whether an optional policy is there, and its figures."""
    policy = host.front.get(name)
    if policy is None:
        return {"enabled": False, "enable_with": _ENABLED_BY[name]}
    tells = getattr(host, _FIGURES.get(name, ""), None)
    found = tells() if callable(tells) else {}
    if name.endswith("_cache"):
        found = found.get(name.removesuffix("_cache"), {})
    return {"enabled": True, "figures": {"limits": found} if isinstance(found, list) else found}
