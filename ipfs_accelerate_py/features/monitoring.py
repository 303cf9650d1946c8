"""Traces, metrics, alerts, a log of calls, and reports."""

from __future__ import annotations

import asyncio
import functools
import sys
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.features.host import FeatureHost
from ipfs_accelerate_py.features.reporting import gather

# Imported where it is asked for: who watches nothing does not wait for it.
if TYPE_CHECKING:
    from ipfs_accelerate_py.records import Pricer
    from ipfs_accelerate_py.telemetry.alerts import Alerts, Sink
    from ipfs_accelerate_py.telemetry.rules import AlertRule
    from ipfs_accelerate_py.telemetry.webhook import Post, Webhook

__all__ = ["MonitoringFeatures"]

# What was enabled is found among the front's policies and the observers: these outlive a fork, and are the same for
# every face of a client (`bound`).


class MonitoringFeatures(FeatureHost):
    """Traces, alerts and reports. OpenTelemetry needs the extra ``[otel]``; the rest needs nothing."""

    # --- OpenTelemetry -------------------------------------------------------------------------------------------

    def enable_tracing(
        self,
        *,
        provider: Any = None,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        service: str = "ipfs-accelerate",
        sample: float = 1.0,
        capture_content: bool = False,
        propagate: bool = True,
    ) -> None:
        """From now on every call is an OpenTelemetry span, by the semantic conventions for generative AI.

        Args:
            provider: OpenTelemetry's ``TracerProvider``. Without one, and without ``endpoint``, it is the global one.
            endpoint: a collector's base URL (``http://localhost:4318``); spans go there by OTLP over HTTP, in batches,
                from a thread of OpenTelemetry's, with ``headers`` and under the name ``service``.
            sample: share of the calls without a parent span that are exported to ``endpoint``.
            capture_content: put prompts and answers into the spans. Never keys.
            propagate: send ``traceparent`` and ``X-Request-Id`` to the upstream.

        Raises `MissingExtra` without the extra ``[otel]``, and `ConfigurationError` for values that make no sense.
        """
        from ipfs_accelerate_py.telemetry.tracing import Tracing

        _check_endpoint(provider, endpoint)
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            raise ConfigurationError(f"sample must be a number from 0 to 1, not {sample!r}")
        owned = None
        if endpoint is not None:
            from ipfs_accelerate_py.telemetry.otlp import tracer_provider

            provider = owned = tracer_provider(endpoint, headers=headers, service=service, ratio=float(sample))
        tracing = Tracing(
            provider,
            backend=getattr(self, "backend", ""),
            base_url=getattr(self, "base_url", ""),
            capture_content=bool(capture_content),
            propagate=bool(propagate),
            pricer=functools.partial(_pricer_of, self._anchor()),
        )
        tracing.owned = owned
        self._end_tracing()
        self.front.install("tracing", tracing)

    async def disable_tracing(self) -> None:
        """No more spans; those of a provider made by `enable_tracing` are exported first (ten seconds at most)."""
        owned = self._end_tracing()
        if owned is not None:
            await asyncio.to_thread(owned.shutdown)

    def _end_tracing(self) -> Any:
        policy = self.front.get("tracing")
        self.front.remove("tracing")
        return None if policy is None else policy.tracing.owned

    def enable_metrics(
        self,
        *,
        provider: Any = None,
        endpoint: str | None = None,
        headers: Mapping[str, str] | None = None,
        service: str = "ipfs-accelerate",
        interval: float = 60.0,
    ) -> None:
        """From now on durations, tokens and costs of calls are OpenTelemetry metrics, by the same conventions.

        Args are those of `enable_tracing` (``provider`` is a ``MeterProvider``); ``interval`` is the seconds between
        two exports to ``endpoint``.
        """
        from ipfs_accelerate_py.telemetry.metrics import MetricsObserver

        _check_endpoint(provider, endpoint)
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
            raise ConfigurationError(f"interval must be a number of seconds above 0, not {interval!r}")
        owned = None
        if endpoint is not None:
            from ipfs_accelerate_py.telemetry.otlp import meter_provider

            provider = owned = meter_provider(endpoint, headers=headers, service=service, interval=float(interval))
        observer = MetricsObserver(provider, base_url=getattr(self, "base_url", ""))
        observer.owned = owned
        self._end_metrics()
        self.usage_policy.observers.append(observer)

    async def disable_metrics(self) -> None:
        """No more metrics; those of a provider made by `enable_metrics` are exported a last time."""
        owned = self._end_metrics()
        if owned is not None:
            await asyncio.to_thread(owned.shutdown)

    def _end_metrics(self) -> Any:
        found = self._observer("metrics", "MetricsObserver")
        if found is None:
            return None
        self.usage_policy.observers.remove(found)
        return found.owned

    # --- alerts --------------------------------------------------------------------------------------------------

    def add_alert(
        self,
        /,
        rule: AlertRule | str,
        above: float | None = None,
        *,
        webhook: str | None = None,
        secret: str = "",
        headers: Mapping[str, str] | None = None,
        send: Post | None = None,
        log: bool = True,
        **options: Any,
    ) -> str:
        """Tell somebody when a value has been too much for a while, and when it is well again; gives the alert's name.

        ::

            client.add_alert("error_rate", above=0.05, webhook="https://hooks.slack.com/services/...")
            client.add_alert("latency_p95", above=8, model="gpt-4o", for_seconds=120)
            client.add_alert("breaker_open", above=1, for_seconds=0, severity="critical")

        Args:
            rule: what is watched (``error_rate``, ``rate_limited``, ``latency_p50``, ``latency_p95``, ``latency_p99``,
                ``cost_per_hour``, ``breaker_open``, ``budget_used``, ``queue_depth``), or a whole `AlertRule`.
            above: from this value on it is too much.
            webhook: a URL that JSON is posted to, as Slack takes it; with ``secret`` it is signed (docs/monitoring.md).
                ``headers`` are sent along; ``send`` sends in the place of our own transport.
            log: tell the log too (the logger ``ipfs_accelerate_py.alerts``).
            options: the other fields of `AlertRule` (``window``, ``for_seconds``, ``min_samples``, ...).
        """
        from ipfs_accelerate_py.telemetry.alerts import Alerts, log_notice
        from ipfs_accelerate_py.telemetry.rules import AlertRule

        if isinstance(rule, str):
            if above is None:
                raise ConfigurationError(f"an alert needs to know from which value on: above=... for {rule!r}")
            try:
                rule = AlertRule(metric=rule, above=above, **options)
            except TypeError as error:
                raise ConfigurationError(f"there is no such field of an alert: {error}") from None
        elif above is not None or options:
            raise ConfigurationError("the rule says it all: above and options are for a metric's name")
        sinks: list[Sink] = [log_notice] if log else []
        if webhook is not None:
            from ipfs_accelerate_py.telemetry.webhook import Webhook, post_over_http

            sinks.append(Webhook(webhook, secret=secret, headers=headers, post=send or post_over_http))
        alerts = self._alerts()
        if alerts is None:
            anchor = self._anchor()
            alerts = Alerts(
                {
                    "breaker_open": functools.partial(_breakers, anchor),
                    "queue_depth": functools.partial(_queues, anchor),
                    "budget_used": functools.partial(_budgets, anchor),
                }
            )
            self.usage_policy.observers.append(alerts)
        alerts.add(rule, sinks)
        return rule.name

    def remove_alert(self, name: str) -> None:
        """Watch this no more."""
        alerts = self._alerts()
        if alerts is None:
            raise ConfigurationError(f"there is no alert {name!r}; there are none")
        alerts.remove(name)
        if not alerts:
            self.usage_policy.observers.remove(alerts)

    def alert_states(self) -> dict[str, dict[str, Any]]:
        """By name of the alert: ``state`` ("ok", "pending", "firing"), its ``value`` and its bounds."""
        alerts = self._alerts()
        return {} if alerts is None else alerts.snapshot()

    async def flush_alerts(self) -> None:
        """Look at every alert now, and wait until what is to be told has been sent, or given up."""
        alerts = self._alerts()
        if alerts is None:
            return
        alerts.evaluate()
        for webhook in _webhooks(alerts):
            await webhook.drain()

    # --- the log, and reports ------------------------------------------------------------------------------------

    def log_calls(self, level: int | str | None = "INFO") -> None:
        """Log a line for each call that is over: ids, model, latency, outcome; never content. None: no more.

        The logger is ``ipfs_accelerate_py.calls``; its records have the same as a dictionary, ``record.call``.
        """
        from ipfs_accelerate_py.telemetry.call_log import CallLog

        made = None if level is None else CallLog(level)
        observers = self.usage_policy.observers
        found = self._observer("call_log", "CallLog")
        if found is not None:
            observers.remove(found)
        if made is not None:
            observers.append(made)

    def report(self, format: str = "dict") -> Any:
        """What happened so far: calls, failures, latencies, queue, breakers, keys, caches, batches, costs.

        ``format`` is "dict" for plain data, or "markdown" or "html" for people. What is not enabled is named as such.
        """
        from ipfs_accelerate_py.telemetry.report import REPORT_FORMATS, render

        if format not in REPORT_FORMATS:
            raise ConfigurationError(f"format must be one of {', '.join(REPORT_FORMATS)}, not {format!r}")
        alerts = self._alerts()
        data = gather(self, None if alerts is None else alerts.snapshot())
        return data if format == "dict" else render(data, format)

    def _anchor(self) -> weakref.ref[MonitoringFeatures]:
        return weakref.ref(getattr(self, "_whole", self))

    def _alerts(self) -> Alerts | None:
        found: Alerts | None = self._observer("alerts", "Alerts")
        return found

    def _observer(self, module: str, name: str) -> Any:
        """The observer of this class; what was never imported is none."""
        kind = getattr(sys.modules.get(f"ipfs_accelerate_py.telemetry.{module}"), name, ())
        return next((found for found in self.usage_policy.observers if isinstance(found, kind)), None)


