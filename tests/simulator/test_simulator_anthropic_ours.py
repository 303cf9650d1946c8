"""Our client against the simulated service of Anthropic, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AuthenticationError,
    ConfigurationError,
    ContentFiltered,
    ContextLengthExceeded,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamCut,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.types import Reply

MODEL = "claude-haiku-4-5"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "get_time"}},
]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("anthropic") as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with make(sim) as made:
        yield made


def make(sim: Simulator, **options: Any) -> AsyncClient:
    quick = {"initial_retry_delay": 0.001, "max_retries": 2, "base_url": sim.url, "api_key": "sk-ant-test"}
    return AsyncClient("claude", **{**quick, **options})


async def both(client: AsyncClient, messages: Any, **options: Any) -> list[Reply]:
    """The answer as a whole, and as a stream put together."""
    return [
        await client.chat(MODEL, messages, **options),
        await client.stream(MODEL, messages, **options).collect(),
    ]


# --- who asks, and where -----------------------------------------------------------------------------------------


async def test_version_and_key(sim: Simulator, client: AsyncClient) -> None:
    await client.chat(MODEL, "Hello")
    async with make(sim, auth_style="bearer", anthropic_version="2026-10-21") as other:
        await other.chat(MODEL, "Hello")
    ours, theirs = (request.headers for request in sim.requests)
    assert ours["anthropic-version"] == "2023-06-01"
    assert "x-api-key" in ours
    assert "authorization" not in ours
    assert theirs["anthropic-version"] == "2026-10-21"
    assert "authorization" in theirs
    assert "x-api-key" not in theirs
    assert sim.requests[0].key == sim.requests[1].key == sim.key_name("sk-ant-test")


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("http://h", "http://h/v1"),
        ("http://h/", "http://h/v1"),
        ("http://h/v1/", "http://h/v1"),
        ("http://h/anthropic", "http://h/anthropic/v1"),
        ("http://h/api/v2beta", "http://h/api/v2beta"),
    ],
)
async def test_urls_with_and_without_the_version(given: str, made: str) -> None:
    async with AsyncClient("anthropic", base_url=given, api_key="x") as client:
        assert client.base_url == made


async def test_settings_that_make_no_sense_are_told_at_once() -> None:
    wrong: dict[str, Any] = {"auth_style": "basic", "max_tokens": "many", "reasoning": "hard"}
    for name, value in wrong.items():
        with pytest.raises(ConfigurationError, match=name):
            AsyncClient("claude", **{name: value})


async def test_metadata_names_what_is_asked_when_nothing_is(sim: Simulator) -> None:
    metadata = {"claude_api_key": "sk-m", "anthropic_base_url": sim.url, "anthropic_model": "claude-x"}
    async with AsyncClient("claude", metadata={**metadata, "anthropic_max_tokens": "12"}) as client:
        assert (await client.chat("", "Hello")).model == "claude-x"
    assert sim.requests[0].body["max_tokens"] == 12
    assert sim.requests[0].key == sim.key_name("sk-m")


# --- answers -----------------------------------------------------------------------------------------------------


async def test_chat(sim: Simulator, client: AsyncClient) -> None:
    whole, streamed = await both(client, "Hello", system="Be brief", temperature=0.2)
    assert whole.text == streamed.text != ""
    assert whole.finish_reason == streamed.finish_reason == "stop"
    assert whole.usage == streamed.usage
    assert (whole.backend, whole.model) == ("claude", MODEL)
    assert whole.upstream_request_id is not None
    assert whole.upstream_request_id.startswith("req_sim")
    assert sim.requests[0].body["system"] == "Be brief"


async def test_reasoning_tools_and_their_results(client: AsyncClient) -> None:
    """The whole round, as agents make it: signed reasoning and calls go back, with results, and are accepted."""
    asked: list[Any] = [{"role": "user", "content": "Use the tools"}]
    for reply in await both(client, asked, tools=TOOLS, reasoning_effort="low"):
        assert reply.finish_reason == "tool_calls"
        assert [call.name for call in reply.tool_calls] == ["get_weather", "get_time"]
        assert isinstance(json.loads(reply.tool_calls[0].arguments)["city"], str)
        assert reply.reasoning
        assert reply.thinking_blocks[0]["signature"]
        assert reply.usage.reasoning_tokens == 10
        assistant = {
            "role": "assistant",
            "content": reply.text,
            "thinking_blocks": list(reply.thinking_blocks),
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in reply.tool_calls
            ],
        }
        parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
        results = [
            {"role": "tool", "tool_call_id": reply.tool_calls[0].id, "content": "sunny"},
            {"role": "tool", "tool_call_id": reply.tool_calls[1].id, "content": parts, "is_error": True},
        ]
        history = [*asked, assistant, *results, {"role": "user", "content": "Well?"}]
        answer = await client.chat(MODEL, history, tools=TOOLS, reasoning_effort="low")
        assert (answer.finish_reason, bool(answer.text)) == ("stop", True)


async def test_redacted_reasoning_goes_round_as_well(client: AsyncClient) -> None:
    asked = [{"role": "user", "content": "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_1"}]
    for reply in await both(client, asked, thinking={"type": "enabled", "budget_tokens": 2000}):
        assert [block["type"] for block in reply.thinking_blocks] == ["redacted_thinking"]
        again = {"role": "assistant", "content": reply.text, "thinking_blocks": list(reply.thinking_blocks)}
        assert (await client.chat(MODEL, [*asked, again, {"role": "user", "content": "And?"}])).text


async def test_newer_models_think_by_effort(sim: Simulator, client: AsyncClient) -> None:
    assert (await client.chat("claude-opus-5-5", "Hello", reasoning_effort="high")).reasoning
    assert sim.requests[0].body["output_config"] == {"effort": "high"}


async def test_structured_output(client: AsyncClient) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": schema}}
    for reply in await both(client, "Where?", response_format=wanted):
        assert json.loads(reply.text).keys() == {"city"}


async def test_images_and_documents_go_in(sim: Simulator, client: AsyncClient) -> None:
    content = [
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk="}, "citations": {"enabled": True}},
    ]
    for reply in await both(client, [{"role": "user", "content": content}]):
        assert reply.text
    kinds = [block["type"] for block in sim.requests[0].body["messages"][0]["content"]]
    assert kinds == ["text", "image", "image", "document", "document"]


async def test_classes_of_tokens(client: AsyncClient) -> None:
    system = [{"type": "text", "text": "Long ago " * 100, "cache_control": {"type": "ephemeral"}}]
    options: dict[str, Any] = {"system": system, "reasoning_effort": "low"}
    written, read = await both(client, "Hello", **options)
    assert written.usage.cache_write_tokens == read.usage.cached_tokens == 225
    assert written.usage.input_tokens == read.usage.input_tokens
    for reply in (written, read):
        assert sum(reply.usage.classes().values()) == reply.usage.total_tokens
    counted = await client.count_tokens(MODEL, "Hello", **options)
    assert counted.usage.input_tokens == read.usage.input_tokens


async def test_ends(client: AsyncClient) -> None:
    for reply in await both(client, "Hello", max_tokens=3):
        assert (reply.finish_reason, reply.usage.output_tokens) == ("length", 3)
    for reply in await both(client, "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1"):
        assert (reply.finish_reason, reply.text) == ("content_filter", "")
        assert "decline" in reply.refusal
    text = (await client.chat(MODEL, "Hello")).text
    for reply in await both(client, "Hello", stop=text.split()[3]):
        assert reply.finish_reason == "stop"
        assert text.startswith(reply.text)


async def test_models(client: AsyncClient) -> None:
    models = await client.models()
    assert [model.id for model in models][:2] == ["claude-sonnet-5-5", "claude-opus-5-5"]
    assert (models[0].owner, models[0].created) == ("anthropic", 1767225600)
    assert [model.id for model in await client.models(limit=1)] == ["claude-sonnet-5-5"]


async def test_raw_requests_and_their_streams(client: AsyncClient) -> None:
    body = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
    reply = await client.request("/messages", body)
    assert reply.raw["type"] == "message"
    events = [chunk.event async for chunk in client.stream_request("/messages", {**body, "stream": True})]
    assert (events[0], events[-1], len(events)) == ("message_start", "message_stop", 11)


async def test_what_is_refused_is_never_sent(sim: Simulator, client: AsyncClient) -> None:
    with pytest.raises(UnsupportedOperation, match="seed"):
        await client.chat(MODEL, "Hello", seed=1)
    with pytest.raises(UnsupportedOperation, match="embed"):
        await client.embed(MODEL, "Hello")
    with pytest.raises(UnsupportedOperation, match="complet"):
        await client.complete(MODEL, "Hello")
    assert sim.requests == []
    assert (await client.chat(MODEL, "Hello", store=True)).ignored == ("store",)


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(401), AuthenticationError),
        (Fault.status(402), QuotaExhausted),
        (Fault.status(403), AuthenticationError),
        (Fault.status(404, message="model: x"), ModelNotFound),
        (Fault.status(429), RateLimited),
        (Fault.status(500), ServerError),
        (Fault.status(529), ServerError),
        (Fault.context_length_exceeded(), ContextLengthExceeded),
        (Fault.content_policy_violation(), ContentFiltered),
        (Fault.insufficient_quota(), QuotaExhausted),
        (Fault.error_200(), ServerError),
        (Fault.html(), ProtocolError),
        (Fault.not_object(), ProtocolError),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors(sim: Simulator, fault: Fault, error: type[AccelerateError], stream: bool) -> None:
    async with make(sim, max_retries=0) as client:
        sim.script(fault)
        with pytest.raises(error) as caught:
            if stream:
                await client.stream(MODEL, "Hello").collect()
            else:
                await client.chat(MODEL, "Hello")
        assert "sk-ant-test" not in str(vars(caught.value))
        assert (await client.chat(MODEL, "Hello")).text  # the next healthy call succeeds


async def test_an_error_names_the_request(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.status(400))
    with pytest.raises(AccelerateError) as caught:
        await client.chat(MODEL, "Hello")
    assert str(vars(caught.value)["request_id"]).startswith("req_sim")


async def test_overloaded_is_tried_again(sim: Simulator, client: AsyncClient) -> None:
    sim.script(Fault.status(529), Fault.error_event(at=0, type="overloaded_error"))
    assert (await client.stream(MODEL, "Hello").collect()).text
    assert len(sim.requests) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.error_event(at=5, type="overloaded_error", message="Busy"), ServerError),
        (Fault.error_event(at=5, type="rate_limit_error", message="Busy"), RateLimited),
        (Fault.cut(after=5), StreamCut),
        (Fault.bad_json(at=5, replace=True), ProtocolError),
    ],
    ids=str,
)
async def test_a_stream_that_breaks_off_is_never_whole(
    sim: Simulator, client: AsyncClient, fault: Fault, error: type[AccelerateError]
) -> None:
    sim.script(fault)
    pieces: list[str] = []
    with pytest.raises(error):
        async for chunk in client.stream(MODEL, "Hello"):
            pieces.append(chunk.text)  # noqa: PERF401  # what came before the error counts
    assert len([piece for piece in pieces if piece]) == 5


@pytest.mark.parametrize(
    "fault",
    [
        Fault.unknown_fields(),
        Fault.no_done(),
        Fault.messy(),
        Fault.split(),
        Fault.bad_json(at=4, data="{oh"),
    ],
    ids=str,
)
async def test_streams_that_look_odd_are_whole(sim: Simulator, client: AsyncClient, fault: Fault) -> None:
    healthy = await client.stream(MODEL, "Use the tools", tools=TOOLS, reasoning_effort="low").collect()
    sim.script(fault)
    reply = await client.stream(MODEL, "Use the tools", tools=TOOLS, reasoning_effort="low").collect()
    assert (reply.reasoning, reply.usage) == (healthy.reasoning, healthy.usage)
    assert [call.arguments for call in reply.tool_calls] == [call.arguments for call in healthy.tool_calls]
