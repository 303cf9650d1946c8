"""Anthropic's own client reads the simulated service: answers, streams, tools, counts, models, and its typed errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pydantic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, TextBlock, ThinkingBlock, ToolUseBlock

from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread

MODEL = "claude-haiku-4-5"
MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
    {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
]
THINK: Any = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("anthropic") as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=sim.url, api_key="sk-ant-test", max_retries=0) as made:
        yield made


@pytest.fixture
def threaded() -> Iterator[tuple[SimulatorThread, Anthropic]]:
    with (
        SimulatorThread("anthropic") as sim,
        Anthropic(base_url=sim.url, api_key="sk-ant-test", max_retries=0) as made,
    ):
        yield sim, made


async def create(client: AsyncAnthropic, messages: list[Any] = MESSAGES, **options: Any) -> Message:
    made: Message = await client.messages.create(
        **{"model": MODEL, "max_tokens": 4000, "messages": messages, **options}
    )
    return made


async def collect(client: AsyncAnthropic, messages: list[Any] = MESSAGES, **options: Any) -> tuple[Message, list[str]]:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 4000, "messages": messages, **options}
    async with client.messages.stream(**asked) as stream:
        kinds: list[str] = [event.type async for event in stream]
        return await stream.get_final_message(), kinds


def shown(message: Message) -> list[dict[str, Any]]:
    """The blocks, whichever of the client's classes they are of."""
    return [{name: value for name, value in block.to_dict().items() if value is not None} for block in message.content]


