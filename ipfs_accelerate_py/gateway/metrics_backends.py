"""What metrics say of backends: calls, tokens, queues, breakers, keys. Made when somebody asks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ipfs_accelerate_py.gateway.families import PREFIX, counter, histograms
from ipfs_accelerate_py.pipeline.usage import Histogram
from ipfs_accelerate_py.types import Priority

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from ipfs_accelerate_py.backends import Backend

__all__ = ["keys", "pipelines", "usage"]


def usage(backends: Mapping[str, Backend]) -> Iterator[Metric]:
    calls = counter("backend_calls", "Calls of a backend, by how they ended.", "backend outcome")
    errors = counter("backend_errors", "Calls that failed, by kind of error.", "backend error")
    retries = counter("backend_retries", "Attempts after the first one.", "backend")
    skipped = counter("backend_skipped_events", "Events of streams that could not be read.", "backend")
    limits = counter("upstream_rate_limits", "Calls that ended in a rate limit of the service.", "backend")
    tokens = counter("backend_tokens", "Tokens, as the backend counted them.", "backend model type")
    for label, backend in backends.items():
        totals = backend.pipeline.totals
        for outcome, count in (
            ("success", totals.successes),
            ("failure", totals.failures),
            ("cancelled", totals.cancelled),
        ):
            calls.add_metric((label, outcome), count)
        for error, count in totals.errors.items():
            errors.add_metric((label, error), count)
        retries.add_metric((label,), totals.retries)
        limits.add_metric((label,), totals.errors.get("RateLimited", 0))
        if backend.http is not None:
            skipped.add_metric((label,), backend.http.skipped_events)
        for model, usage in totals.models.items():
            if not model:
                continue
            for kind, count in (
                ("input", usage.input_tokens),
                ("output", usage.output_tokens),
                ("cached", usage.cached_tokens),
                ("reasoning", usage.reasoning_tokens),
            ):
                tokens.add_metric((label, model, kind), count)
    yield from (calls, errors, retries, skipped, limits, tokens)


def pipelines(backends: Mapping[str, Backend]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    active = GaugeMetricFamily(PREFIX + "backend_slots_in_use", "Calls that hold a slot.", labels=("backend",))
    slots = GaugeMetricFamily(PREFIX + "backend_slots", "Slots (max_concurrent_requests).", labels=("backend",))
    queued = GaugeMetricFamily(
        PREFIX + "backend_queue_depth", "Calls that wait for a slot.", labels=("backend", "priority")
    )
    state = GaugeMetricFamily(
        PREFIX + "backend_circuit_state", "1 for the state of the breaker.", labels=("backend", "state")
    )
    opened = counter("backend_circuit_opened", "Times the breaker opened.", "backend")
    waits: dict[tuple[str, ...], Histogram] = {}
    for label, backend in backends.items():
        pipeline = backend.pipeline
        queue = pipeline.admission.snapshot()
        active.add_metric((label,), queue["active"])
        slots.add_metric((label,), queue["capacity"])
        now = pipeline.breaker.state
        for each in ("CLOSED", "OPEN", "HALF_OPEN"):
            state.add_metric((label, each), int(now == each))
        opened.add_metric((label,), pipeline.breaker.opened_count)
        for priority in Priority:
            queued.add_metric((label, priority.name), queue["queued_by_priority"][priority.name])
            waits[label, priority.name] = pipeline.totals.queue_wait[priority]
    yield from (active, slots, queued, state, opened)
    yield histograms(
        "backend_queue_wait_seconds", "Time that calls waited for a slot, of those that had to.", waits,
        labels=("backend", "priority"),
    )  # fmt: skip


def keys(backends: Mapping[str, Backend]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    labels = ("backend", "key")
    usable = GaugeMetricFamily(PREFIX + "backend_key_usable", "0 while it rests after a refusal.", labels=labels)
    active = GaugeMetricFamily(PREFIX + "backend_key_calls_in_flight", "Calls that use the key.", labels=labels)
    requests = counter("backend_key_requests", "Attempts made with the key.", "backend key")
    failures = counter("backend_key_failures", "Attempts with the key that failed.", "backend key")
    ceiling = GaugeMetricFamily(
        PREFIX + "backend_concurrency_limit", "Calls at once that the key has been found to bear.", labels=labels
    )
    for label, backend in backends.items():
        for name, key in backend.pipeline.keys.snapshot().items():
            if (most := key.get("concurrency_limit")) is not None and most < math.inf:
                ceiling.add_metric((label, name), most)
            usable.add_metric((label, name), int(key["available_in"] <= 0))
            active.add_metric((label, name), key["active"])
            requests.add_metric((label, name), key["requests"])
            failures.add_metric((label, name), key["failures"])
    yield from (usable, active, requests, failures, ceiling)
