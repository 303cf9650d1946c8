"""The metrics page: that it counts, that its names obey the rules, that it cannot grow without bounds."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ipfs_accelerate_py.gateway.metrics import MOST_MODELS, GatewayMetrics
from ipfs_accelerate_py.simulator import Fault

from .aliased import TWO, Aliased, aliased
from .support import (
    ALIAS,
    CHAT,
    MODEL,
    STREAM,
    UPSTREAM_KEY,
    Setup,
    ask,
    connect,
    nothing_held,
    request,
    running,
    until,
)

pytestmark = pytest.mark.virtual_time


async def samples(setup: Setup) -> dict[str, float]:
    """``name{label=value,...}`` (labels sorted, empty ones left out) and the value."""
    got = await ask(setup.gateway, None, "/metrics", method="GET")
    assert got.status == 200
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(got.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if value)
            found[f"{sample.name.removeprefix('ipfs_accelerate_')}{{{labels}}}"] = sample.value
    return found


async def busy(setup: Setup) -> None:
    """Something of everything."""
    await setup.ask()
    await setup.ask(STREAM)
    await setup.ask({**CHAT, "temperature": "hot"})
    await setup.ask({**CHAT, "model": "unknown"})
    setup.sim.script(Fault.cut(after=3), Fault.bad_json(at=2, data="{"), Fault.status(400))
    for _ in range(2):
        await setup.ask(STREAM)
    await setup.ask()
    await ask(setup.gateway, None, "/health", method="GET")
    async with connect(setup.gateway) as client:
        await client.send(b"rubbish\r\n\r\n")
        await client.receive(to_end=True)
    await nothing_held(setup)


async def test_what_was_done_is_counted(setup: Setup) -> None:
    await busy(setup)
    found = await samples(setup)
    chat = "route=/v1/chat/completions"
    assert found[f"gateway_requests_total{{model={ALIAS},{chat},status=200}}"] == 4
    assert found[f"gateway_requests_total{{model={ALIAS},{chat},status=400}}"] == 1
    assert found[f"gateway_requests_total{{{chat},status=400}}"] == 1
    assert found[f"gateway_requests_total{{{chat},status=404}}"] == 1
    assert found["gateway_requests_total{route=/health,status=200}"] == 1
    assert found["gateway_refused_requests_total{status=400}"] == 1
    assert found["gateway_stream_errors_total{}"] == 1
    assert found["gateway_requests_in_flight{}"] == 1  # this one
    assert found["gateway_streams_in_flight{}"] == 0
    assert found[f"gateway_request_duration_seconds_count{{model={ALIAS},{chat}}}"] == 5
    assert found[f"gateway_first_content_seconds_count{{model={ALIAS},{chat}}}"] == 3
    assert found[f"gateway_request_duration_seconds_bucket{{le=+Inf,model={ALIAS},{chat}}}"] == 5
    assert found["backend_calls_total{backend=openai,outcome=success}"] == 3
    assert found["backend_calls_total{backend=openai,outcome=failure}"] == 2
    assert found["backend_errors_total{backend=openai,error=InvalidRequest}"] == 1
    assert found["backend_skipped_events_total{backend=openai}"] == 1
    assert found[f"backend_tokens_total{{backend=openai,model={MODEL},type=output}}"] == 60
    assert found["backend_slots{backend=openai}"] == 1000
    assert found["backend_slots_in_use{backend=openai}"] == 0
    assert found["backend_circuit_state{backend=openai,state=CLOSED}"] == 1
    assert found["backend_circuit_state{backend=openai,state=OPEN}"] == 0
    assert found["backend_key_usable{backend=openai,key=first}"] == 1
    assert found["backend_key_requests_total{backend=openai,key=first}"] == 5


async def test_a_client_that_left_is_counted(setup: Setup) -> None:
    setup.sim.script(Fault.hang())
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, content_type="application/json"))
        await until(lambda: setup.sim.in_flight == 1)
        found = await samples(setup)
        assert found["gateway_requests_in_flight{}"] == 2
        assert found["backend_slots_in_use{backend=openai}"] == 1
    await nothing_held(setup)
    found = await samples(setup)
    assert found["gateway_client_disconnects_total{}"] == 1
    assert found[f"gateway_requests_total{{model={ALIAS},route=/v1/chat/completions,status=499}}"] == 1
    assert found["backend_calls_total{backend=openai,outcome=cancelled}"] == 1


async def test_the_queue_and_the_breaker_are_seen() -> None:
    settings = {"max_concurrent_requests": 1, "circuit_failure_threshold": 1, "max_retries": 0}
    async with running(settings=settings) as setup:
        setup.sim.script(Fault.hang())
        async with connect(setup.gateway) as first, connect(setup.gateway) as second:
            await first.send(request(CHAT, content_type="application/json"))
            await until(lambda: setup.sim.in_flight == 1)
            await second.send(request(CHAT, content_type="application/json", x_priority="LOW"))
            await until(lambda: sum(setup.backend.pipeline.admission.queued) == 1)
            found = await samples(setup)
            assert found["backend_queue_depth{backend=openai,priority=LOW}"] == 1
            assert found["backend_queue_depth{backend=openai,priority=HIGH}"] == 0
            first.sock.close()
            assert (await second.receive()).status == 200
        found = await samples(setup)
        assert found["backend_queue_wait_seconds_count{backend=openai,priority=LOW}"] == 1
        setup.sim.script(Fault.status(503))
        await setup.ask()
        found = await samples(setup)
        assert found["backend_circuit_state{backend=openai,state=OPEN}"] == 1
        assert found["backend_circuit_opened_total{backend=openai}"] == 1


async def test_retries_are_counted() -> None:
    async with running(settings={"max_retries": 3}) as setup:
        setup.sim.script(Fault.status(500), Fault.status(500))
        assert (await setup.ask()).status == 200
        assert (await samples(setup))["backend_retries_total{backend=openai}"] == 2


#: A gateway with something of everything that can be counted.
EVERYTHING = (
    TWO.replace("api_key: sk-first,", "api_key: sk-first, price: {input: 1, output: 2},")
    + """