def said(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- answers -----------------------------------------------------------------------------------------------------


async def test_a_message_says_the_same_unary_and_streamed(client: AsyncAnthropic) -> None:
    reply = await create(client)
    assert (reply.type, reply.role, reply.model, reply.stop_reason) == ("message", "assistant", MODEL, "end_turn")
    assert reply.id.startswith("msg_sim")
    streamed, kinds = await collect(client)
    assert shown(streamed) == shown(reply)
    assert said(reply)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("text") == 20
    assert streamed.usage.output_tokens == reply.usage.output_tokens == 20
    assert streamed.usage.input_tokens == reply.usage.input_tokens > 0


def test_the_synchronous_client(threaded: tuple[SimulatorThread, Anthropic]) -> None:
    sim, client = threaded
    reply = client.messages.create(model=MODEL, max_tokens=50, messages=MESSAGES)
    with client.messages.stream(model=MODEL, max_tokens=50, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
    assert text == said(reply)
    events = client.messages.create(model=MODEL, max_tokens=50, messages=MESSAGES, stream=True)
    assert [event.type for event in events][-2:] == ["message_delta", "message_stop"]
    assert [request.status for request in sim.requests] == [200, 200, 200]
    assert reply._request_id is not None
    assert reply._request_id.startswith("req_sim")


@pytest.mark.parametrize("style", ["api_key", "auth_token", "x-api-key"])
async def test_keys_are_taken_in_either_style(style: str) -> None:
    async with Simulator("anthropic", api_keys={"mine": "sk-1"}) as sim:
        options: dict[str, Any] = {style: "sk-1"}
        if style == "x-api-key":
            options = {"api_key": "unused", "default_headers": {"x-api-key": "sk-1", "Authorization": ""}}
        async with AsyncAnthropic(base_url=sim.url, max_retries=0, **options) as client:
            assert said(await create(client))
        assert sim.requests[0].key == "mine"
        assert "sk-1" not in str(sim.requests)
        async with AsyncAnthropic(base_url=sim.url, max_retries=0, api_key="sk-2") as other:
            with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
                await create(other)


async def test_length_and_stops() -> None:
    async with (
        Simulator("anthropic", reply="one two three four") as sim,
        AsyncAnthropic(base_url=sim.url, api_key="x") as client,
    ):
        short = await create(client, max_tokens=2)
        assert (said(short), short.stop_reason) == ("one two", "max_tokens")
        stopped = await create(client, stop_sequences=["four", "ree"])
        assert (said(stopped), stopped.stop_reason, stopped.stop_sequence) == ("one two th", "stop_sequence", "ree")
        streamed, _ = await collect(client, stop_sequences=["four", "ree"])
        assert (said(streamed), streamed.stop_sequence) == ("one two th", "ree")


async def test_thinking_is_signed_and_comes_back(client: AsyncAnthropic) -> None:
    reply = await create(client, thinking=THINK)
    thought = reply.content[0]
    assert isinstance(thought, ThinkingBlock)
    assert thought.thinking
    assert reply.usage.output_tokens_details is not None
    assert reply.usage.output_tokens_details.thinking_tokens == 10
    streamed, kinds = await collect(client, thinking=THINK)
    assert shown(streamed) == shown(reply)
    assert {"thinking", "signature"} <= set(kinds)
    history = [*MESSAGES, reply.to_param(), {"role": "user", "content": "And?"}]
    assert said(await create(client, history, thinking=THINK))
    forged = {"type": "thinking", "thinking": "Other thoughts", "signature": thought.signature}
    history[1] = {"role": "assistant", "content": [forged]}
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        await create(client, history)


async def test_thinking_that_nobody_is_to_read(client: AsyncAnthropic) -> None:
    omitted = await create(client, thinking={**THINK, "display": "omitted"})
    assert isinstance(omitted.content[0], ThinkingBlock)
    assert (omitted.content[0].thinking, bool(omitted.content[0].signature)) == ("", True)
    asked: list[Any] = [{"role": "user", "content": "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_1"}]
    reply = await create(client, asked, thinking=THINK)
    assert reply.content[0].type == "redacted_thinking"
    assert shown((await collect(client, asked, thinking=THINK))[0]) == shown(reply)
    history = [*asked, reply.to_param(), {"role": "user", "content": "And?"}]
    assert said(await create(client, history, thinking=THINK))


async def test_adaptive_thinking_is_for_newer_models(client: AsyncAnthropic) -> None:
    reply = await create(client, model="claude-opus-5-5", thinking={"type": "adaptive"})
    assert reply.content[0].type == "thinking"
    with pytest.raises(anthropic.BadRequestError, match="adaptive"):
        await create(client, thinking={"type": "adaptive"})
    with pytest.raises(anthropic.BadRequestError, match="enabled"):
        await create(client, model="claude-opus-5-5", thinking=THINK)


async def test_tools_are_called_and_their_results_answered(client: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use the tools"}]
    reply = await create(client, asked, tools=TOOLS)
    calls = [block for block in reply.content if isinstance(block, ToolUseBlock)]
    assert (reply.stop_reason, [call.name for call in calls]) == ("tool_use", ["get_weather", "get_time"])
    assert isinstance(calls[0].input["city"], str)
    assert calls[1].input == {}
    streamed, kinds = await collect(client, asked, tools=TOOLS)
    assert [block.input for block in streamed.content if isinstance(block, ToolUseBlock)] == [
        call.input for call in calls
    ]
    assert "input_json" in kinds
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "fine"} for call in calls]
    history = [*asked, reply.to_param(), {"role": "user", "content": results}]
    answer = await create(client, history, tools=TOOLS)
    assert (answer.stop_reason, bool(said(answer))) == ("end_turn", True)
    with pytest.raises(anthropic.BadRequestError, match="tool_result"):
        await create(client, [*asked, reply.to_param(), {"role": "user", "content": results[:1]}], tools=TOOLS)
    with pytest.raises(anthropic.BadRequestError, match="tool_use_id"):
        await create(client, [{"role": "user", "content": results[:1]}], tools=TOOLS)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "any"}, ["get_weather", "get_time"]),
        ({"type": "any", "disable_parallel_tool_use": True}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "none"}, []),
        ({"type": "auto"}, []),
    ],
)
async def test_tool_choice(client: AsyncAnthropic, choice: dict[str, Any], names: list[str]) -> None:
    reply = await create(client, tools=TOOLS, tool_choice=choice)
    assert [block.name for block in reply.content if isinstance(block, ToolUseBlock)] == names


