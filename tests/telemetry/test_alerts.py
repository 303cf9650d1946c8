"""Alerts: they fire when it has been too much for a while, are resolved below a lower bound, and do not flap."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError, ServerError
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.telemetry import alerts as module
from ipfs_accelerate_py.telemetry.alerts import ALERT_LOGGER, Alerts, Notice
from ipfs_accelerate_py.telemetry.rules import AlertRule
from ipfs_accelerate_py.telemetry.windows import SLOTS, Window
from ipfs_accelerate_py.types import Cost
from tests.telemetry.support import make_record
from tests.upstreams import client_of


class Watched:
    """Alerts with a clock of their own, and what they told."""

    def __init__(self, rule: AlertRule, **gauges: Any) -> None:
        self.now = 1000.0
        self.told: list[Notice] = []
        self.alerts = Alerts(gauges, clock=lambda: self.now, wall=lambda: self.now + 1e9)
        self.alerts.add(rule, [self.told.append])

    def calls(self, good: int = 0, bad: int = 0, **fields: Any) -> None:
        for number in range(good + bad):
            failed = {"outcome": "failure", "error": "ServerError", "status": 503} if number < bad else {}
            self.alerts(make_record(**{**failed, **fields}))

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, with a look each second; gives the states told meanwhile."""
        before = len(self.told)
        for _ in range(int(seconds)):
            self.now += 1
            self.alerts.evaluate()
        return [notice.state for notice in self.told[before:]]


def rate(**fields: Any) -> AlertRule:
    return AlertRule(
        **{"metric": "error_rate", "above": 0.5, "window": 60, "for_seconds": 10, "min_samples": 10, "repeat": None,
           "cooldown": 0, **fields}
    )  # fmt: skip


def test_it_fires_after_a_while_and_is_resolved_below_the_lower_bound() -> None:
    watched = Watched(rate(resolve_below=0.2, severity="critical"))
    watched.calls(good=5, bad=15)
    assert watched.wait(9) == []
    assert watched.alerts.snapshot()["error_rate"]["state"] == "pending"
    assert watched.wait(3) == ["firing"]
    [told] = watched.told
    assert (told.alert, told.severity, told.value, told.samples) == ("error_rate", "critical", 0.75, 20)
    assert 9 <= told.at - told.since <= 11
    assert told.text == "CRITICAL: error_rate: error_rate is 0.75, at or above 0.5 over 20 calls"
    watched.calls(good=20)  # 0.375: no more too much, and not yet well
    assert watched.wait(30) == []
    assert watched.alerts.snapshot()["error_rate"]["state"] == "firing"
    assert watched.wait(60) == ["resolved"]  # the window is empty
    assert watched.told[-1].text.startswith("RESOLVED: error_rate")


def test_a_moment_is_no_reason_and_neither_are_few_calls() -> None:
    watched = Watched(rate(window=30))
    watched.calls(bad=9)
    assert watched.wait(40) == []
    watched.calls(bad=10)
    assert watched.wait(5) == []
    watched.calls(good=11)
    assert watched.wait(5) == []
    watched.calls(bad=12)
    assert watched.wait(8) == []  # the clock began anew


def test_what_swings_is_told_once() -> None:
    watched = Watched(rate(for_seconds=0, window=30, min_samples=0, cooldown=300))
    states = []
    for _ in range(20):
        watched.calls(bad=1)
        states += watched.wait(5)
        states += watched.wait(40)  # nothing is left of it: it would be resolved
    assert 0 < len(states) <= 4  # in 15 minutes; without the cooldown there were 40
    assert states[0] == "firing"


def test_it_is_told_again_at_most_every_so_often() -> None:
    watched = Watched(
        rate(metric="breaker_open", above=1, for_seconds=0, repeat=60), breaker_open=lambda: {"openai": 1.0}
    )
    assert watched.wait(200) == ["firing"] * 4
    assert [notice.repeated for notice in watched.told] == [False, True, True, True]
    assert "(still)" in watched.told[1].text


