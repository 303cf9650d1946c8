"""Usage: what every call came to, as the caller saw it. Plain counters on the hot path, read at leisure."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.pipeline.stack import Stack
from ipfs_accelerate_py.records import CallRecord, Observer, Pricer
from ipfs_accelerate_py.stream import unheld
from ipfs_accelerate_py.types import Call, Cost, Reply, Usage

__all__ = ["LATENCY_BUCKETS", "Histogram", "ModelUsage", "UsagePolicy", "UsageTotals"]

#: Upper bounds of the latency histogram, in seconds.
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Counts of durations (seconds) in fixed buckets; the last is everything above."""

    __slots__ = ("count", "counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.count = 0
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.count += 1
        self.total += seconds

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket that holds this share of the durations; 0 where there are none."""
        rank = share * self.count
        for bound, count in zip(LATENCY_BUCKETS, self.counts, strict=False):
            rank -= count
            if rank <= 0:
                return bound if self.count else 0.0
        return LATENCY_BUCKETS[-1]


class ModelUsage:
    """Totals of one model."""

    __slots__ = (
        "cached_tokens",
        "cost",
        "failures",
        "first_content",
        "input_tokens",
        "latency",
        "output_tokens",
        "reasoning_tokens",
        "requests",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.reasoning_tokens = 0
        #: US dollars, of calls whose price is known.
        self.cost = 0.0
        self.latency = Histogram()
        self.first_content = Histogram()

    def add(self, usage: Usage) -> None:
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.reasoning_tokens += usage.reasoning_tokens

    def as_dict(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "failures": self.failures,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "cost": self.cost,
            "mean_latency": self.latency.total / self.latency.count if self.latency.count else 0.0,
            "p95_latency": self.latency.quantile(0.95),
        }


class UsageTotals:
    """Totals of one target. The number of models kept apart is bounded: names come from callers."""

    MOST_MODELS = 512

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again from zero; calls in flight are still counted when they end."""
        self.requests = 0
        self.successes = 0
        self.failures = 0
        self.cancelled = 0
        self.retries = 0
        self.skipped_events = 0
        #: US dollars, of calls whose price is known; in all, and by name of the provider's key.
        self.cost = 0.0
        self.costs_by_key: dict[str, float] = {}
        #: Answers whose price is known, and those whose is not (none of either where nobody tracks costs).
        self.priced = 0
        self.unpriced = 0
        self.errors: dict[str, int] = {}
        self.models: dict[str, ModelUsage] = {}
        self.queue_wait = [Histogram(), Histogram(), Histogram()]

    def model(self, name: str) -> ModelUsage:
        found = self.models.get(name)
        if found is None:
            if len(self.models) >= self.MOST_MODELS:
                name = "(other)"
                if name in self.models:
                    return self.models[name]
            found = self.models[name] = ModelUsage()
        return found

    def price(self, model: ModelUsage, reply: Reply) -> None:
        """Count what an answer cost."""
        if reply.cost is None:
            self.unpriced += 1
            return
        self.priced += 1
        dollars = reply.cost.total
        self.cost += dollars
        model.cost += dollars
        key = reply.key_name or "none"
        self.costs_by_key[key] = self.costs_by_key.get(key, 0.0) + dollars

    def snapshot(self) -> dict[str, Any]:
        """Requests and how they ended, tokens in all and by model, errors by kind."""
        models = {name: usage.as_dict() for name, usage in self.models.items()}
        return {
            "total_requests": self.requests,
            "successful_requests": self.successes,
            "failed_requests": self.failures,
            "cancelled_requests": self.cancelled,
            "retries": self.retries,
            "skipped_events": self.skipped_events,
            "input_tokens": sum(usage.input_tokens for usage in self.models.values()),
            "output_tokens": sum(usage.output_tokens for usage in self.models.values()),
            "total_tokens": sum(usage.input_tokens + usage.output_tokens for usage in self.models.values()),
            "cost": self.cost,
            "priced_requests": self.priced,
            "unpriced_requests": self.unpriced,
            "errors": dict(self.errors),
            "models": models,
        }


class UsagePolicy:
    """The outermost policy: it sees what the caller sees, the whole latency, and every way to end.

    ``stack`` holds what is inside. ``observers`` hear of every call that is over, with its record; ``pricer`` tells
    what it cost. Of the pipelines of a router's targets neither is set: a call is told of once.
    """

    def __init__(self, stack: Stack, totals: UsageTotals, clock: Callable[[], float] = time.monotonic) -> None:
        self._stack = stack
        self.totals = totals
        self._clock = clock
        self.in_flight = 0
        self.observers: list[Observer] = []
        self.pricer: Pricer | None = None

    async def __call__(self, call: Call) -> Reply:
        began = self._clock()
        self.in_flight += 1
        try:
            reply = await self._stack.handler(call)
        except BaseException as error:
            self._record(call, began, None, None, error)
            raise
        reply.request_id = call.request_id
        reply.latency = self._clock() - began
        if reply.stream is None:
            self._record(call, began, reply, reply.usage, None)
        else:
            self.totals.model(call.request.model).first_content.add(reply.latency)
            kept = unheld(reply)
            reply.stream.add_done_callback(lambda stream, error: self._record(call, began, kept(), stream.usage, error))
        return reply

    def _record(
        self, call: Call, began: float, reply: Reply | None, usage: Usage | None, error: BaseException | None
    ) -> None:
        if self.pricer is not None and reply is not None and usage is not None and not reply.cache:
            asked = reply.target_model or call.request.model
            if call.alias:
                reply.cost = self.pricer.cost(reply.backend, asked, usage, call.alias)
            else:
                reply.cost = self.pricer.cost(reply.backend, asked, usage)
        self._count(call, began, reply, usage, error)
        if self.observers:
            record = self._made(call, began, reply, usage, error)
            for observer in self.observers:
                observer(record)

    def _made(
        self, call: Call, began: float, reply: Reply | None, usage: Usage | None, error: BaseException | None
    ) -> CallRecord:
        latency = self._clock() - began
        outcome = "success" if error is None else "failure"
        last = call.attempts[-1] if call.attempts else None
        if isinstance(error, asyncio.CancelledError):
            outcome, kind = "cancelled", ""
        else:
            kind = "" if error is None else type(error).__name__
        record = CallRecord(
            request_id=call.request_id,
            started=time.time() - latency,
            operation=call.operation,
            alias=call.alias or call.request.model,
            model=call.request.model,
            tenant=call.tenant,
            caller=call.caller,
            priority=call.priority,
            stream=call.stream,
            outcome=outcome,
            error=kind,
            status=getattr(error, "status", None),
            latency=latency,
            queued=call.queued,
            usage=usage or Usage(),
            tags=call.tags,
        )
        if reply is not None:
            record.backend = reply.backend
            record.model = reply.target_model or record.model
            record.attempts = reply.attempts
            record.cache = reply.cache
            record.cost = reply.cost
            record.key = reply.key_name or ""
            record.upstream_request_id = reply.upstream_request_id or ""
            record.first_content = reply.latency if reply.stream is not None else None
            if reply.cache and self.pricer is not None:
                saved = self.pricer.cost(reply.backend, record.model, record.usage)
                record.saved = 0.0 if saved is None else saved.total
                record.cost = Cost(0.0)
        else:
            record.attempts = len(call.attempts)
            record.backend = getattr(error, "backend", None) or ""
            if last is not None:
                record.backend = record.backend or last.backend
                record.model = last.model or record.model
                record.key = last.key or ""
            record.upstream_request_id = getattr(error, "request_id", None) or ""
        return record

    def _count(
        self, call: Call, began: float, reply: Reply | None, usage: Usage | None, error: BaseException | None
    ) -> None:
        totals = self.totals
        self.in_flight -= 1
        totals.requests += 1
        totals.retries += max(0, len(call.attempts) - (error is not None))
        if call.queued:
            totals.queue_wait[call.priority].add(call.queued)
        model = totals.model(call.request.model)
        model.requests += 1
        if usage is not None and (reply is None or not reply.cache):
            model.add(usage)
        if self.pricer is not None and reply is not None and not reply.cache:
            totals.price(model, reply)
        if error is None:
            totals.successes += 1
            model.latency.add(self._clock() - began)
            return
        if isinstance(error, asyncio.CancelledError):
            totals.cancelled += 1
            return
        totals.failures += 1
        model.failures += 1
        kind = type(error).__name__ if isinstance(error, AccelerateError) else "InternalError"
        totals.errors[kind] = totals.errors.get(kind, 0) + 1
