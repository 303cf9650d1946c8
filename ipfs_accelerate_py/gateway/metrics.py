"""What a gateway counts, and Prometheus' text of it.

On the way of a request there are plain additions and nothing else; names, labels and text are made when somebody asks.
The names follow Prometheus' rules (https://prometheus.io/docs/practices/naming/): ``promtool check metrics`` has
nothing to say. Labels come from this gateway's own tables, never unbounded from requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.pipeline.usage import LATENCY_BUCKETS, Histogram
from ipfs_accelerate_py.types import Priority

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, Metric

    from ipfs_accelerate_py.backends import Backend

__all__ = ["NO_MODEL", "GatewayMetrics", "MetricsPage"]

#: Label of requests that were refused before they were known to be for a model.
NO_MODEL = ""
OTHER_MODELS = "(other)"
#: Models kept apart; ``backend/model`` names come from clients.
MOST_MODELS = 512

_PREFIX = "ipfs_accelerate_"


class GatewayMetrics:
    """The counters. ``route`` is a path of ours, ``model`` a name that was found, ``status`` the HTTP status.

    A status of 499 (nginx's word) is a client that left before its answer was complete.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.first_contents: dict[tuple[str, str], Histogram] = {}
        self.in_flight = 0
        self.streams = 0
        self.stream_errors = 0
        self.disconnects = 0
        #: Refused by the HTTP layer before there was a request, by status.
        self.refused: dict[int, int] = {}
        self._models: set[str] = set()

    def done(self, route: str, model: str, status: int, seconds: float) -> None:
        """A request has been answered, or its client has left (499)."""
        model = self._bounded(model)
        key = (route, model, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.durations.get((route, model))
        if histogram is None:
            histogram = self.durations[route, model] = Histogram()
        histogram.add(seconds)
        if status == 499:
            self.disconnects += 1

    def first_content(self, route: str, model: str, seconds: float) -> None:
        """A stream's first content is here."""
        model = self._bounded(model)
        histogram = self.first_contents.get((route, model))
        if histogram is None:
            histogram = self.first_contents[route, model] = Histogram()
        histogram.add(seconds)

    def refuse(self, status: int) -> None:
        """The HTTP layer has refused what was no proper request."""
        self.refused[status] = self.refused.get(status, 0) + 1

    def _bounded(self, model: str) -> str:
        if model in self._models:
            return model
        if len(self._models) >= MOST_MODELS:
            return OTHER_MODELS
        self._models.add(model)
        return model


class MetricsPage:
    """Makes the page. Importing Prometheus' client is put off until the first time somebody asks."""

    content_type = b"text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, metrics: GatewayMetrics, backends: Mapping[str, Backend], draining: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._backends = backends
        self._draining = draining
        self._registry: Any = None

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            registry = self._registry = CollectorRegistry(auto_describe=False)
            registry.register(self)
            ProcessCollector(registry=registry)
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterator[Metric]:
        """Prometheus' client calls this."""
        yield from self._gateway()
        yield from self._usage()
        yield from self._pipelines()
        yield from self._keys()

    # --- the gateway ---------------------------------------------------------------------------------------------

    def _gateway(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        metrics = self._metrics
        build = InfoMetricFamily(_PREFIX + "build", "Version of the package that runs.")
        build.add_metric((), {"version": __version__})
        yield build
        requests = _counter("gateway_requests", "Requests answered, by route, model and status.", "route model status")
        for (route, model, status), count in metrics.requests.items():
            requests.add_metric((route, model, str(status)), count)
        yield requests
        refused = _counter("gateway_refused_requests", "Refused as malformed, too large or too slow.", "status")
        for status, count in metrics.refused.items():
            refused.add_metric((str(status),), count)
        yield refused
        yield _histograms(
            "gateway_request_duration_seconds",
            "From a request's head to the end of its answer.",
            metrics.durations,
        )
        yield _histograms(
            "gateway_first_content_seconds", "Time from a request's head to a stream's start.", metrics.first_contents
        )
        for name, text, value in (
            ("gateway_requests_in_flight", "Requests being answered.", metrics.in_flight),
            ("gateway_streams_in_flight", "Streams being written.", metrics.streams),
            ("gateway_draining", "Whether the gateway is about to stop.", int(self._draining())),
        ):
            yield GaugeMetricFamily(_PREFIX + name, text, value)
        for name, text, value in (
            ("gateway_client_disconnects", "Clients that left before their answer was complete.", metrics.disconnects),
            ("gateway_stream_errors", "Streams that ended in an error after their start.", metrics.stream_errors),
        ):
            counter = _counter(name, text, "")
            counter.add_metric((), value)
            yield counter

    # --- backends ------------------------------------------------------------------------------------------------

    def _usage(self) -> Iterator[Metric]:
        calls = _counter("backend_calls", "Calls of a backend, by how they ended.", "backend outcome")
        errors = _counter("backend_errors", "Calls that failed, by kind of error.", "backend error")
        retries = _counter("backend_retries", "Attempts after the first one.", "backend")
        skipped = _counter("backend_skipped_events", "Events of streams that could not be read.", "backend")
        tokens = _counter("backend_tokens", "Tokens, as the backend counted them.", "backend model type")
        for label, backend in self._backends.items():
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
        yield from (calls, errors, retries, skipped, tokens)

    def _pipelines(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        active = GaugeMetricFamily(_PREFIX + "backend_slots_in_use", "Calls that hold a slot.", labels=("backend",))
        slots = GaugeMetricFamily(_PREFIX + "backend_slots", "Slots (max_concurrent_requests).", labels=("backend",))
        queued = GaugeMetricFamily(
            _PREFIX + "backend_queue_depth", "Calls that wait for a slot.", labels=("backend", "priority")
        )
        state = GaugeMetricFamily(
            _PREFIX + "backend_circuit_state", "1 for the state of the breaker.", labels=("backend", "state")
        )
        opened = _counter("backend_circuit_opened", "Times the breaker opened.", "backend")
        waits: dict[tuple[str, ...], Histogram] = {}
        for label, backend in self._backends.items():
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
        yield _histograms(
            "backend_queue_wait_seconds", "Time that calls waited for a slot, of those that had to.", waits,
            labels=("backend", "priority"),
        )  # fmt: skip

    def _keys(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        labels = ("backend", "key")
        usable = GaugeMetricFamily(_PREFIX + "backend_key_usable", "0 while it rests after a refusal.", labels=labels)
        active = GaugeMetricFamily(_PREFIX + "backend_key_calls_in_flight", "Calls that use the key.", labels=labels)
        requests = _counter("backend_key_requests", "Attempts made with the key.", "backend key")
        failures = _counter("backend_key_failures", "Attempts with the key that failed.", "backend key")
        for label, backend in self._backends.items():
            for name, key in backend.pipeline.keys.snapshot().items():
                usable.add_metric((label, name), int(key["available_in"] <= 0))
                active.add_metric((label, name), key["active"])
                requests.add_metric((label, name), key["requests"])
                failures.add_metric((label, name), key["failures"])
        yield from (usable, active, requests, failures)


def _counter(name: str, text: str, labels: str) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(_PREFIX + name, text, labels=labels.split())


def _histograms(
    name: str,
    text: str,
    histograms: Mapping[tuple[str, ...], Histogram] | Mapping[tuple[str, str], Histogram],
    labels: tuple[str, ...] = ("route", "model"),
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(_PREFIX + name, text, labels=labels)
    for values, histogram in histograms.items():
        total = 0
        buckets = []
        for bound, count in zip((*LATENCY_BUCKETS, math.inf), histogram.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == math.inf else f"{bound:g}", total))
        family.add_metric(values, buckets, histogram.total)
    return family
