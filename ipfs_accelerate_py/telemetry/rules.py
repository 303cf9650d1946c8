"""Alert rules: what is watched, from where on it is too much, and when it is well again. Plain, checked data."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.records import CallRecord

__all__ = ["GAUGES", "METRICS", "AlertRule"]

#: What can be watched, and what its values are. Of the records of calls:
METRICS: dict[str, str] = {
    "error_rate": "failed calls by all calls, 0 to 1; those that callers gave up are not counted",
    "rate_limited": "calls that ended in a rate limit (429) by all calls, 0 to 1",
    "latency_p50": "seconds within which half of the answers were complete",
    "latency_p95": "seconds within which 95 % of the answers were complete",
    "latency_p99": "seconds within which 99 % of the answers were complete",
    "cost_per_hour": "US dollars an hour",
}
#: Of the state as it is: the greatest value among the targets, or budgets.
GAUGES: dict[str, str] = {
    "breaker_open": "1 while the breaker of a target is open",
    "budget_used": "share of a budget that is used, 0 to 1",
    "queue_depth": "calls that wait for a slot",
}
_SHARES = frozenset(("error_rate", "rate_limited", "budget_used"))
#: Of the ones above: where a rule that says nothing else is well again.
_RELIEF = 0.8
SEVERITIES = ("info", "warning", "critical")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlertRule:
    """One thing to watch.

    Attributes:
        metric: one of `METRICS` or `GAUGES`.
        above: from this value on it is too much.
        name: what messages call it; else made of the metric and what it is watched of.
        window: seconds that rates, latencies and costs are taken over.
        for_seconds: it must have been too much for so long before the alert fires, and well for so long
            before it is resolved.
        min_samples: calls in the window below which a rate or latency is no reason to fire.
        resolve_below: it is well again below this value; else below 80 % of ``above``. Between the two nothing changes.
        repeat: seconds after which an alert that still fires is told again; None: told once.
        cooldown: seconds between two messages of this rule at least; what comes and goes within them is not told.
        backend, model, tenant: only calls of these; ``model`` is the target's own name or the alias.
        severity: "info", "warning" or "critical": a word in the message.
    """

    metric: str
    above: float
    name: str = ""
    window: float = 300.0
    for_seconds: float = 60.0
    min_samples: int = 20
    resolve_below: float | None = None
    repeat: float | None = 3600.0
    cooldown: float = 60.0
    backend: str = ""
    model: str = ""
    tenant: str = ""
    severity: str = "warning"

    def __post_init__(self) -> None:
        if self.metric not in METRICS and self.metric not in GAUGES:
            raise ConfigurationError(
                f"there is nothing called {self.metric!r} to watch; there are: {', '.join((*METRICS, *GAUGES))}"
            )
        _number("above", self.above, 0.0)
        for name in ("for_seconds", "cooldown"):
            _number(name, getattr(self, name), 0.0)
        _number("window", self.window, 1.0)
        if self.repeat is not None:
            _number("repeat", self.repeat, 1.0)
        if isinstance(self.min_samples, bool) or not isinstance(self.min_samples, int) or self.min_samples < 0:
            raise ConfigurationError(f"min_samples must be a whole number of at least 0, not {self.min_samples!r}")
        if self.metric in _SHARES and self.metric != "budget_used" and self.above > 1:
            raise ConfigurationError(f"{self.metric} is a share from 0 to 1; it is never above {self.above!r}")
        if self.resolve_below is not None:
            _number("resolve_below", self.resolve_below, 0.0)
            if self.resolve_below > self.above:
                raise ConfigurationError(
                    f"resolve_below ({self.resolve_below!r}) must not be more than above ({self.above!r})"
                )
        if self.severity not in SEVERITIES:
            raise ConfigurationError(f"severity must be one of {', '.join(SEVERITIES)}, not {self.severity!r}")
        if self.metric in GAUGES and (self.model or self.tenant):
            raise ConfigurationError(f"{self.metric} is watched of targets and budgets, not of a model or tenant")
        for name in ("name", "backend", "model", "tenant"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"{name} must be a text, not {type(getattr(self, name)).__name__}")
        if not self.name:
            of = " ".join(part for part in (self.backend, self.model, self.tenant) if part)
            object.__setattr__(self, "name", f"{self.metric} {of}".strip())

    @property
    def well_below(self) -> float:
        """The value below which it is well again."""
        return self.above * _RELIEF if self.resolve_below is None else self.resolve_below

    def concerns(self, record: CallRecord) -> bool:
        """Whether a call is one of those watched."""
        return (
            (not self.backend or record.backend == self.backend)
            and (not self.tenant or record.tenant == self.tenant)
            and (not self.model or self.model in (record.model, record.alias))
        )


def _number(name: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise ConfigurationError(f"{name} must be a number of at least {least:g}, not {value!r}")
