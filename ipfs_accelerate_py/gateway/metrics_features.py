"""What metrics say of fallbacks, caches, costs, limits, the ledger and the gateway's own time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.gateway.families import counter, gauge, histograms
from ipfs_accelerate_py.gateway.front import GatewayFront
from ipfs_accelerate_py.gateway.metrics import OVERHEAD_BUCKETS, GatewayMetrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["counted", "switched_on"]


def counted(metrics: GatewayMetrics) -> Iterator[Metric]:
    """What the gateway has counted itself."""
    fallbacks = counter("fallbacks", "Calls of an alias that went on to another target.", "model reason")
    for (model, reason), count in metrics.fallbacks.items():
        fallbacks.add_metric((model, reason), count)
    yield fallbacks
    broken = counter("mid_stream", "Streams of an alias that broke after their first content.", "model outcome")
    for (model, outcome), count in metrics.mid_streams.items():
        broken.add_metric((model, outcome), count)
    yield broken
    for name, text, found in (
        ("shared_calls", "Answers from an identical call in flight.", metrics.shared),
        ("unpriced_calls", "Answered calls whose price nobody knows.", metrics.unpriced),
    ):
        family = counter(name, text, "model")
        for model, count in found.items():
            family.add_metric((model,), count)
        yield family
    refusals = counter("limit_refusals", "Calls refused for limits and budgets of ours.", "scope limit")
    for labels, count in metrics.limited.items():
        refusals.add_metric(labels, count)
    yield refusals
    costs = counter("cost_usd", "US dollars spent.", "model tenant key")
    for whose, dollars in metrics.costs.items():
        costs.add_metric(whose, dollars)
    yield costs
    overheads = {(route,): histogram for route, histogram in metrics.overheads.items()}
    yield histograms(
        "overhead_seconds",
        "The gateway's own time of a request, without that of the service and of the queue.",
        overheads,
        ("route",),
        OVERHEAD_BUCKETS,
    )


def switched_on(front: GatewayFront) -> Iterator[Metric]:
    """What the policies say that are on; of those that are not, the names alone."""
    yield from _caches(front)
    yield from _hedges(front)
    yield from _budgets(front)
    yield from _ledger(front)
    yield from _batches(front)
    yield from _alerts(front)


def _caches(front: GatewayFront) -> Iterator[Metric]:
    hits = counter("cache_hits", "Answers from a cache.", "kind")
    misses = counter("cache_misses", "Calls that no answer was kept for.", "kind")
    entries = gauge("cache_entries", "Answers that are kept.", "kind")
    size = gauge("cache_bytes", "Bytes that they take.", "kind")
    saved = counter("cache_saved_usd", "US dollars that were not spent.", "kind")
    stats: dict[str, Any] = front.cache_stats() if _caching(front) else {}
    for kind in ("exact", "semantic"):
        found = stats.get(kind)
        if not isinstance(found, dict):
            continue
        hits.add_metric((kind,), found.get("hits", 0))
        misses.add_metric((kind,), found.get("misses", 0))
        entries.add_metric((kind,), found.get("entries", 0))
        size.add_metric((kind,), found.get("bytes", 0))
        saved.add_metric((kind,), found.get("cost_saved", 0))
    yield from (hits, misses, entries, size, saved)


def _caching(front: GatewayFront) -> bool:
    return front.front.get("exact_cache") is not None or front.front.get("semantic_cache") is not None


def _hedges(front: GatewayFront) -> Iterator[Metric]:
    hedges = counter("hedges", "Second attempts, by whether they answered first.", "model outcome")
    policy = front.front.get("hedging")
    for model, (hedged, won) in ({} if policy is None else policy.state.by_model).items():
        hedges.add_metric((model, "won"), won)
        hedges.add_metric((model, "lost"), max(0, hedged - won))
    yield hedges


def _budgets(front: GatewayFront) -> Iterator[Metric]:
    used = gauge("budget_used_ratio", "Share of a budget that is used, the most of its holders.", "budget")
    resets = gauge("budget_reset_seconds", "Seconds until a budget is whole again.", "budget")
    for name, share in front.budget_shares().items():
        used.add_metric((name,), share)
    ends = {each["budget"]: each["resets"] for each in front.budgets() if each["resets"] is not None}
    for name, instant in ends.items():
        resets.add_metric((name,), max(0.0, instant - time.time()))
    yield from (used, resets)


def _ledger(front: GatewayFront) -> Iterator[Metric]:
    pending = gauge("ledger_pending", "Records that are not in the ledger's database yet.")
    written = counter("ledger_written", "Records written to the ledger.", "")
    lost = counter("ledger_lost", "Records that could be kept nowhere.", "")
    ledger = front.ledger
    if ledger is not None:
        found = ledger.snapshot()
        pending.add_metric((), found["waiting"] + found["in_file"])
        written.add_metric((), found["written"])
        lost.add_metric((), found["lost"])
    yield from (pending, written, lost)


def _batches(front: GatewayFront) -> Iterator[Metric]:
    batches = counter("batches", "Upstream calls made of several callers' calls.", "operation")
    calls = counter("batched_calls", "Callers' calls in them.", "operation")
    policy = front.front.get("batching")
    for operation, (sent, merged) in ({} if policy is None else policy.batcher.totals.by_operation).items():
        batches.add_metric((operation.value,), sent)
        calls.add_metric((operation.value,), merged)
    yield from (batches, calls)


def _alerts(front: GatewayFront) -> Iterator[Metric]:
    firing = gauge("alerts_firing", "1 while the alert fires.", "alert")
    for name, state in front.alert_states().items():
        firing.add_metric((name,), int(state["state"] == "firing"))
    yield firing
