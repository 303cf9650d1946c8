"""Making Prometheus' families of metrics: the names' prefix, and counters and histograms of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.pipeline.usage import LATENCY_BUCKETS, Histogram

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["PREFIX", "counter", "gauge", "histograms"]

PREFIX = "ipfs_accelerate_"


def counter(name: str, text: str, labels: str) -> CounterMetricFamily:
    """What only grows; Prometheus' client adds ``_total``."""
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(PREFIX + name, text, labels=labels.split())


def gauge(name: str, text: str, labels: str = "") -> GaugeMetricFamily:
    """A value that goes up and down."""
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(PREFIX + name, text, labels=labels.split())


def histograms(
    name: str,
    text: str,
    found: Mapping[Any, Histogram],
    labels: tuple[str, ...] = ("route", "model"),
    bounds: tuple[float, ...] = LATENCY_BUCKETS,
) -> Metric:
    """Durations by labels."""
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for values, histogram in found.items():
        total = 0
        buckets = []
        for bound, count in zip((*bounds, math.inf), histogram.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == math.inf else f"{bound:g}", total))
        family.add_metric(values, buckets, histogram.total)
    return family