class Trip(pydantic.BaseModel):
    city: str
    days: int


def test_structured_output(threaded: tuple[SimulatorThread, Anthropic]) -> None:
    _, client = threaded
    reply = client.messages.parse(model=MODEL, max_tokens=500, messages=MESSAGES, output_format=Trip)
    assert isinstance(reply.parsed_output, Trip)
    wanted: Any = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}
    with pytest.raises(anthropic.BadRequestError, match="additionalProperties"):
        client.messages.create(model=MODEL, max_tokens=500, messages=MESSAGES, output_config=wanted)


async def test_documents_are_cited(client: AsyncAnthropic) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "The grass is green. The sky is blue."}
    document = {"type": "document", "source": source, "title": "Facts", "citations": {"enabled": True}}
    asked: list[Any] = [{"role": "user", "content": [document, {"type": "text", "text": "What is green?"}]}]
    reply = await create(client, asked)
    block = reply.content[0]
    assert isinstance(block, TextBlock)
    assert block.citations is not None
    assert block.citations[0].cited_text == "The grass is green. "
    streamed, kinds = await collect(client, asked)
    assert shown(streamed) == shown(reply)
    assert "citation" in kinds


async def test_the_cache_is_written_once_and_read_afterwards(client: AsyncAnthropic) -> None:
    system = [{"type": "text", "text": "Long ago " * 100, "cache_control": {"type": "ephemeral"}}]
    first, second = (await create(client, system=system)).usage, (await create(client, system=system)).usage
    assert first.cache_creation_input_tokens
    assert (first.cache_read_input_tokens, second.cache_creation_input_tokens) == (0, 0)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    counted = await client.messages.count_tokens(model=MODEL, messages=MESSAGES, system="Long ago " * 100)
    assert first.input_tokens + first.cache_creation_input_tokens == counted.input_tokens


async def test_a_refusal(client: AsyncAnthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1"}]
    for reply in (await create(client, asked), (await collect(client, asked))[0]):
        assert (reply.stop_reason, reply.content) == ("refusal", [])
        assert reply.stop_details is not None
        assert reply.stop_details.explanation


# --- counts and models -------------------------------------------------------------------------------------------


async def test_counting(client: AsyncAnthropic) -> None:
    plain = await client.messages.count_tokens(model=MODEL, messages=MESSAGES)
    more = await client.messages.count_tokens(model=MODEL, messages=MESSAGES, tools=TOOLS, system="Be brief")
    assert 0 < plain.input_tokens < more.input_tokens
    assert plain.input_tokens == (await create(client)).usage.input_tokens


async def test_models_in_pages() -> None:
    names = [f"claude-{number}" for number in range(5)]
    async with (
        Simulator("anthropic", models=names) as sim,
        AsyncAnthropic(base_url=sim.url, api_key="x", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list(limit=2)] == names
        assert [request.query for request in sim.requests] == [
            "limit=2",
            "limit=2&after_id=claude-1",
            "limit=2&after_id=claude-3",
        ]
        before = await client.models.list(limit=2, before_id="claude-3")
        assert ([model.id for model in before.data], before.has_more) == (names[1:3], True)
        assert (await client.models.retrieve("claude-2")).created_at.year == 2026
        with pytest.raises(anthropic.NotFoundError, match="claude-9"):
            await client.models.retrieve("claude-9")
        with pytest.raises(anthropic.NotFoundError, match="model: other"):
            await create(client, model="other")
        with pytest.raises(anthropic.BadRequestError, match="limit"):
            await client.models.list(limit=2000)


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.PaymentRequiredError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.ContentTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
async def test_typed_errors(
    sim: Simulator, client: AsyncAnthropic, status: int, error: type[anthropic.APIStatusError], kind: str
) -> None:
    sim.script(Fault.status(status, message="Told to"))
    with pytest.raises(error, match="Told to") as caught:
        await create(client)
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    body = caught.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["request_id"] == caught.value.request_id


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("context_length_exceeded", 400, "prompt is too long"),
        ("content_policy_violation", 400, "content filtering"),
        ("insufficient_quota", 402, "nothing left to spend"),
        ("model_not_found", 404, MODEL),
    ],
)
async def test_faults_that_have_a_name(
    sim: Simulator, client: AsyncAnthropic, fault: str, status: int, words: str
) -> None:
    sim.script(fault)
    with pytest.raises(anthropic.APIStatusError, match=words) as caught:
        await create(client)
    assert caught.value.status_code == status