def test_gauges_name_the_worst() -> None:
    used = {"acme": 0.5, "other": 0.95}
    watched = Watched(rate(metric="budget_used", above=0.9, for_seconds=0), budget_used=lambda: used)
    assert watched.wait(1) == ["firing"]
    assert (watched.told[0].of, watched.told[0].value) == ("other", 0.95)
    assert "of other is 0.95" in watched.told[0].text
    used["other"] = 0.8
    assert watched.wait(5) == []
    used["other"] = 0.0
    used["acme"] = 0.1
    assert watched.wait(5) == ["resolved"]


def test_a_gauge_that_is_not_there_is_zero() -> None:
    assert Watched(rate(metric="budget_used", above=0.9, for_seconds=0)).wait(5) == []


def test_latencies_costs_and_rate_limits() -> None:
    slow = Watched(rate(metric="latency_p95", above=2.0, for_seconds=0))
    slow.calls(good=18, latency=0.1)
    slow.calls(bad=5, latency=60.0)  # a failure's time says nothing
    assert slow.wait(2) == []
    slow.calls(good=2, latency=5.0)
    assert slow.wait(2) == ["firing"]
    assert slow.told[0].value == pytest.approx(5.0, rel=0.11)

    spent = Watched(rate(metric="cost_per_hour", above=100, for_seconds=0))
    spent.calls(good=1, cost=Cost(1.5))
    assert spent.wait(2) == []
    spent.calls(good=1, cost=Cost(0.5))
    assert spent.wait(2) == ["firing"]
    assert spent.told[0].value == pytest.approx(120)

    limited = Watched(rate(metric="rate_limited", above=0.2, for_seconds=0))
    limited.calls(good=8)
    limited.calls(bad=1)
    assert limited.wait(2) == []
    limited.calls(bad=3, status=429, error="RateLimited")
    assert limited.wait(2) == ["firing"]


def test_only_what_it_concerns_is_counted() -> None:
    watched = Watched(rate(model="smart", tenant="acme", for_seconds=0))
    watched.calls(bad=50)
    watched.calls(bad=50, alias="smart")
    watched.calls(good=10, bad=9, alias="smart", tenant="acme")
    watched.calls(bad=50, alias="smart", tenant="acme", outcome="cancelled")
    assert watched.wait(2) == []
    watched.calls(bad=2, alias="smart", tenant="acme")
    assert watched.wait(2) == ["firing"]
    assert watched.told[0].alert == "error_rate smart acme"


def test_a_sink_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(rate(for_seconds=0))

    def broken(notice: Notice) -> None:
        raise RuntimeError("no")

    watched.alerts.add(rate(name="other", for_seconds=0), [broken, watched.told.append])
    watched.calls(bad=20)
    with caplog.at_level(logging.CRITICAL, ALERT_LOGGER):
        assert watched.wait(1) == ["firing", "firing"]


@pytest.mark.parametrize(
    "fields",
    [
        {"metric": "weather"},
        {"above": "much"},
        {"above": 2},
        {"resolve_below": 0.6},
        {"window": 0},
        {"for_seconds": -1},
        {"min_samples": 1.5},
        {"severity": "loud"},
        {"repeat": 0},
        {"metric": "breaker_open", "model": "m"},
        {"tenant": 7},
    ],
)
def test_wrong_rules_are_refused(fields: Any) -> None:
    with pytest.raises(ConfigurationError):
        rate(**fields)


def test_rules_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RULES", 2)
    alerts = Alerts()
    alerts.add(rate(name="a"))
    alerts.add(rate(name="b"))
    alerts.add(rate(name="b"))
    with pytest.raises(ConfigurationError):
        alerts.add(rate(name="c"))


