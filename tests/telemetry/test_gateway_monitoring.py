"""Monitoring in the gateway: its client's trace goes on upstream, ids stay together, and a report is to be had."""

from __future__ import annotations

import re
from typing import Any

from ipfs_accelerate_py.simulator import Fault
from tests.gateway.support import CLIENT_KEY, MODEL, STREAM, UPSTREAM_KEY, nothing_held, running
from tests.telemetry.support import Spans, attributes

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


async def test_one_trace_from_the_client_to_the_upstream(spans: Spans) -> None:
    async with running(settings={"max_retries": 2}) as setup:
        front: Any = setup.gateway.app.front
        front.enable_tracing(provider=spans.provider)
        setup.sim.script(Fault.status(500))
        await setup.ask(traceparent=PARENT, tracestate="vendor=1", x_request_id="of-the-client")
        await setup.ask(STREAM, traceparent=PARENT)
        await setup.ask(traceparent="nonsense")
        await nothing_held(setup)
        upstream = [request.headers for request in setup.sim.requests]
    first, streamed, other = spans.calls()
    for span, headers in ((first, upstream[1]), (streamed, upstream[2])):
        assert span.parent is not None
        assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, "b7ad6b7169203331")
        assert span.context is not None
        assert headers["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert upstream[1]["tracestate"] == "vendor=1"
    assert upstream[1]["x-request-id"] == "of-the-client"
    assert attributes(first)["ipfs_accelerate.request_id"] == "of-the-client"
    assert attributes(first)["gen_ai.response.model"] == MODEL
    assert len(spans.attempts()) == 2
    assert other.parent is None
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", upstream[3]["traceparent"])


async def test_a_clients_trace_is_not_sent_on_by_itself() -> None:
    async with running() as setup:
        await setup.ask(traceparent=PARENT)
        assert "traceparent" not in setup.sim.requests[-1].headers


async def test_the_gateway_reports() -> None:
    async with running() as setup:
        await setup.ask()
        setup.sim.script(Fault.status(400))
        await setup.ask()
        front: Any = setup.gateway.app.front
        data, page = front.report(), front.report("html")
    assert (data["calls"]["total"], data["calls"]["failed"]) == (2, 1)
    assert data["targets"]["openai"]["keys"]["first"]["requests"] == 2
    assert UPSTREAM_KEY not in page
    assert CLIENT_KEY not in page