gateway: {api_key: sk-plain}
keys: [{name: alice, key: sk-a, tenant: acme, requests_per_minute: 4, budget: {tokens: 100000, per: day}}]
cache: {exact: true}
single_flight: {nondeterministic: true}
hedging: {after: 30}
batching: true
alerts: [{metric: error_rate, above: 0.5, log: false}]
"""
)


async def everything(setup: Aliased) -> bytes:
    """Asks for something of everything, and gives the page."""
    for body in (CHAT, CHAT, {**CHAT, "seed": 1}):
        await setup.ask({**body, "model": "smart"}, key="sk-a")
    setup.sims[0].script(Fault.status(500), Fault.cut(after=3))
    await setup.ask({**CHAT, "model": "smart", "seed": 2}, key="sk-a")
    await setup.ask({**STREAM, "model": "smart", "seed": 3}, key="sk-a")
    for number in (4, 5):
        await setup.ask({**CHAT, "model": "smart", "seed": number}, key="sk-a")
    await setup.at_rest()
    return (await setup.get("/metrics", key="sk-plain")).body


async def test_all_that_can_be_switched_on_is_counted() -> None:
    async with aliased(EVERYTHING) as setup:
        page = (await everything(setup)).decode()
        found = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()) if value)
                found[f"{sample.name.removeprefix('ipfs_accelerate_')}{{{labels}}}"] = sample.value
    assert found["fallbacks_total{model=smart,reason=ServerError}"] == 1
    assert found["mid_stream_total{model=smart,outcome=continued}"] == 1
    assert found["cache_hits_total{kind=exact}"] == 1
    assert found["cache_saved_usd_total{kind=exact}"] > 0
    assert found["cost_usd_total{key=alice,model=smart,tenant=acme}"] > 0
    assert found["limit_refusals_total{limit=requests,scope=key}"] == 2
    assert 0 < found["budget_used_ratio{budget=key:alice/day}"] < 1
    assert 0 < found["budget_reset_seconds{budget=key:alice/day}"] <= 86_400
    assert found["overhead_seconds_count{route=/v1/chat/completions}"] == 4
    assert found["backend_calls_total{backend=openai/gpt-4o-mini,outcome=success}"] == 2  # one fallback, one rescue
    assert found["alerts_firing{alert=error_rate}"] == 0


async def test_what_is_switched_on_while_it_runs_is_counted_too() -> None:
    async with aliased(TWO) as setup:
        await setup.ask({**CHAT, "model": "smart"})
        assert setup.app.front.usage_policy.observers == []  # nothing to tell, and no record is made of a call
        await setup.app.front.enable_cache()
        setup.app.front.track_costs({"gpt-4o": 1000}, package=False)
        for _ in range(2):
            await setup.ask({**CHAT, "model": "smart"})
        counted = setup.app.metrics
        assert set(counted.costs) == {("smart", "", "")}
        assert counted.saved == {"exact": counted.costs["smart", "", ""]}
        assert len(setup.app.front.usage_policy.observers) == 1
        assert setup.app.table.router.usage_policy.pricer is setup.app.front.usage_policy.pricer


async def test_hedges_by_model_and_batches_by_operation() -> None:
    text = (
        TWO.replace("    targets:", "    hedge: 0.05\n    targets:")
        + """  - {name: vectors, model: openai/text-embedding-3-small, base_url: "{1}", api_key: k, settings: {{quick}}}
