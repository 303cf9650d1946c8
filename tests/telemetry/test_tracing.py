"""Spans: one for each call, by the conventions; attempts below it; nothing of the content; and never in the way."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, ServerError, StreamCut
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.telemetry.parents import parent_of
from ipfs_accelerate_py.types import Call, ChatRequest, Cost, Operation, Usage
from tests.telemetry.support import SECRET_WORD, Spans, attributes
from tests.upstreams import client_of, eventually, nothing_held

KEY = "sk-never-to-be-seen"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def traced(sim: SimulatorThread, spans: Spans, **options: Any) -> AsyncClient:
    client = AsyncClient("openai", base_url=sim.url, api_key=KEY, initial_retry_delay=0.001)
    client.enable_tracing(provider=spans.provider, **options)
    return client


async def test_a_call_is_a_span_by_the_conventions(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans) as client:
        reply = await client.chat(
            "gpt-4o", SECRET_WORD, temperature=0.25, max_tokens=50, session="talk-1", tenant="acme", user="somebody"
        )
    span = spans.one()
    assert (span.name, span.kind, span.status.status_code) == ("chat gpt-4o", SpanKind.CLIENT, StatusCode.UNSET)
    host, port = sim.url.removeprefix("http://").removesuffix("/v1").split(":")
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.temperature": 0.25,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.conversation.id": "talk-1",
        "gen_ai.response.id": reply.id,
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": reply.usage.input_tokens,
        "gen_ai.usage.output_tokens": reply.usage.output_tokens,
        "server.address": host,
        "server.port": int(port),
        "ipfs_accelerate.request_id": reply.request_id,
        "ipfs_accelerate.upstream_request_id": reply.upstream_request_id,
        "ipfs_accelerate.key": "explicit",
        "ipfs_accelerate.tenant": "acme",
        "ipfs_accelerate.attempts": 1,
    }
    assert spans.attempts() == []  # a lone attempt is the call
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "ipfs_accelerate_py"


async def test_operations_have_the_words_of_the_conventions(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans) as client:
        await client.embed("text-embedding-3-small", "x")
        await client.complete("gpt-3.5-turbo-instruct", "x")
        await client.respond("gpt-4o", "x")
        await client.models()
    assert [span.name for span in spans.calls()] == [
        "embeddings text-embedding-3-small",
        "text_completion gpt-3.5-turbo-instruct",
        "chat gpt-4o",
        "models",
    ]


async def test_attempts_are_children_with_their_own_times(sim: SimulatorThread, spans: Spans) -> None:
    sim.script(Fault.status(500), Fault.status(429))
    async with traced(sim, spans) as client:
        await client.chat("gpt-4o", "x")
    call = spans.one()
    first, second, last = spans.attempts()
    assert [attributes(span)["ipfs_accelerate.attempt"] for span in (first, second, last)] == [1, 2, 3]
    assert [attributes(span).get("error.type") for span in (first, second, last)] == [
        "ServerError",
        "RateLimited",
        None,
    ]
    assert attributes(second)["http.response.status_code"] == 429
    assert attributes(call)["ipfs_accelerate.attempts"] == 3
    assert call.context is not None
    before = call.start_time or 0
    for span in (first, second, last):
        assert span.parent is not None
        assert span.parent.span_id == call.context.span_id
        assert span.start_time is not None
        assert span.end_time is not None
        # One after the other, inside the call; two clocks are compared, so a little slack.
        assert before - 2_000_000 <= span.start_time <= span.end_time
        before = span.end_time
    assert before <= (call.end_time or 0) + 2_000_000


async def test_a_failure_is_told_without_its_words(sim: SimulatorThread, spans: Spans) -> None:
    sim.script(Fault.status(400, message=f"you said {SECRET_WORD}"))
    async with traced(sim, spans) as client:
        with pytest.raises(InvalidRequest):
            await client.chat("gpt-4o", SECRET_WORD)
    span = spans.one()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "InvalidRequest")
    assert attributes(span)["error.type"] == "InvalidRequest"
    assert attributes(span)["http.response.status_code"] == 400
    assert attributes(span)["ipfs_accelerate.attempts"] == 1
    assert spans.attempts() == []  # it would say the same
    assert SECRET_WORD not in " ".join(each.to_json() for each in spans.all())


async def test_nothing_of_the_content_and_no_key_unless_asked_for(sim: SimulatorThread, spans: Spans) -> None:
    sim.script(Fault.status(500, message=f"{SECRET_WORD} {KEY}"))
    async with traced(sim, spans) as client:
        reply = await client.chat("gpt-4o", SECRET_WORD, system=SECRET_WORD, stop=[SECRET_WORD], user=SECRET_WORD)
        await client.stream("gpt-4o", SECRET_WORD).collect()
        await client.embed("text-embedding-3-small", SECRET_WORD)
    everything = " ".join(span.to_json() for span in spans.all())
    assert len(spans.calls()) == 3
    assert SECRET_WORD not in everything
    assert reply.text not in everything
    assert KEY not in everything


async def test_content_is_there_for_those_who_ask(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans, capture_content=True) as client:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        parts = [{"type": "text", "text": "Hi"}, picture]
        whole = await client.chat("gpt-4o", [{"role": "user", "content": parts}], system="Be.")
        streamed = await client.stream("gpt-4o", "Hello").collect()
    first, second = (attributes(span) for span in spans.calls())
    assert json.loads(first["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}, {"type": "image_url"}]},
    ]
    for reply, found in ((whole, first), (streamed, second)):
        assert json.loads(found["gen_ai.output.messages"]) == [
            {"role": "assistant", "parts": [{"type": "text", "content": reply.text}], "finish_reason": "stop"}
        ]
    assert KEY not in " ".join(span.to_json() for span in spans.all())


async def test_a_stream_ends_its_span_when_it_is_done(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans) as client:
        stream = client.stream("gpt-4o", "x")
        await stream.start()
        assert spans.all() == []
        whole = await stream.collect()
    found = attributes(spans.one())
    assert found["gen_ai.request.stream"] is True
    assert 0 < found["gen_ai.response.time_to_first_chunk"] < 5
    assert found["gen_ai.usage.output_tokens"] == whole.usage.output_tokens
    assert found["gen_ai.response.finish_reasons"] == ("stop",)


@pytest.mark.parametrize("capture", [False, True])
async def test_streams_that_break_or_are_left(sim: SimulatorThread, spans: Spans, capture: bool) -> None:
    sim.script(Fault.cut(after=5))
    async with traced(sim, spans, capture_content=capture) as client:
        with pytest.raises(StreamCut):
            await client.stream("gpt-4o", "x").collect()
        stream = client.stream("gpt-4o", "x")
        await anext(stream)
        await stream.aclose()
        await nothing_held(client)
    broken, left = spans.calls()
    assert attributes(broken)["error.type"] == "StreamCut"
    assert broken.status.status_code is StatusCode.ERROR
    assert attributes(left)["error.type"] == "cancelled"
    assert left.status.status_code is StatusCode.UNSET


async def test_a_cancelled_call_ends_its_span(sim: SimulatorThread, spans: Spans) -> None:
    sim.script(Fault.hang())
    async with traced(sim, spans) as client:
        task = asyncio.create_task(client.chat("gpt-4o", "x"))
        await eventually(lambda: sim.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_held(client)
    assert attributes(spans.one())["error.type"] == "cancelled"


# --- whose span it is --------------------------------------------------------------------------------------------


async def test_the_parent_is_the_current_span_and_the_upstream_is_told(sim: SimulatorThread, spans: Spans) -> None:
    tracer = spans.provider.get_tracer("test")
    async with traced(sim, spans) as client:
        with tracer.start_as_current_span("mine") as mine:
            await client.chat("gpt-4o", "x", request_id="req-of-mine")
    call = next(span for span in spans.all() if span.name == "chat gpt-4o")
    assert call.parent is not None
    assert call.parent.span_id == mine.get_span_context().span_id
    headers = sim.requests[-1].headers
    assert call.context is not None
    assert headers["traceparent"].startswith(f"00-{call.context.trace_id:032x}-{call.context.span_id:016x}-")
    assert headers["x-request-id"] == "req-of-mine"
    assert attributes(call)["ipfs_accelerate.request_id"] == "req-of-mine"


@pytest.mark.parametrize(
    "given",
    [
        PARENT,
        PARENT.encode(),
        {"traceparent": PARENT, "tracestate": "vendor=1"},
        {b"traceparent": PARENT.encode(), b"tracestate": b"vendor=1"},
    ],
)
async def test_the_parent_may_come_with_the_call(sim: SimulatorThread, spans: Spans, given: Any) -> None:
    async with traced(sim, spans) as client:
        request = ChatRequest("gpt-4o", [{"role": "user", "content": "x"}])
        await client.send(Call(operation=Operation.CHAT, request=request, request_id="r", trace=given))
    span = spans.one()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", span.parent.is_remote) == (TRACE, True)
    headers = sim.requests[-1].headers
    assert re.match(rf"00-{TRACE}-[0-9a-f]{{16}}-01", headers["traceparent"])
    assert headers.get("tracestate") == ("vendor=1" if isinstance(given, dict) else None)


@pytest.mark.parametrize(
    "given",
    ["", "nonsense", f"ff-{TRACE}-b7ad6b7169203331-01", f"00-{'0' * 32}-b7ad6b7169203331-01", f"{PARENT}-more", {}, 7,
     f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-b7ad6b7169203331-01"],
)  # fmt: skip
def test_a_parent_that_cannot_be_read_is_none(given: Any) -> None:
    assert parent_of(given) is None


def test_a_context_is_a_parent() -> None:
    context = parent_of(PARENT)
    assert context is not None
    assert parent_of(context) is context
    assert f"{trace.get_current_span(context).get_span_context().trace_id:032x}" == TRACE


async def test_propagation_can_be_off_and_gives_way_to_the_callers_own(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans, propagate=False) as client:
        await client.chat("gpt-4o", "x")
        assert "traceparent" not in sim.requests[-1].headers
        client.enable_tracing(provider=spans.provider)
        await client.chat("gpt-4o", "x", headers={"Traceparent": PARENT})
        assert sim.requests[-1].headers["traceparent"] == PARENT
        await client.chat("gpt-4o", "x", request_id="two\r\nlines")  # no header can hold that
        assert "x-request-id" not in sim.requests[-1].headers


async def test_a_call_that_is_not_sampled_costs_no_span_and_is_still_propagated(sim: SimulatorThread) -> None:
    spans = Spans(sampler=ALWAYS_OFF)
    sim.script(Fault.status(500))
    async with traced(sim, spans, capture_content=True) as client:
        await client.chat("gpt-4o", "x")
        await client.stream("gpt-4o", "x").collect()
    assert spans.all() == []
    assert sim.requests[-1].headers["traceparent"][-2:] in ("00", "02")
    spans.provider.shutdown()


# --- cost, and being switched ------------------------------------------------------------------------------------


class Prices:
    def cost(self, backend: str, model: str, usage: Usage, alias: str = "") -> Cost | None:
        return Cost(usage.total_tokens / 1000) if (backend, model) == ("openai", "gpt-4o") else None

    def estimate(self, call: Call, backend: str, model: str) -> float | None:
        return None


async def test_the_cost_is_an_attribute_where_prices_are_known(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans) as client:
        client.usage_policy.pricer = Prices()  # also after tracing was enabled
        reply = await client.chat("gpt-4o", "x")
        await client.stream("gpt-4o", "x").collect()
        await client.embed("text-embedding-3-small", "x")
    whole, streamed, unknown = (attributes(span).get("ipfs_accelerate.cost.usd") for span in spans.calls())
    assert whole == streamed == reply.usage.total_tokens / 1000
    assert unknown is None


async def test_it_can_be_switched_off_with_calls_under_way(sim: SimulatorThread, spans: Spans) -> None:
    async with traced(sim, spans) as client:
        stream = client.stream("gpt-4o", "x")
        await stream.start()
        await client.disable_tracing()
        await client.chat("gpt-4o", "x")
        assert spans.all() == []
        await stream.collect()
    assert attributes(spans.one())["gen_ai.request.stream"] is True


async def test_wrong_values_are_refused(sim: SimulatorThread, spans: Spans) -> None:
    async with client_of(sim.url) as client:
        for wrong in (
            {"endpoint": "localhost:4318"},
            {"endpoint": "http://127.0.0.1:1", "provider": spans.provider},
            {"sample": 2},
        ):
            with pytest.raises(ConfigurationError):
                client.enable_tracing(**wrong)
        with pytest.raises(ConfigurationError):
            client.enable_metrics(interval=0)
        assert client.front.get("tracing") is None


async def test_keys_are_told_by_name(sim: SimulatorThread, spans: Spans) -> None:
    sim.script(Fault.status(500))
    client = AsyncClient("openai", base_url=sim.url, api_key={"blue": KEY, "red": KEY + "2"}, initial_retry_delay=0.001)
    client.enable_tracing(provider=spans.provider)
    async with client:
        await client.chat("gpt-4o", "x")
    assert [attributes(span)["ipfs_accelerate.key"] for span in spans.attempts()] == ["blue", "red"]
    assert KEY not in " ".join(span.to_json() for span in spans.all())


async def test_the_service_is_down(sim: SimulatorThread, spans: Spans) -> None:
    sim.always(Fault.status(503))
    async with traced(sim, spans) as client:
        client.max_retries = 1
        with pytest.raises(ServerError):
            await client.chat("gpt-4o", "x")
    assert [attributes(span)["ipfs_accelerate.attempt"] for span in spans.attempts()] == [1, 2]
    assert attributes(spans.one())["ipfs_accelerate.attempts"] == 2


async def test_the_clients_own_headers_go_before_ours(sim: SimulatorThread, spans: Spans) -> None:
    own = {"X-REQUEST-ID": "of-the-client"}
    async with AsyncClient("openai", base_url=sim.url, api_key=KEY, headers=own) as client:
        client.enable_tracing(provider=spans.provider)
        for _ in range(2):
            await client.chat("gpt-4o", "x", request_id="ours")
            headers = sim.requests[-1].headers
            assert headers["x-request-id"] == "of-the-client"
            assert headers["traceparent"]
        await client.disable_tracing()
        await client.chat("gpt-4o", "x")
        assert "traceparent" not in sim.requests[-1].headers  # nothing is left of it in what is kept for later calls


@pytest.mark.parametrize("capture", [False, True])
async def test_a_stream_that_is_forgotten_ends_its_span_at_once(
    sim: SimulatorThread, spans: Spans, capture: bool
) -> None:
    async with traced(sim, spans, capture_content=capture) as client:
        stream: Any = client.stream("gpt-4o", "x")
        await anext(stream)
        gc.disable()
        try:
            stream = None
            await eventually(lambda: len(spans.all()) == 1)
        finally:
            gc.enable()
        await nothing_held(client)
    found = attributes(spans.one())
    assert found["error.type"] == "cancelled"
    assert found["gen_ai.provider.name"] == "openai"