async def test_an_error_in_mid_stream(sim: Simulator, client: AsyncAnthropic) -> None:
    sim.script(Fault.error_event(at=3, type="overloaded_error", message="Too busy"))
    with pytest.raises(anthropic.APIStatusError, match="Too busy") as caught:
        await collect(client)
    assert caught.value.type == "overloaded_error"


async def test_the_client_tries_again_by_itself(sim: Simulator) -> None:
    sim.script(Fault.status(529, retry_after_ms=1), Fault.reset())
    async with AsyncAnthropic(base_url=sim.url, api_key="x", max_retries=2) as client:
        assert said(await create(client))
    assert [request.status for request in sim.requests] == [529, 0, 200]


async def test_rate_limits_are_told_in_headers() -> None:
    async with (
        Simulator("anthropic", requests_per_minute=1, tokens_per_minute=100_000) as sim,
        AsyncAnthropic(base_url=sim.url, api_key="x", max_retries=0) as client,
    ):
        raw = await client.messages.with_raw_response.create(model=MODEL, max_tokens=9, messages=MESSAGES)
        assert raw.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert raw.headers["anthropic-ratelimit-tokens-limit"] == "100000"
        assert raw.headers["anthropic-ratelimit-tokens-reset"].endswith("Z")
        with pytest.raises(anthropic.RateLimitError) as caught:
            await create(client)
        assert float(caught.value.response.headers["retry-after"]) > 0


# --- wrong requests ----------------------------------------------------------------------------------------------

PNG = {"type": "base64", "media_type": "image/png", "data": "iVA="}


def image(**source: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image", "source": {**PNG, **source}}]}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bogus": 1}, "bogus: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "greater than or equal to 1"),
        ({"model": ""}, "model"),
        ({"messages": []}, "at least one message"),
        ({"messages": "Hello"}, "valid list"),
        ({"messages": [{"role": "system", "content": "x"}]}, "top-level `system`"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "Input tag 'image_url'"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": PNG, "x": 1}]}]}, "Extra inputs"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {**PNG, "media_type": "image/x"}}]}
                ]
            },
            "media_type",
        ),
        ({"messages": image(data="é")}, "base64"),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "`max_tokens` must be greater"),
        ({"thinking": THINK, "temperature": 0.5}, "temperature"),
        ({"thinking": THINK, "tools": TOOLS, "tool_choice": {"type": "any"}}, "forces tool use"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "'object'"),
        ({"tool_choice": {"type": "any"}}, "providing tools"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}}, "not found"),
        ({"system": [{"type": "image"}]}, "system.0.type"),
        ({"metadata": {"team": "x"}}, "metadata.team"),
        (
            {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5},
            "maximum of 4 blocks",
        ),
    ],
)
async def test_wrong_requests_are_refused_in_anthropics_words(
    client: AsyncAnthropic, changes: dict[str, Any], words: str
) -> None:
    body = {"model": MODEL, "max_tokens": 4000, "messages": MESSAGES, **changes}
    with pytest.raises(anthropic.BadRequestError) as caught:
        await client.post("/v1/messages", body=body, cast_to=Message)
    assert words in str(caught.value)


async def test_a_version_is_asked_for(client: AsyncAnthropic) -> None:
    for version in ("", "newest"):
        with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
            await create(client, extra_headers={"anthropic-version": version})
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version: header is required"):
        await create(client, extra_headers={"anthropic-version": anthropic.Omit()})


async def test_other_paths_and_methods(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await client.post("/v1/complete", body={}, cast_to=Message)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await client.get("/v1/messages", cast_to=Message)
    assert caught.value.status_code == 405
