"""OpenTelemetry's metrics of calls, by the semantic conventions for generative AI; an observer of their records.

``gen_ai.client.operation.duration``, ``gen_ai.client.operation.time_to_first_chunk`` and ``gen_ai.client.token.usage``
are theirs; cost and the wait in the queue, which they have no word for, are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.telemetry.conventions import operation_name, place, provider_name
from ipfs_accelerate_py.telemetry.extras import require
from ipfs_accelerate_py.telemetry.tracing import CANCELLED, SCOPE

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

__all__ = ["MetricsObserver"]

#: The conventions' own boundaries, in seconds and in tokens.
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
#: Models kept apart; their names may come from clients.
MOST_MODELS = 512
OTHER_MODELS = "(other)"


class MetricsObserver:
    """Hears of every call that is over.

    Args:
        provider: makes the meter; None is OpenTelemetry's global one.
        base_url: of a client with one backend.
    """

    def __init__(self, provider: MeterProvider | None = None, *, base_url: str = "") -> None:
        require("opentelemetry.metrics")
        from opentelemetry import metrics

        from ipfs_accelerate_py._version import __version__

        meter = metrics.get_meter(SCOPE, __version__, meter_provider=provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Time to receive the first chunk.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )  # fmt: skip
        self._queue = meter.create_histogram(
            "ipfs_accelerate.queue.duration", "s", "Time that calls waited for a slot, of those that had to.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._cost = meter.create_counter("ipfs_accelerate.cost", "{USD}", "Money spent.")
        self._cached = meter.create_counter(
            "ipfs_accelerate.cache.hits", "{call}", "Calls answered without a call of their own."
        )
        #: A provider that was made for this alone, and ends with it.
        self.owned: Any = None
        self._place = place(base_url)
        self._models: set[str] = set()

    def __call__(self, record: CallRecord) -> None:
        """Count one call."""
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation_name(record.operation),
            "gen_ai.provider.name": provider_name(record.backend),
            **self._place,
        }
        if record.model:
            attributes["gen_ai.request.model"] = self._bounded(record.model)
        if record.cache:
            self._cached.add(1, {**attributes, "ipfs_accelerate.cache": record.cache})
        else:
            usage = record.usage
            if usage.reported:
                self._tokens.record(usage.input_tokens, {**attributes, "gen_ai.token.type": "input"})
                self._tokens.record(usage.output_tokens, {**attributes, "gen_ai.token.type": "output"})
            if record.cost is not None and record.cost.total:
                self._cost.add(record.cost.total, attributes)
        if record.first_content is not None:
            self._first_chunk.record(record.first_content, attributes)
        if record.queued:
            self._queue.record(record.queued, {**attributes, "ipfs_accelerate.priority": record.priority.name})
        if record.outcome != "success":
            attributes["error.type"] = record.error or CANCELLED
        self._duration.record(record.latency, attributes)

    def _bounded(self, model: str) -> str:
        if model in self._models:
            return model
        if len(self._models) >= MOST_MODELS:
            return OTHER_MODELS
        self._models.add(model)
        return model
