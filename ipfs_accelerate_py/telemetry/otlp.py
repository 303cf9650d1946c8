"""Providers that export by OTLP over HTTP, for programs that have not set up OpenTelemetry themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ipfs_accelerate_py.telemetry.extras import require

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["meter_provider", "tracer_provider"]

#: Seconds that one export may take, attempts after the first included.
TIMEOUT = 10.0


def tracer_provider(
    endpoint: str, *, headers: Mapping[str, str] | None = None, service: str = "ipfs-accelerate", ratio: float = 1.0
) -> TracerProvider:
    """Spans to ``endpoint``/v1/traces, in batches, from a thread of OpenTelemetry's.

    ``headers`` are sent along (a collector's key). Of calls without a parent the share ``ratio`` is sampled; a call
    that has a parent is sampled where that is.
    """
    require("opentelemetry.sdk.trace")
    require("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    made = TracerProvider(
        resource=Resource.create({"service.name": service}),
        sampler=None if ratio >= 1 else ParentBasedTraceIdRatio(ratio),
    )
    exporter = OTLPSpanExporter(_url(endpoint, "traces"), headers=dict(headers or {}), timeout=TIMEOUT)
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def meter_provider(
    endpoint: str, *, headers: Mapping[str, str] | None = None, service: str = "ipfs-accelerate", interval: float = 60.0
) -> MeterProvider:
    """Metrics to ``endpoint``/v1/metrics, every ``interval`` seconds."""
    require("opentelemetry.sdk.metrics")
    require("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    exporter = OTLPMetricExporter(_url(endpoint, "metrics"), headers=dict(headers or {}), timeout=TIMEOUT)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=interval * 1000)
    return MeterProvider([reader], resource=Resource.create({"service.name": service}))


def _url(endpoint: str, signal: str) -> str:
    return endpoint if endpoint.endswith(f"/v1/{signal}") else f"{endpoint.rstrip('/')}/v1/{signal}"