def test_a_window_is_bounded_and_forgets() -> None:
    window = Window(60)
    for second in range(10_000):
        window.add(second, failed=second % 2 == 0, limited=False, latency=0.001 * (second % 500), cost=0.01)
    assert len(window._slots) <= SLOTS + 1
    assert 56 <= window.calls(9999) <= 62
    assert window.failure_share(9999) == pytest.approx(0.5, abs=0.02)
    assert window.cost_per_hour(9999) == pytest.approx(36, rel=0.05)
    assert window.calls(20_000) == 0
    assert window.latency(20_000, 0.95) == 0.0


# --- on a client -------------------------------------------------------------------------------------------------


async def test_a_client_tells_of_its_breaker(sim: SimulatorThread, caplog: pytest.LogCaptureFixture) -> None:
    sim.always(Fault.status(503))
    async with client_of(sim.url, max_retries=0, circuit_failure_threshold=2, circuit_reset_timeout=60) as client:
        name = client.add_alert("breaker_open", above=1, for_seconds=0, cooldown=0, severity="critical")
        client.add_alert("error_rate", above=0.5, for_seconds=0, min_samples=2, log=True)
        with caplog.at_level(logging.INFO, ALERT_LOGGER):
            for _ in range(2):
                with pytest.raises(ServerError):
                    await client.chat("gpt-4o", "x")
            await client.flush_alerts()
            assert client.alert_states()[name]["state"] == "firing"
            sim.clear()
            client.circuit_reset_timeout = 0.001
            await asyncio.sleep(0.01)
            await client.chat("gpt-4o", "x")
            await client.flush_alerts()
        client.remove_alert(name)
        assert list(client.alert_states()) == ["error_rate"]
        client.remove_alert("error_rate")
        assert client.usage_policy.observers == []
        with pytest.raises(ConfigurationError):
            client.remove_alert("error_rate")
    lines = [record.getMessage() for record in caplog.records if record.name == ALERT_LOGGER]
    assert [line.split(":")[0] for line in lines] == ["CRITICAL", "WARNING", "RESOLVED"]


async def test_the_timer_looks_without_calls(sim: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Notice] = []
    found = asyncio.Event()
    open_now = {"openai": 1.0}
    alerts = Alerts({"breaker_open": lambda: open_now}, interval=0.005)

    def sink(notice: Notice) -> None:
        told.append(notice)
        found.set()

    alerts.add(AlertRule(metric="breaker_open", above=1, for_seconds=0, cooldown=0), [sink])
    for expected in ("firing", "resolved"):
        await asyncio.wait_for(found.wait(), 20)
        found.clear()
        assert told[-1].state == expected
        open_now["openai"] = 0.0
    alerts.stop()


async def test_alerts_do_not_keep_their_client(sim: SimulatorThread) -> None:
    gc.collect()
    client: AsyncClient | None = AsyncClient("openai", base_url=sim.url, api_key="sk-1")
    assert client is not None
    client.add_alert("breaker_open", above=1)
    client.enable_tracing()
    [alerts] = client.usage_policy.observers
    assert isinstance(alerts, Alerts)
    assert alerts._gauges["breaker_open"]() == {"openai": 0.0}
    client = None
    assert alerts._gauges["breaker_open"]() == {}  # gone at once, without the collector


async def test_through_a_bound_client_they_are_the_clients(sim: SimulatorThread) -> None:
    async with AsyncClient("openai", base_url=sim.url, api_key={"a": "sk-1"}) as client:
        client.bound(api_key_name="a").add_alert("queue_depth", above=10)
        await client.flush_alerts()
        assert client.alert_states()["queue_depth"]["of"] == "openai"


async def test_wrong_alerts_are_refused(sim: SimulatorThread) -> None:
    async with client_of(sim.url) as client:
        for wrong in (
            lambda: client.add_alert("error_rate"),
            lambda: client.add_alert("error_rate", above=0.1, colour="red"),
            lambda: client.add_alert(rate(), above=0.1),
            lambda: client.add_alert("error_rate", above=0.1, webhook="ftp://x"),
            lambda: client.remove_alert("x"),
        ):
            with pytest.raises(ConfigurationError):
                wrong()
        assert client.alert_states() == {}
        await client.flush_alerts()
