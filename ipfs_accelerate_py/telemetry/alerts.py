"""Alerts: rules looked at every second or so, told when they begin and end to hold, and not over and over.

An alert fires when its value has been too much for ``for_seconds``, and is resolved when it has been below a lower
bound for as long: what swings between the two bounds changes nothing. What was told last is remembered, so that an
alert that comes and goes within the cooldown is not told at all. Nothing here waits: messages are handed to sinks.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.telemetry.rules import GAUGES, METRICS, AlertRule
from ipfs_accelerate_py.telemetry.windows import Window

__all__ = ["ALERT_LOGGER", "Alerts", "Gauge", "Notice", "Sink", "log_notice"]

ALERT_LOGGER = "ipfs_accelerate_py.alerts"
#: Rules that one set of alerts may have: each keeps a window of its own.
MOST_RULES = 200
_QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}

Gauge: TypeAlias = Callable[[], Mapping[str, float]]
"""Values as they are now, by name of target or budget."""


class Notice(msgspec.Struct, kw_only=True):
    """What is told of an alert: it fires (again, where ``repeated``), or it is resolved.

    ``since`` and ``at`` are seconds since 1970: when it began to be too much (or well), and now. ``of`` names the
    target or budget with the greatest value, of a gauge.
    """

    alert: str
    state: str
    severity: str
    metric: str
    value: float
    threshold: float
    samples: int
    since: float
    at: float
    of: str = ""
    repeated: bool = False

    @property
    def text(self) -> str:
        """One line for people."""
        what = f" of {self.of}" if self.of else ""
        over = f"over {self.samples} calls" if self.metric in METRICS else ""
        head, bound = self.severity.upper(), "at or above"
        if self.state == "resolved":
            head, bound = "RESOLVED", "back below"
        elif self.repeated:
            head += " (still)"
        line = f"{head}: {self.alert}: {self.metric}{what} is {self.value:.4g}, {bound} {self.threshold:.4g} {over}"
        return line.strip()


Sink: TypeAlias = Callable[[Notice], None]
"""Is given a notice, on the loop: it must neither wait nor raise."""


def log_notice(notice: Notice) -> None:
    """A sink: the log."""
    level = logging.INFO if notice.state == "resolved" else logging.WARNING
    logging.getLogger(ALERT_LOGGER).log(level, "%s", notice.text)


class _Watch:
    """One rule, what it has seen, and what was told of it."""

    def __init__(self, rule: AlertRule, sinks: tuple[Sink, ...]) -> None:
        self.rule = rule
        self.sinks = sinks
        self.forget()

    def forget(self) -> None:
        self.window = Window(self.rule.window)
        self.firing = False
        self.value = 0.0
        self.samples = 0
        self.of = ""
        #: Since when it has been as it must be for a change of state; None while it is not.
        self.since: float | None = None
        self.changed_at = 0.0
        self.told_firing = False
        self.told_at: float | None = None

    def look(self, now: float, gauges: Mapping[str, Gauge]) -> None:
        """Take the value, and change the state where it is time to."""
        rule = self.rule
        self._measure(now, gauges)
        if self.firing:
            changing = self.value < rule.well_below or (self.value == 0 == rule.well_below)
        else:
            enough = rule.metric in GAUGES or rule.metric == "cost_per_hour" or self.samples >= rule.min_samples
            changing = enough and self.value >= rule.above
        if not changing:
            self.since = None
            return
        if self.since is None:
            self.since = now
        if now - self.since >= rule.for_seconds:
            self.firing = not self.firing
            self.changed_at = self.since
            self.since = None

    def notice(self, now: float, wall: float) -> Notice | None:
        """What is to be told now."""
        rule = self.rule
        repeated = False
        if self.firing != self.told_firing:
            if self.told_at is not None and now - self.told_at < rule.cooldown:
                return None
        elif self.firing and rule.repeat is not None and self.told_at is not None and now - self.told_at >= rule.repeat:
            repeated = True
        else:
            return None
        self.told_firing = self.firing
        self.told_at = now
        return Notice(
            alert=rule.name,
            state="firing" if self.firing else "resolved",
            severity=rule.severity,
            metric=rule.metric,
            value=self.value,
            threshold=rule.above if self.firing else rule.well_below,
            samples=self.samples,
            since=wall - (now - self.changed_at),
            at=wall,
            of=self.of,
            repeated=repeated,
        )

    def _measure(self, now: float, gauges: Mapping[str, Gauge]) -> None:
        metric = self.rule.metric
        if metric in GAUGES:
            gauge = gauges.get(metric)
            found = gauge() if gauge is not None else {}
            if only := self.rule.backend:
                found = {name: value for name, value in found.items() if only in (name, name.partition("/")[0])}
            worst = max(found, key=lambda name: found[name], default="")
            self.value, self.of = found.get(worst, 0.0), worst
            return
        window = self.window
        self.samples = window.calls(now)
        if metric == "error_rate":
            self.value = window.failure_share(now)
        elif metric == "rate_limited":
            self.value = window.limited_share(now)
        elif metric == "cost_per_hour":
            self.value = window.cost_per_hour(now)
        else:
            self.value = window.latency(now, _QUANTILES[metric])


class Alerts:
    """The rules of one client, router or gateway. An observer of its calls; belongs to its loop.

    Args:
        gauges: by name in `GAUGES`: gives the values as they are.
        interval: seconds between two looks, while the loop runs.
        clock, wall: monotonic seconds, and seconds since 1970.
    """

    def __init__(
        self,
        gauges: Mapping[str, Gauge] | None = None,
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._gauges = dict(gauges or {})
        self._interval = interval
        self._clock = clock
        self._wall = wall
        self._watches: dict[str, _Watch] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fork = forks.generation()

    def add(self, rule: AlertRule, sinks: Iterable[Sink] = ()) -> None:
        """Watch this too; another rule of the same name goes. Without ``sinks`` it is told to the log."""
        if rule.name not in self._watches and len(self._watches) >= MOST_RULES:
            raise ConfigurationError(f"there are {MOST_RULES} alerts already, and no more can be had")
        self._watches[rule.name] = _Watch(rule, tuple(sinks) or (log_notice,))
        self._arm()

    def remove(self, name: str) -> None:
        """Watch this no more; nothing is told of it."""
        if self._watches.pop(name, None) is None:
            raise ConfigurationError(f"there is no alert {name!r}; there are: {', '.join(self._watches) or '(none)'}")
        if not self._watches:
            self.stop()

    def __len__(self) -> int:
        return len(self._watches)

    def __call__(self, record: CallRecord) -> None:
        """A call is over."""
        self._arm()
        if record.outcome == "cancelled":
            return  # it says nothing of anybody's health, and what it cost is seldom known
        failed = record.outcome == "failure"
        limited = failed and record.status == 429
        cost = 0.0 if record.cost is None else record.cost.total
        now = self._clock()
        for watch in self._watches.values():
            if watch.rule.metric in METRICS and watch.rule.concerns(record):
                watch.window.add(
                    now, failed=failed, limited=limited, latency=None if failed else record.latency, cost=cost
                )

    def evaluate(self) -> list[Notice]:
        """Look at every rule now; gives what was told. (The timer calls this.)"""
        now, wall = self._clock(), self._wall()
        told = []
        for watch in self._watches.values():
            watch.look(now, self._gauges)
            notice = watch.notice(now, wall)
            if notice is None:
                continue
            told.append(notice)
            for sink in watch.sinks:
                try:
                    sink(notice)
                except Exception:
                    logging.getLogger(ALERT_LOGGER).exception("an alert could not be told: %s", notice.alert)
        return told

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """By name of the alert: whether it fires, its value and its bounds."""
        return {
            name: {
                "state": "firing" if watch.firing else "pending" if watch.since is not None else "ok",
                "metric": watch.rule.metric,
                "value": watch.value,
                "above": watch.rule.above,
                "resolve_below": watch.rule.well_below,
                "samples": watch.samples,
                "of": watch.of,
                "severity": watch.rule.severity,
            }
            for name, watch in self._watches.items()
        }

    def sinks(self) -> list[Sink]:
        """All sinks, each once."""
        return list(dict.fromkeys(sink for watch in self._watches.values() for sink in watch.sinks))

    def stop(self) -> None:
        """Look no more, until the next call."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop = None

    def _arm(self) -> None:
        """Set the timer on the loop that runs here; in a forked child begin anew."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # rules are made before the program's loop: the first call sets it
        if self._fork != forks.generation():
            self._fork = forks.generation()
            self._loop = self._timer = None
            for watch in self._watches.values():
                watch.forget()  # what happened in the parent is told there
        if loop is not self._loop and self._watches:
            self.stop()
            self._loop = loop
            self._timer = loop.call_later(self._interval, _tick, weakref.ref(self), loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        self._timer = loop.call_later(self._interval, _tick, weakref.ref(self), loop)
        self.evaluate()


def _tick(reference: weakref.ref[Alerts], loop: asyncio.AbstractEventLoop) -> None:
    alerts = reference()
    if alerts is not None:  # else its client is gone
        alerts._tick(loop)
