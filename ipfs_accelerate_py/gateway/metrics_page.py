"""The text of ``/metrics``.

The names follow Prometheus' rules (https://prometheus.io/docs/practices/naming/): ``promtool check metrics`` has
nothing to say. Labels come from this gateway's own tables, never unbounded from requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.gateway import metrics_backends, metrics_features, metrics_local
from ipfs_accelerate_py.gateway.families import PREFIX, counter, histograms
from ipfs_accelerate_py.gateway.front import GatewayFront
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["MetricsPage"]


class MetricsPage:
    """Makes the page. Importing Prometheus' client is put off until the first time somebody asks."""

    content_type = b"text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, metrics: GatewayMetrics, front: GatewayFront, draining: Callable[[], bool]) -> None:
        self._metrics = metrics
        self._front = front
        self._table = front.table
        self._backends = front.table.backends
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
        yield from metrics_backends.usage(self._backends)
        yield from metrics_backends.pipelines(self._backends)
        yield from metrics_backends.keys(self._backends)
        yield from metrics_local.models(self._table)
        yield from metrics_features.counted(self._metrics)
        yield from metrics_features.switched_on(self._front)

    # --- the gateway ---------------------------------------------------------------------------------------------

    def _gateway(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        metrics = self._metrics
        build = InfoMetricFamily(PREFIX + "build", "Version of the package that runs.")
        build.add_metric((), {"version": __version__})
        yield build
        requests = counter("gateway_requests", "Requests answered, by route, model and status.", "route model status")
        for (route, model, status), count in metrics.requests.items():
            requests.add_metric((route, model, str(status)), count)
        yield requests
        refused = counter("gateway_refused_requests", "Refused as malformed, too large or too slow.", "status")
        for status, count in metrics.refused.items():
            refused.add_metric((str(status),), count)
        yield refused
        yield histograms(
            "gateway_request_duration_seconds",
            "From a request's head to the end of its answer.",
            metrics.durations,
        )
        yield histograms(
            "gateway_first_content_seconds", "Time from a request's head to a stream's start.", metrics.first_contents
        )
        for name, text, value in (
            ("gateway_requests_in_flight", "Requests being answered.", metrics.in_flight),
            ("gateway_streams_in_flight", "Streams being written.", metrics.streams),
            ("gateway_draining", "Whether the gateway is about to stop.", int(self._draining())),
        ):
            yield GaugeMetricFamily(PREFIX + name, text, value)
        for name, text, value in (
            ("gateway_client_disconnects", "Clients that left before their answer was complete.", metrics.disconnects),
            ("gateway_stream_errors", "Streams that ended in an error after their start.", metrics.stream_errors),
        ):
            family = counter(name, text, "")
            family.add_metric((), value)
            yield family
