"""Our client asks the simulated Google: every operation, tools both ways, errors, faults, and where the key goes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamCut,
)
from ipfs_accelerate_py.simulator import Fault, Simulator

MODEL = "gemini-2.5-flash"
TOOLS = [
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
    async with Simulator("gemini", tokens=6, dimensions=4, api_keys={"right": "AIza-right"}) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("google", base_url=sim.url, api_key="AIza-right", max_retries=0) as made:
        yield made


async def test_chat_says_the_same_whole_and_streamed(client: AsyncClient, sim: Simulator) -> None:
    options: dict[str, Any] = {"system": "Be brief", "reasoning_effort": "low", "max_tokens": 50, "user": "me"}
    whole = await client.chat(MODEL, "Hello", **options)
    streamed = await client.stream(MODEL, "Hello", **options).collect()
    assert (whole.text, whole.reasoning, whole.finish_reason) == (streamed.text, streamed.reasoning, "stop")
    assert whole.text
    assert whole.reasoning
    assert whole.usage == streamed.usage
    assert (whole.usage.output_tokens, whole.usage.reasoning_tokens) == (9, 3)
    assert whole.usage.total_tokens == whole.raw["usageMetadata"]["totalTokenCount"]
    assert whole.ignored == ("user",)
    assert (await client.chat(MODEL, "Hello", max_tokens=2)).finish_reason == "length"
    request = sim.requests[0]
    assert (request.path, request.query, request.key) == (f"/v1beta/models/{MODEL}:generateContent", "", "right")
    assert "authorization" not in request.headers


@pytest.mark.parametrize("model", [MODEL, "gemini-3-pro-preview"])
@pytest.mark.parametrize("stream", [False, True])
async def test_parallel_calls_and_their_results(client: AsyncClient, model: str, stream: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use a tool"}]
    if stream:
        reply = await client.stream(model, asked, tools=TOOLS).collect()
    else:
        reply = await client.chat(model, asked, tools=TOOLS)
    assert [call.name for call in reply.tool_calls] == ["get_weather", "get_time"]
    assert reply.finish_reason == "tool_calls"
    assert bool(reply.tool_calls[0].signature) == (model != MODEL)
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            "extra_content": {"google": {"thought_signature": call.signature}},
        }
        for call in reply.tool_calls
    ]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in reply.tool_calls]
    assert (await client.chat(model, [*asked, {"role": "assistant", "tool_calls": calls}, *results], tools=TOOLS)).text
    for call in calls:
        del call["extra_content"]  # as a call that another vendor's model has made
    assert (await client.chat(model, [*asked, {"role": "assistant", "tool_calls": calls}, *results], tools=TOOLS)).text


async def test_everything_else_that_it_can_do(client: AsyncClient) -> None:
    picture = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": picture}}]
    assert (await client.chat(MODEL, [{"role": "user", "content": content}])).usage.input_tokens > 258
    sound = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
    assert (await client.chat(MODEL, [{"role": "user", "content": sound}])).usage.input_audio_tokens == 32
    schema = {"type": "object", "properties": {"n": {"const": 7}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert (await client.chat(MODEL, "Hello", response_format=wanted)).text == '{"n":7}'
    cached = await client.chat(MODEL, "Hello", cached_content="cachedContents/1")
    assert (cached.usage.cached_tokens, cached.usage.classes()["cached"]) == (100, 100)

    reply = await client.embed("gemini-embedding-001", ["a", "b"], dimensions=3, task_type="CLUSTERING")
    assert [len(vector) for vector in reply.vectors] == [3, 3]
    assert (await client.count_tokens(MODEL, "Hello there", system="x")).usage.input_tokens == 4
    assert MODEL in [model.id for model in await client.models()]
    assert (await client.models(page_size=1))[0].owner == "google"

    spoken = await client.speak("gemini-2.5-flash-preview-tts", "Hello", voice="Kore", response_format="pcm")
    assert spoken.content_type == "audio/L16;codec=pcm;rate=24000"
    assert spoken.usage.output_audio_tokens == 6
    drawn = await client.generate_images("gemini-2.5-flash-image", "A cat", size="1024x1024")
    assert drawn.images[0].data.startswith(b"\x89PNG")
    raw = await client.request(f"/models/{MODEL}:countTokens", {"contents": [{"parts": [{"text": "Hello"}]}]})
    assert raw.raw["totalTokens"] == 2
    body = {"contents": [{"parts": [{"text": "Hello"}]}]}
    events = [
        chunk.raw async for chunk in client.stream_request(f"/models/{MODEL}:streamGenerateContent?alt=sse", body)
    ]
    assert len(events) == 7
    several = client.stream(MODEL, "Hello", n=2)
    assert {chunk.index async for chunk in several} == {0, 1}


@pytest.mark.parametrize("model", ["a/b", "../../v1/models/x", "a?b#c", "models/x%2Fy", "naïve 世界"])
async def test_a_models_name_stays_a_name_on_the_wire(client: AsyncClient, sim: Simulator, model: str) -> None:
    assert (await client.chat(model, "Hello")).text
    name = model.removeprefix("models/")
    assert (sim.requests[-1].path, sim.requests[-1].query) == (f"/v1beta/models/{name}:generateContent", "")
    assert [each async for each in client.stream(model, "Hello")]
    assert sim.requests[-1].query == "alt=sse"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", InvalidRequest),
        ("401", AuthenticationError),
        ("402", QuotaExhausted),
        ("403", AuthenticationError),
        ("404", InvalidRequest),
        ("408", ServerError),
        ("409", ServerError),
        ("413", InvalidRequest),
        ("422", InvalidRequest),
        ("429", RateLimited),
        ("500", ServerError),
        ("503", ServerError),
        ("529", ServerError),
        ("context_length_exceeded", ContextLengthExceeded),
        ("content_policy_violation", ContentFiltered),
        ("model_not_found", ModelNotFound),
        ("insufficient_quota", QuotaExhausted),
        ("error_200", ServerError),
        ("html", BackendError),
        ("html:code=502", ServerError),
        ("not_object", BackendError),
        ("bad_json", BackendError),
        ("cut", BackendError),
        ("reset", BackendError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_failure_is_a_typed_error(
    client: AsyncClient, sim: Simulator, fault: str, kind: type[BackendError], stream: bool
) -> None:
    sim.script(fault)
    with pytest.raises(kind) as caught:
        if stream:
            await client.stream(MODEL, "Hello").collect()
        else:
            await client.chat(MODEL, "Hello")
    assert "AIza" not in f"{caught.value} {caught.value.body}"
    assert (await client.chat(MODEL, "Hello")).text


@pytest.mark.parametrize("fault", ["messy", "split", "split:size=0", "gzip", "unknown_fields", "no_done"])
async def test_what_is_odd_and_right_is_read(client: AsyncClient, sim: Simulator, fault: str) -> None:
    whole = await client.chat(MODEL, "Hello")
    sim.script(fault, fault)
    assert (await client.stream(MODEL, "Hello").collect()).text == whole.text
    assert (await client.chat(MODEL, "Hello")).text == whole.text


async def test_streams_that_break(client: AsyncClient, sim: Simulator) -> None:
    texts: list[str] = []
    sim.script(Fault.cut(after=3))
    with pytest.raises(StreamCut):
        async for chunk in client.stream(MODEL, "Hello"):
            texts += [chunk.text]
    assert len(texts) == 3
    sim.script(Fault.error_event(at=3))
    with pytest.raises(ServerError, match="had an error"):
        await client.stream(MODEL, "Hello").collect()
    sim.script(Fault.bad_json(at=3))
    with pytest.raises(BackendError, match="not whole"):
        await client.stream(MODEL, "Hello").collect()


async def test_a_wrong_key_is_told_and_another_takes_its_place(sim: Simulator) -> None:
    async with AsyncClient("gemini", base_url=sim.url, api_key="AIza-wrong", max_retries=0) as client:
        with pytest.raises(AuthenticationError, match="Authentication error") as caught:
            await client.chat(MODEL, "Hello")
        assert (caught.value.code, caught.value.status) == ("API_KEY_INVALID", 400)
        client.add_api_key("second", "AIza-right")
        client.settings.update({"max_retries": 2, "initial_retry_delay": 0.001})
        assert (await client.chat(MODEL, "Hello")).text


async def test_a_limit_says_when_to_come_back() -> None:
    async with (
        Simulator("gemini", requests_per_minute=1) as sim,
        AsyncClient("gemini", base_url=sim.url, api_key="AIza-1", max_retries=0) as client,
    ):
        await client.chat(MODEL, "Hello")
        with pytest.raises(RateLimited) as limited:
            await client.chat(MODEL, "Hello")
        assert limited.value.retry_after is not None
        assert 50 < limited.value.retry_after <= 60


async def test_where_the_service_is() -> None:
    for given in ("http://127.0.0.1:9", "http://127.0.0.1:9/"):
        async with AsyncClient("gemini", base_url=given, api_key="a") as client:
            assert client.base_url == "http://127.0.0.1:9/v1beta"
    async with AsyncClient("gemini", api_key="a") as client:
        assert client.base_url == "https://generativelanguage.googleapis.com/v1beta"
