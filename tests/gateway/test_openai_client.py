"""The official client against the gateway: its answers, its streams, its own typed errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from ipfs_accelerate_py.gateway import GatewayServer
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

from .support import ALIAS, CLIENT_KEY, MODEL, Setup, config_for, nothing_held, running

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="any", max_retries=0) as made:
        yield made


async def test_a_chat(client: openai.AsyncOpenAI, setup: Setup) -> None:
    reply = await client.chat.completions.create(model=ALIAS, messages=HELLO, temperature=0.2)
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    [sent] = setup.sim.requests
    assert sent.body == {"model": MODEL, "messages": HELLO, "temperature": 0.2}
    assert reply._request_id is not None
    assert reply._request_id.startswith("req_")


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream(client: openai.AsyncOpenAI, setup: Setup, asked: bool) -> None:
    """Counts come when they were asked for, and only then; the upstream was asked either way, for our own."""
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await client.chat.completions.create(model=ALIAS, messages=HELLO, stream=True, **options)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    unary = await client.chat.completions.create(model=ALIAS, messages=HELLO)
    assert text == unary.choices[0].message.content
    counts = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert counts == ([unary.usage] if asked else [])
    assert all(chunk.choices for chunk in chunks) is not asked
    assert setup.sim.requests[0].body["stream_options"] == {"include_usage": True}
    used = setup.gateway.app.table.backends["openai"].snapshot()["usage"]["models"][MODEL]
    assert unary.usage is not None
    assert used["output_tokens"] == 2 * unary.usage.completion_tokens


async def test_tools_and_the_clients_own_stream_helper(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model=ALIAS, messages=HELLO, tools=[TOOL], tool_choice="required"
    ) as stream:
        done = await stream.get_final_completion()
    calls: list[Any] = done.choices[0].message.tool_calls or []
    assert done.choices[0].finish_reason == "tool_calls"
    assert json.loads(calls[0].function.arguments).keys() == {"city"}
    conversation: Any = [
        *HELLO,
        done.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": calls[0].id, "content": "rain"},
    ]
    reply = await client.chat.completions.create(model=ALIAS, messages=conversation, tools=[TOOL])
    assert reply.choices[0].message.content


async def test_plain_completions(client: openai.AsyncOpenAI) -> None:
    reply = await client.completions.create(model=ALIAS, prompt="Once")
    stream = await client.completions.create(model=ALIAS, prompt="Once", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream if chunk.choices]) == reply.choices[0].text


async def test_responses(client: openai.AsyncOpenAI) -> None:
    reply = await client.responses.create(model=ALIAS, input="Hello")
    assert reply.output_text
    stream = await client.responses.create(model=ALIAS, input="Hello", stream=True)
    events = [event async for event in stream]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == reply.output_text
    assert events[-1].type == "response.completed"


@pytest.mark.parametrize("given", ["one", ["one", "two"], [1, 2, 3], [[1, 2], [3]]])
@pytest.mark.parametrize("form", ["float", "base64"])
async def test_embeddings_of_a_backend(client: openai.AsyncOpenAI, setup: Setup, given: Any, form: Any) -> None:
    reply = await client.embeddings.create(model=ALIAS, input=given, encoding_format=form, dimensions=8)
    assert len(reply.data) == (2 if given in (["one", "two"], [[1, 2], [3]]) else 1)
    assert setup.sim.requests[0].body == {"model": MODEL, "input": given, "encoding_format": form, "dimensions": 8}
    # Asked for nothing in particular, this client asks for base64 and decodes it.
    plain = await client.embeddings.create(model=ALIAS, input=given, dimensions=8)
    assert len(plain.data[0].embedding) == 8


async def test_models(client: openai.AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [(model.id, model.owned_by) for model in models] == [(ALIAS, "openai")]
    assert (await client.models.retrieve(ALIAS)).created > 1_700_000_000
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody/nothing")


@pytest.mark.parametrize(
    ("fault", "kind", "status", "code"),
    [
        (Fault.status(400, error_code="odd"), openai.BadRequestError, 400, "odd"),
        (Fault.context_length_exceeded(), openai.BadRequestError, 400, "context_length_exceeded"),
        (Fault.content_policy_violation(), openai.BadRequestError, 400, "content_policy_violation"),
        (Fault.status(401), openai.AuthenticationError, 401, None),
        (Fault.status(403), openai.PermissionDeniedError, 403, None),
        (Fault.model_not_found(), openai.NotFoundError, 404, "model_not_found"),
        (Fault.status(422), openai.UnprocessableEntityError, 422, None),
        (Fault.status(429, retry_after=0.1), openai.RateLimitError, 429, None),
        (Fault.insufficient_quota(), openai.RateLimitError, 429, "insufficient_quota"),
        (Fault.status(500), openai.InternalServerError, 502, None),
        (Fault.status(503), openai.InternalServerError, 502, None),
        (Fault.html(code=502), openai.InternalServerError, 502, None),
        (Fault.html(), openai.InternalServerError, 502, "protocol_error"),
        (Fault.not_object(), openai.InternalServerError, 502, "protocol_error"),
        (Fault.error_200(error_code="rate_limit_exceeded"), openai.RateLimitError, 429, "rate_limit_exceeded"),
        (Fault.redirect(), openai.InternalServerError, 502, "protocol_error"),
        (Fault.big_headers(), openai.InternalServerError, 502, None),
        (Fault.reset(), openai.InternalServerError, 502, "transport_error"),
        (Fault.malformed(), openai.InternalServerError, 502, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_the_upstream_are_the_clients_own(
    setup: Setup, client: openai.AsyncOpenAI, fault: Fault, kind: type[openai.APIStatusError], status: int,
    code: str | None, stream: bool,
) -> None:  # fmt: skip
    setup.sim.always(fault)
    with pytest.raises(kind) as raised:
        await client.chat.completions.create(model=ALIAS, messages=HELLO, stream=stream)
    error = raised.value
    assert error.status_code == status
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert error.body["message"]
    assert error.body["type"]
    if code is not None:
        assert error.code == code
    assert "None" not in (error.body["code"], error.body["param"])
    assert error.request_id
    assert ("retry-after" in error.response.headers) is (status == 429 and code != "insufficient_quota")
    setup.sim.clear()
    assert (await client.chat.completions.create(model=ALIAS, messages=HELLO)).choices[0].message.content
    await nothing_held(setup)


async def test_an_error_in_mid_stream_is_an_error_and_keeps_its_words(setup: Setup, client: openai.AsyncOpenAI) -> None:
    setup.sim.script(Fault.error_event(at=5, message="The model has gone for a walk."))
    stream = await client.chat.completions.create(model=ALIAS, messages=HELLO, stream=True)
    seen = []
    with pytest.raises(openai.APIError, match="gone for a walk"):
        async for chunk in stream:
            seen += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    assert len(seen) == 5


async def test_unknown_models(client: openai.AsyncOpenAI, setup: Setup) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        await client.chat.completions.create(model="gpt-unknown", messages=HELLO)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    assert "gpt-unknown" in str(raised.value)
    with pytest.raises(openai.NotFoundError):  # its name at the upstream is not a name here
        await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert setup.sim.requests == []


async def test_wrong_fields_are_named(client: openai.AsyncOpenAI, setup: Setup) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.chat.completions.create(model=ALIAS, messages=HELLO, temperature="hot")  # type: ignore[call-overload]
    assert (raised.value.param, raised.value.code) == ("temperature", "invalid_type")
    assert setup.sim.requests == []


async def test_keys(guarded: Setup) -> None:
    async with openai.AsyncOpenAI(base_url=guarded.gateway.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.chat.completions.create(model=ALIAS, messages=HELLO)
        assert raised.value.code == "invalid_api_key"
        right = client.with_options(api_key=CLIENT_KEY)
        assert (await right.chat.completions.create(model=ALIAS, messages=HELLO)).choices
    assert len(guarded.sim.requests) == 1


async def test_requests_wait_in_the_queue_and_a_full_queue_says_so() -> None:
    settings = {"max_concurrent_requests": 1, "queue_size": 1}
    async with (
        running(sim={"latency": 0.05}, settings=settings) as setup,
        openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="any", max_retries=0) as client,
    ):
        three = [client.chat.completions.create(model=ALIAS, messages=HELLO) for _ in range(3)]
        done = await asyncio.gather(*three, return_exceptions=True)
        [refused] = [each for each in done if isinstance(each, BaseException)]
        assert isinstance(refused, openai.RateLimitError)
        assert refused.code == "queue_full"
        assert refused.response.headers["retry-after"] == "1"
        # The client's own retries obey the header, and so all get through.
        patient = client.with_options(max_retries=5)
        four = [patient.chat.completions.create(model=ALIAS, messages=HELLO) for _ in range(2)]
        assert all(each.choices for each in await asyncio.gather(*four))


async def test_an_open_breaker_says_when_to_come_back() -> None:
    async with (
        running(settings={"circuit_failure_threshold": 2, "circuit_reset_timeout": 30.0}) as setup,
        openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="any", max_retries=0) as client,
    ):
        setup.sim.always(Fault.status(503))
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model=ALIAS, messages=HELLO)
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model=ALIAS, messages=HELLO)
        assert (raised.value.status_code, raised.value.code) == (503, "circuit_open")
        assert 25 <= int(raised.value.response.headers["retry-after"]) <= 30
        assert len(setup.sim.requests) == 2


async def test_the_clients_own_request_id_is_kept(setup: Setup, client: openai.AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=ALIAS, messages=HELLO, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"


# --- the synchronous client --------------------------------------------------------------------------------------


@pytest.fixture
def threaded() -> Iterator[tuple[GatewayServer, SimulatorThread]]:
    with SimulatorThread("openai") as sim, GatewayServer(config_for(sim.url)) as gateway:
        yield gateway, sim


def test_the_synchronous_client(threaded: tuple[GatewayServer, SimulatorThread]) -> None:
    gateway, sim = threaded
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client:
        reply = client.chat.completions.create(model=ALIAS, messages=HELLO)
        stream = client.chat.completions.create(model=ALIAS, messages=HELLO, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        assert text == reply.choices[0].message.content
        assert len(client.embeddings.create(model=ALIAS, input=["a", "b"]).data) == 2
        assert [model.id for model in client.models.list()] == [ALIAS]
        sim.script(Fault.status(429))
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model=ALIAS, messages=HELLO)
        with client.chat.completions.stream(
            model=ALIAS, messages=HELLO, tools=[TOOL], tool_choice="required"
        ) as events:
            assert events.get_final_completion().choices[0].finish_reason == "tool_calls"


def test_the_clients_own_retries_work_against_the_gateway(threaded: tuple[GatewayServer, SimulatorThread]) -> None:
    gateway, sim = threaded
    sim.script(Fault.status(503), Fault.status(429, retry_after_ms=5))
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=2) as client:
        assert client.chat.completions.create(model=ALIAS, messages=HELLO).choices
    assert [request.status for request in sim.requests] == [503, 429, 200]
