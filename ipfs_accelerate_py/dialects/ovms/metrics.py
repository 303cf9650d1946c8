"""Prometheus' text format, as far as a model server's ``/metrics`` needs reading.

Source: Prometheus' documentation of its text-based exposition format.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ipfs_accelerate_py.errors import ProtocolError

__all__ = ["Sample", "read_metrics", "statistics"]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\s*\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Sample(NamedTuple):
    """One line of the page."""

    name: str
    labels: dict[str, str]
    value: float


def read_metrics(page: str) -> list[Sample]:
    """The samples of a page, in order. Raises `ProtocolError` for a line that is none."""
    return [_sample(line) for raw in page.split("\n") if (line := raw.strip()) and not line.startswith("#")]


def _sample(line: str) -> Sample:
    found = _SAMPLE.fullmatch(line)
    if found is None:
        raise ProtocolError(f"a line of the server's metrics cannot be read: {line[:100]!r}")
    try:
        value = float(found[3])
    except ValueError:
        raise ProtocolError(f"a line of the server's metrics has no value: {line[:100]!r}") from None
    labels = {}
    rest = found[2] or ""
    while rest.strip():
        label = _LABEL.match(rest)
        if label is None:
            raise ProtocolError(f"a line of the server's metrics has labels that cannot be read: {line[:100]!r}")
        labels[label[1]] = re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), label[2])
        rest = rest[label.end() :]
    return Sample(found[1], labels, value)


def statistics(samples: list[Sample]) -> dict[str, Any]:
    """What OpenVINO Model Server's samples come to: requests in all and by model, and every sample by name.

    Counted are requests of any kind: inferences, and questions for metadata and readiness.
    """
    models: dict[str, dict[str, float]] = {}
    metrics: dict[str, list[dict[str, Any]]] = {}
    for sample in samples:
        metrics.setdefault(sample.name, []).append({"labels": sample.labels, "value": sample.value})
        model = sample.labels.get("name")
        # Buckets are shares of one another, and have no sum.
        if model is None or not sample.name.startswith("ovms_") or sample.name.endswith("_bucket"):
            continue
        counts = models.setdefault(model, {})
        short = sample.name.removeprefix("ovms_")
        counts[short] = counts.get(short, 0.0) + sample.value

    def total(name: str) -> int:
        return int(sum(counts.get(name, 0.0) for counts in models.values()))

    good, bad = total("requests_success"), total("requests_fail")
    return {
        "total_requests": good + bad,
        "successful_requests": good,
        "failed_requests": bad,
        "current_requests": total("current_requests"),
        "models": models,
        "metrics": metrics,
    }
