"""Monitoring of a router: one span for the call, a child for each target that was asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_accelerate_py import AsyncRouter, Target
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.telemetry.support import Spans, attributes


@pytest.fixture
def second() -> Iterator[SimulatorThread]:
    with SimulatorThread("anthropic") as simulator:
        yield simulator


def router_of(sim: SimulatorThread, second: SimulatorThread) -> AsyncRouter:
    return AsyncRouter(
        {
            "smart": [
                Target("openai", "gpt-4o", base_url=sim.url, api_key="sk-1"),
                Target("claude", "claude-sonnet-4-5", base_url=second.url, api_key="sk-2"),
            ]
        },
        max_retries=0,
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_is_seen(sim: SimulatorThread, second: SimulatorThread, spans: Spans, stream: bool) -> None:
    sim.always(Fault.status(503))
    async with router_of(sim, second) as router:
        router.enable_tracing(provider=spans.provider)
        if stream:
            await router.stream("smart", "x", max_tokens=50).collect()
        else:
            await router.chat("smart", "x", max_tokens=50)
    found = attributes(spans.one())
    assert spans.one().name == "chat smart"
    assert found["gen_ai.provider.name"] == "anthropic"
    assert found["ipfs_accelerate.target_model"] == "claude-sonnet-4-5"
    assert found["ipfs_accelerate.attempts"] == 2
    failed, answered = spans.attempts()
    assert (attributes(failed)["gen_ai.provider.name"], attributes(failed)["error.type"]) == ("openai", "ServerError")
    assert attributes(answered)["gen_ai.provider.name"] == "anthropic"
    assert attributes(answered)["gen_ai.request.model"] == "claude-sonnet-4-5"
    assert spans.one().context is not None
    upstream = second.requests[-1].headers["traceparent"].split("-")
    assert upstream[2] == f"{spans.one().context.span_id:016x}"
    assert sim.requests[-1].headers["x-request-id"] == second.requests[-1].headers["x-request-id"]


async def test_alerts_and_reports_know_the_targets(sim: SimulatorThread, second: SimulatorThread) -> None:
    sim.always(Fault.status(503))
    async with router_of(sim, second) as router:
        router.circuit_failure_threshold = 1
        router.add_alert("breaker_open", above=1, for_seconds=0, log=False)
        await router.chat("smart", "x", max_tokens=50)
        await router.flush_alerts()
        state = router.alert_states()["breaker_open"]
        assert (state["state"], state["of"]) == ("firing", "openai/gpt-4o")
        report = router.report()
    assert set(report["targets"]) == {"openai/gpt-4o", "claude/claude-sonnet-4-5"}
    assert report["targets"]["openai/gpt-4o"]["breaker"]["history"][0]["state"] == "OPEN"
    assert report["calls"]["successful"] == 1