def _webhooks(alerts: Alerts) -> list[Webhook]:
    from ipfs_accelerate_py.telemetry.webhook import Webhook

    return [sink for sink in alerts.sinks() if isinstance(sink, Webhook)]


# A client that goes out of scope is to go at once, so what watches it does not hold it.


def _pricer_of(anchor: weakref.ref[MonitoringFeatures]) -> Pricer | None:
    host = anchor()
    return None if host is None else host.usage_policy.pricer


def _breakers(anchor: weakref.ref[MonitoringFeatures]) -> dict[str, float]:
    host = anchor()
    found = {} if host is None else host.pipelines()
    return {name: float(pipeline.breaker.state == "OPEN") for name, pipeline in found.items()}


def _queues(anchor: weakref.ref[MonitoringFeatures]) -> dict[str, float]:
    host = anchor()
    found = {} if host is None else host.pipelines()
    return {name: float(sum(pipeline.admission.queued)) for name, pipeline in found.items()}


def _budgets(anchor: weakref.ref[MonitoringFeatures]) -> dict[str, float]:
    host = anchor()
    used = None if host is None else getattr(host, "budget_shares", None)
    return {} if used is None else dict(used())


def _check_endpoint(provider: Any, endpoint: Any) -> None:
    if endpoint is None:
        return
    if provider is not None:
        raise ConfigurationError("give a provider or an endpoint, not both")
    if not isinstance(endpoint, str) or not endpoint.startswith(("http://", "https://")):
        raise ConfigurationError("endpoint must be a collector's URL, as http://localhost:4318")
