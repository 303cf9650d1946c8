"""Export by OTLP to a collector on a real socket, and metrics by the conventions."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import ServerError
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.telemetry import metrics, otlp
from ipfs_accelerate_py.telemetry.metrics import MetricsObserver
from ipfs_accelerate_py.types import Cost, Priority, Usage
from tests.telemetry.support import Meters, collector, make_record
from tests.upstreams import client_of


def values(attributes: Any) -> dict[str, Any]:
    """Attributes in protocol buffers, as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


async def test_spans_reach_a_collector(sim: SimulatorThread) -> None:
    sim.script(Fault.status(500))
    async with collector() as found, client_of(sim.url) as client:
        client.enable_tracing(endpoint=found.url, headers={"x-collector-key": "c-1"}, service="mine")
        reply = await client.chat("gpt-4o", "x")
        await client.disable_tracing()
        await client.chat("gpt-4o", "x")
    assert sorted(span.name for span in found.spans) == ["attempt gpt-4o", "attempt gpt-4o", "chat gpt-4o"]
    [call] = [span for span in found.spans if span.name == "chat gpt-4o"]
    children = [span for span in found.spans if span is not call]
    assert {span.parent_span_id for span in children} == {call.span_id}
    assert values(call.attributes)["gen_ai.usage.input_tokens"] == reply.usage.input_tokens
    assert values(found.traces[0].resource_spans[0].resource.attributes)["service.name"] == "mine"
    assert "x-collector-key: c-1" in found.heads[0].lower()
    assert sim.requests[1].headers["traceparent"].split("-")[2] == call.span_id.hex()


async def test_a_collector_that_is_away_harms_no_call(sim: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "TIMEOUT", 0.2)
    async with client_of(sim.url) as client:
        client.enable_tracing(endpoint="http://127.0.0.1:9")
        assert (await client.chat("gpt-4o", "x")).text
        began = time.monotonic()
        await client.disable_tracing()
    assert time.monotonic() - began < 5


def test_the_synchronous_client_exports_too(sim: SimulatorThread) -> None:
    async def run() -> list[Any]:
        async with collector() as found:
            await asyncio.to_thread(calls, found.url)
            return [*found.spans, *found.metrics]

    def calls(url: str) -> None:
        with Client("openai", base_url=sim.url, api_key="sk-1") as client:
            client.enable_tracing(endpoint=url)
            client.enable_metrics(endpoint=url, interval=3600)
            client.chat("gpt-4o", "x")
            list(client.stream("gpt-4o", "x"))
            client.disable_tracing()
            client.disable_metrics()

    *spans, exported = asyncio.run(run())
    assert [span.name for span in spans] == ["chat gpt-4o", "chat gpt-4o"]
    scopes = [scope for resource in exported.resource_metrics for scope in resource.scope_metrics]
    names = {metric.name for scope in scopes for metric in scope.metrics}
    assert {"gen_ai.client.operation.duration", "gen_ai.client.token.usage"} <= names


# --- metrics -----------------------------------------------------------------------------------------------------


async def test_metrics_by_the_conventions(sim: SimulatorThread, meters: Meters) -> None:
    async with client_of(sim.url, max_retries=0) as client:
        client.enable_metrics(provider=meters.provider)
        reply = await client.chat("gpt-4o", "x")
        await client.stream("gpt-4o", "x").collect()
        sim.script(Fault.status(503))
        with pytest.raises(ServerError):
            await client.chat("gpt-4o", "x")
        await client.disable_metrics()
        await client.chat("gpt-4o", "x")
    found = meters.points()
    good, bad = sorted(found["gen_ai.client.operation.duration"], key=lambda point: -point.count)
    assert (good.count, bad.count) == (2, 1)
    assert tuple(good.explicit_bounds) == metrics.SECONDS
    host, port = sim.url.removeprefix("http://").removesuffix("/v1").split(":")
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "server.address": host,
        "server.port": int(port),
    }
    assert dict(good.attributes) == common
    assert dict(bad.attributes) == {**common, "error.type": "ServerError"}
    tokens = {point.attributes["gen_ai.token.type"]: point for point in found["gen_ai.client.token.usage"]}
    assert tokens["input"].sum == 2 * reply.usage.input_tokens
    assert tokens["output"].sum == 2 * reply.usage.output_tokens
    assert tuple(tokens["input"].explicit_bounds) == metrics.TOKENS
    [first] = found["gen_ai.client.operation.time_to_first_chunk"]
    assert first.count == 1


def test_what_a_cache_answered_is_no_usage(meters: Meters) -> None:
    observe = MetricsObserver(meters.provider)
    usage = Usage(10, 20, reported=True)
    observe(make_record(usage=usage, cost=Cost(0.5), queued=0.2, priority=Priority.LOW))
    observe(make_record(usage=usage, cost=Cost(0.0), cache="exact", saved=0.5))
    observe(make_record(outcome="cancelled"))
    found = meters.points()
    assert sum(point.sum for point in found["gen_ai.client.token.usage"]) == 30
    assert [point.value for point in found["ipfs_accelerate.cost"]] == [0.5]
    [hit] = found["ipfs_accelerate.cache.hits"]
    assert (hit.value, hit.attributes["ipfs_accelerate.cache"]) == (1, "exact")
    [waited] = found["ipfs_accelerate.queue.duration"]
    assert (waited.sum, waited.attributes["ipfs_accelerate.priority"]) == (0.2, "LOW")
    kinds = {point.attributes.get("error.type"): point.count for point in found["gen_ai.client.operation.duration"]}
    assert kinds == {None: 2, "cancelled": 1}


def test_callers_cannot_make_metrics_grow(meters: Meters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_MODELS", 3)
    observe = MetricsObserver(meters.provider)
    for number in range(10):
        observe(make_record(model=f"m{number}"))
    models = {p.attributes["gen_ai.request.model"] for p in meters.points()["gen_ai.client.operation.duration"]}
    assert models == {"m0", "m1", "m2", "(other)"}


async def test_enabling_again_takes_the_place(sim: SimulatorThread, meters: Meters) -> None:
    client = AsyncClient("openai", base_url=sim.url, api_key="sk-1")
    async with client:
        client.enable_metrics(provider=meters.provider)
        client.enable_metrics(provider=meters.provider)
        await client.chat("gpt-4o", "x")
    [point] = meters.points()["gen_ai.client.operation.duration"]
    assert point.count == 1
