"""The official client reads the simulator: answers, streams, tools, vectors, and its own errors and retries."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread

from .raw import until

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 2},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "days", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("openai") as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sim.url, api_key="sk-test", max_retries=0) as made:
        yield made


@pytest.fixture
def sync_client() -> Iterator[tuple[SimulatorThread, OpenAI]]:
    with SimulatorThread("openai") as sim, OpenAI(base_url=sim.url, api_key="sk-test", max_retries=0) as made:
        yield sim, made


# --- chat --------------------------------------------------------------------------------------------------------


async def test_chat_says_the_same_unary_and_streamed(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert reply.system_fingerprint == "fp_simulator"
    assert (reply.choices[0].finish_reason, reply.model) == ("stop", "gpt-4o")
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == reply.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 21 + ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage == reply.usage
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.usage.total_tokens) == (20, 20 + reply.usage.prompt_tokens)
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].id != reply.id


async def test_answers_depend_on_the_messages_and_the_seed_and_on_nothing_else(client: AsyncOpenAI) -> None:
    async def say(text: str, **options: Any) -> str | None:
        messages: list[Any] = [{"role": "user", "content": text}]
        made: ChatCompletion = await client.chat.completions.create(model="gpt-4o", messages=messages, **options)
        return made.choices[0].message.content

    assert await say("one") == await say("one", temperature=1.5) != await say("two")
    async with Simulator(seed=1) as other, AsyncOpenAI(base_url=other.url, api_key="x") as second:
        made = await second.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "one"}])
        assert made.choices[0].message.content != await say("one")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_length(client: AsyncOpenAI, name: str) -> None:
    options: Any = {name: 5}
    reply = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, **options)
    whole = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5
    assert (whole.choices[0].message.content or "").startswith(reply.choices[0].message.content or "?")


async def test_stop_and_several_choices() -> None:
    async with Simulator(reply="one two three four") as sim, AsyncOpenAI(base_url=sim.url, api_key="x") as client:
        reply = await client.chat.completions.create(model="m", messages=MESSAGES, stop=["ree", "four"])
        assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("one two th", "stop")
        sim.configure(reply=None)
        reply = await client.chat.completions.create(model="m", messages=MESSAGES, n=3)
        assert len({choice.message.content for choice in reply.choices}) == 3
        assert [choice.index for choice in reply.choices] == [0, 1, 2]
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, n=3, stream=True)
        texts = {0: "", 1: "", 2: ""}
        async for chunk in stream:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        assert [choice.message.content for choice in reply.choices] == list(texts.values())


async def test_logprobs_belong_to_the_tokens(client: AsyncOpenAI) -> None:
    options: Any = {"logprobs": True, "top_logprobs": 2}
    reply = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, **options)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(one.token for one in logprobs.content) == reply.choices[0].message.content
    assert all(bytes(one.bytes or []).decode() == one.token for one in logprobs.content)
    assert all(
        one.top_logprobs[0].logprob == one.logprob <= 0 and len(one.top_logprobs) == 2 for one in logprobs.content
    )
    stream = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, **options)
    found: list[Any] = []
    async for chunk in stream:
        if chunk.choices[0].logprobs is not None:
            found += chunk.choices[0].logprobs.content or []
    assert found == logprobs.content


@pytest.mark.parametrize("model", ["o3-mini", "some-reasoner", "openai/o1"])
async def test_reasoning(client: AsyncOpenAI, model: str) -> None:
    reply = await client.chat.completions.create(model=model, messages=MESSAGES)
    assert reply.usage is not None
    details = reply.usage.completion_tokens_details
    assert details is not None
    assert (details.reasoning_tokens, reply.usage.completion_tokens) == (10, 30)
    reasoning = reply.choices[0].message.model_dump()["reasoning_content"]
    stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
    deltas = [chunk.choices[0].delta.model_dump() async for chunk in stream]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == reasoning
    short = await client.chat.completions.create(model=model, messages=MESSAGES, max_completion_tokens=4)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("", "length")


async def test_messages_may_have_images_and_sound(client: AsyncOpenAI) -> None:
    parts: list[Any] = [{"type": "text", "text": "What is it?"}]
    alone = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    parts += [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert reply.usage is not None
    assert alone.usage is not None
    assert reply.usage.prompt_tokens == alone.usage.prompt_tokens + 85 + 10


# --- tools and structured output ---------------------------------------------------------------------------------


def _check_weather(text: str) -> None:
    arguments = json.loads(text)
    assert set(arguments) == {"city", "days", "unit"}
    assert len(arguments["city"]) >= 2
    assert 1 <= arguments["days"] <= 7
    assert arguments["unit"] in ("celsius", "fahrenheit")


async def test_tools_are_called_when_asked_for(client: AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use a tool"}]
    reply = await client.chat.completions.create(model="m", messages=asked, tools=[WEATHER, TIME])
    message = reply.choices[0].message
    assert (reply.choices[0].finish_reason, message.content) == ("tool_calls", None)
    assert message.tool_calls is not None
    calls: list[Any] = list(message.tool_calls)
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    _check_weather(calls[0].function.arguments)
    assert len({call.id for call in calls}) == 2
    follow_up = [
        *asked,
        message.model_dump(exclude_none=True),
        *({"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls),
    ]
    reply = await client.chat.completions.create(model="m", messages=follow_up, tools=[WEATHER, TIME])
    assert reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("Hello", {}, []),
        ("Use a tool", {"tool_choice": "none"}, []),
        ("Use a tool", {"parallel_tool_calls": False}, ["get_weather"]),
        ("Ask get_time", {}, ["get_time"]),
        ("Hello", {"tool_choice": "required"}, ["get_weather", "get_time"]),
        ("Hello", {"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, ["get_time"]),
    ],
)
async def test_which_tools_are_called(client: AsyncOpenAI, text: str, options: Any, names: list[str]) -> None:
    reply = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": text}], tools=[WEATHER, TIME], **options
    )
    calls: list[Any] = list(reply.choices[0].message.tool_calls or [])
    assert [call.function.name for call in calls] == names


async def test_tool_calls_are_streamed_in_pieces(client: AsyncOpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": "tool"}]
    options: Any = {"model": "m", "messages": asked, "tools": [WEATHER, TIME]}
    whole = (await client.chat.completions.create(**options)).choices[0].message.tool_calls
    assert whole is not None
    pieces: dict[int, list[str]] = {}
    names, finish = [], None
    async for chunk in await client.chat.completions.create(**options, stream=True):
        finish = chunk.choices[0].finish_reason or finish
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            if call.function.name:
                names.append((call.index, call.function.name, bool(call.id)))
            pieces.setdefault(call.index, []).append(call.function.arguments or "")
    assert names == [(0, "get_weather", True), (1, "get_time", True)]
    assert ["".join(parts) for parts in pieces.values()] == [call.function.arguments for call in whole]
    assert len(pieces[0]) > 4
    assert finish == "tool_calls"


async def test_structured_output(client: AsyncOpenAI) -> None:
    schema = WEATHER["function"]["parameters"]
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "w", "schema": schema, "strict": True}}
    reply = await client.chat.completions.create(model="m", messages=MESSAGES, response_format=wanted)
    _check_weather(reply.choices[0].message.content or "")
    asked: list[Any] = [{"role": "user", "content": "Answer in JSON"}]
    reply = await client.chat.completions.create(model="m", messages=asked, response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content or ""), dict)
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        await client.chat.completions.create(model="m", messages=MESSAGES, response_format={"type": "json_object"})


# --- completions, responses, embeddings, models ------------------------------------------------------------------


async def test_completions(client: AsyncOpenAI) -> None:
    whole = await client.completions.create(model="m", prompt=["one", "two"], max_tokens=30, logprobs=1)
    assert [choice.finish_reason for choice in whole.choices] == ["stop", "stop"]
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert "".join(logprobs.tokens or []) == whole.choices[0].text
    assert (logprobs.text_offset or [])[1] == len((logprobs.tokens or [])[0])
    stream = await client.completions.create(
        model="m", prompt=["one", "two"], max_tokens=30, stream=True, stream_options={"include_usage": True}
    )
    texts, usage = ["", ""], None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert usage == whole.usage
    short = await client.completions.create(model="m", prompt="one", echo=True)
    assert short.choices[0].text.startswith("one")
    assert (short.choices[0].finish_reason, short.usage and short.usage.completion_tokens) == ("length", 16)


async def test_responses_unary_and_streamed(client: AsyncOpenAI) -> None:
    whole = await client.responses.create(model="o3-mini", input="Hello", instructions="Be brief.")
    assert (whole.status, whole.usage and whole.usage.output_tokens_details.reasoning_tokens) == ("completed", 10)
    texts, kinds, numbers = "", [], []
    async for event in await client.responses.create(
        model="o3-mini", input="Hello", instructions="Be brief.", stream=True
    ):
        kinds.append(event.type)
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            texts += event.delta
        if event.type == "response.completed":
            assert event.response.output_text == texts == whole.output_text
            assert event.response.usage == whole.usage
    assert numbers == list(range(len(kinds)))
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.completed",
    ]
    short = await client.responses.create(model="m", input="Hello", max_output_tokens=16)
    assert short.status == "incomplete"
    assert short.incomplete_details is not None
    assert short.incomplete_details.reason == "max_output_tokens"


async def test_responses_with_tools_and_structure(client: AsyncOpenAI) -> None:
    tool: Any = {"type": "function", **WEATHER["function"], "strict": True}
    asked: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Use a tool"}]}]
    whole = await client.responses.create(model="m", input=asked, tools=[tool])
    call = whole.output[0]
    assert call.type == "function_call"
    _check_weather(call.arguments)
    pieces, done = "", None
    async for event in await client.responses.create(model="m", input=asked, tools=[tool], stream=True):
        if event.type == "response.function_call_arguments.delta":
            pieces += event.delta
        if event.type == "response.function_call_arguments.done":
            done = event.arguments
    assert pieces == done == call.arguments
    asked += [call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    assert (await client.responses.create(model="m", input=asked, tools=[tool])).output[0].type == "message"
    wanted: Any = {"format": {"type": "json_schema", "name": "w", "schema": WEATHER["function"]["parameters"]}}
    _check_weather((await client.responses.create(model="m", input="Hello", text=wanted)).output_text)


async def test_embeddings_in_every_form(client: AsyncOpenAI) -> None:
    """The client asks for base64 unless told otherwise, and decodes it to floats."""
    packed = await client.embeddings.create(model="e", input=["one", "two"])
    plain = await client.embeddings.create(model="e", input="one", encoding_format="float")
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-7)
    assert len(plain.data[0].embedding) == 1536
    assert math.hypot(*plain.data[0].embedding) == pytest.approx(1, abs=1e-5)
    cosine = sum(a * b for a, b in zip(packed.data[0].embedding, packed.data[1].embedding, strict=True))
    assert abs(cosine) < 0.2
    raw = await client.embeddings.create(model="e", input="one", encoding_format="base64", dimensions=64)
    text: Any = raw.data[0].embedding
    short = struct.unpack("<64f", base64.b64decode(text))
    assert math.hypot(*short) == pytest.approx(1, abs=1e-5)
    scale = short[0] / plain.data[0].embedding[0]
    assert short == pytest.approx([value * scale for value in plain.data[0].embedding[:64]], abs=1e-5)
    tokens = await client.embeddings.create(model="e", input=[[1, 2, 3], [4]])
    assert (len(tokens.data), tokens.usage.prompt_tokens) == (2, 4)
    one = await client.embeddings.create(model="e", input=[1, 2, 3])
    assert one.data[0].embedding == tokens.data[0].embedding
    other = await client.embeddings.create(model="another", input="one")
    assert other.data[0].embedding != packed.data[0].embedding


async def test_models() -> None:
    async with (
        Simulator(models=["one", "org/two"]) as sim,
        AsyncOpenAI(base_url=sim.url, api_key="x", max_retries=0) as client,
    ):
        assert [model.id async for model in client.models.list()] == ["one", "org/two"]
        assert (await client.models.retrieve("one")).owned_by == "simulator"
        assert (await client.models.retrieve("org/two")).id == "org/two"
        for ask in (
            client.models.retrieve("three"),
            client.chat.completions.create(model="three", messages=MESSAGES),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                await ask
            assert caught.value.code == "model_not_found"
        assert (await client.embeddings.create(model="one", input="x")).model == "one"


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai/v1"])
async def test_paths_of_other_services(sim: Simulator, prefix: str) -> None:
    base = f"http://{sim.host}:{sim.port}{prefix}"
    async with AsyncOpenAI(base_url=base, api_key="x", max_retries=0) as client:
        assert (await client.chat.completions.create(model="m", messages=MESSAGES)).object == "chat.completion"
        assert (await client.models.retrieve("m")).id == "m"
        assert len((await client.models.list()).data) > 1


# --- errors and retries ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.status(400), openai.BadRequestError),
        (Fault.status(401), openai.AuthenticationError),
        (Fault.status(403), openai.PermissionDeniedError),
        (Fault.model_not_found(), openai.NotFoundError),
        (Fault.status(409), openai.ConflictError),
        (Fault.status(422), openai.UnprocessableEntityError),
        (Fault.insufficient_quota(), openai.RateLimitError),
        (Fault.status(503), openai.InternalServerError),
        (Fault.reset(), openai.APIConnectionError),
        (Fault.close(), openai.APIConnectionError),
    ],
)
async def test_errors_arrive_as_the_clients_own(
    sim: Simulator, client: AsyncOpenAI, fault: Fault, kind: type[openai.APIError]
) -> None:
    sim.script(fault)
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(model="m", messages=MESSAGES)
    if isinstance(caught.value, openai.APIStatusError):
        assert (caught.value.request_id or "").startswith("req_")


async def test_an_error_in_a_stream_is_raised(sim: Simulator, client: AsyncOpenAI) -> None:
    sim.script(Fault.error_event(at=3, message="It broke."))
    stream = aiter(await client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    for _ in range(4):
        await anext(stream)
    with pytest.raises(openai.APIError, match=r"It broke\."):
        await anext(stream)


async def test_a_cut_stream_is_an_error(sim: Simulator, client: AsyncOpenAI) -> None:
    sim.script(Fault.cut(after=3))
    stream = aiter(await client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
    for _ in range(4):
        await anext(stream)
    with pytest.raises(openai.APIConnectionError):
        await anext(stream)


def test_the_client_retries_as_it_is_told(sync_client: tuple[SimulatorThread, OpenAI]) -> None:
    sim, client = sync_client
    sim.script(Fault.status(429, retry_after_ms=30), Fault.reset(), Fault.status(500, retry_after=0.05))
    reply = client.with_options(max_retries=3).chat.completions.create(model="m", messages=MESSAGES)
    assert reply.choices[0].message.content
    first, second, third, fourth = sim.requests
    assert [one.status for one in sim.requests] == [429, 0, 500, 200]
    assert first.t_end is not None
    assert third.t_end is not None
    assert second.t_start - first.t_end >= 0.03
    assert fourth.t_start - third.t_end >= 0.05
    sim.script(Fault.status(500, should_retry=False))
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=3).chat.completions.create(model="m", messages=MESSAGES)
    assert len(sim.requests) == 5


def test_the_sync_client_streams(sync_client: tuple[SimulatorThread, OpenAI]) -> None:
    _, client = sync_client
    with client.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content


async def test_a_client_that_closes_its_stream_is_recorded(sim: Simulator, client: AsyncOpenAI) -> None:
    sim.chunk_interval = 0.01
    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await until(lambda: sim.in_flight == 0)
    assert sim.requests[0].aborted_by_client
    assert sim.requests[0].streamed_chunks < 15