batching: {batch_timeout: 0.05}
"""
    )
    async with aliased(text) as setup:
        setup.sims[0].always(Fault.latency(seconds=1.0))
        await setup.ask({**CHAT, "model": "smart"})
        await asyncio.gather(
            *(setup.ask({"model": "vectors", "input": f"text {n}"}, "/v1/embeddings") for n in range(4))
        )
        page = (await setup.get("/metrics")).body.decode()
    assert 'ipfs_accelerate_hedges_total{model="smart",outcome="won"} 1.0' in page
    assert 'ipfs_accelerate_hedges_total{model="smart",outcome="lost"} 0.0' in page
    assert 'ipfs_accelerate_batches_total{operation="embed"}' in page
    assert 'ipfs_accelerate_batched_calls_total{operation="embed"}' in page


def test_clients_cannot_make_the_page_grow() -> None:
    metrics = GatewayMetrics()
    for number in range(MOST_MODELS * 2):
        metrics.done("/v1/chat/completions", f"openai/{number}", 200, 0.1)
    assert len(metrics.requests) == MOST_MODELS + 1
    assert metrics.requests["/v1/chat/completions", "(other)", 200] == MOST_MODELS


async def test_unknown_models_and_paths_have_no_label_of_their_own(setup: Setup) -> None:
    for number in range(3):
        await setup.ask({**CHAT, "model": f"made-up-{number}"})
        await ask(setup.gateway, None, f"/made-up-{number}", method="GET")
    page = setup.gateway.app._page.text().decode()
    assert "made-up" not in page
    assert 'route="(other)",status="404"} 3.0' in page


async def test_the_page_holds_no_key(setup: Setup) -> None:
    await busy(setup)
    assert UPSTREAM_KEY not in setup.gateway.app._page.text().decode()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (`make` puts it into .tools)")
async def test_promtool_has_nothing_to_say(setup: Setup) -> None:
    await busy(setup)
    page = (await ask(setup.gateway, None, "/metrics", method="GET")).body
    command = ["promtool", "check", "metrics"]
    checked = await asyncio.to_thread(
        subprocess.run, command, input=page, capture_output=True, timeout=300, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    async with aliased(EVERYTHING) as setup_of_all:
        page = await everything(setup_of_all)
    checked = await asyncio.to_thread(
        subprocess.run, command, input=page, capture_output=True, timeout=300, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
