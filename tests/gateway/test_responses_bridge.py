"""OpenAI's own client at ``/v1/responses``, in front of backends that have nothing but chat."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import openai
import pytest
from openai import pydantic_function_tool
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

from ipfs_accelerate_py import AsyncClient, BackendSpec, register_backend
from ipfs_accelerate_py.backends import spec as specs
from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import BackendError, ContextLengthExceeded, StreamCut, UnsupportedOperation
from ipfs_accelerate_py.gateway import GatewayConfig, RunningGateway
from ipfs_accelerate_py.gateway.config import BackendEntry, ModelEntry
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.stream import Collector, Stream
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, Operation, Reply, ToolCall, Usage

from .support import ALIAS, UPSTREAM_KEY

USAGE = Usage(9, 7, cached_tokens=4, reasoning_tokens=3, reported=True)
BLOCK: dict[str, Any] = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}


class _Source:
    def __init__(self, chunks: Sequence[Chunk], error: BackendError | None) -> None:
        self.model = "big-1"
        self.usage = Usage()
        self.finish_reason: str | None = None
        self._chunks = list(chunks)
        self._error = error

    async def read(self) -> list[Chunk]:
        if self._chunks:
            return [self._chunks.pop(0)]
        if self._error is not None:
            raise self._error
        return []

    def abort(self) -> None:
        self._chunks = []


class Scripted:
    """A service that has chat and nothing else, and says what it is told to."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.script: list[Chunk] = []
        self.error: BackendError | None = None

    async def __call__(self, call: Call) -> Reply:
        if call.operation is not Operation.CHAT:
            raise UnsupportedOperation(f"no operation {call.operation}")
        self.calls.append(call)
        if call.stream:
            source = _Source(self.script, self.error)
            return Reply(model="big-1", stream=Stream(source, await source.read()), ignored=("seed",))
        if self.error is not None:
            raise self.error
        collector = Collector()
        for chunk in self.script:
            collector.add(chunk)
        return collector.reply(Reply(ignored=("seed",)))

    @property
    def asked(self) -> ChatRequest:
        request = self.calls[-1].request
        assert isinstance(request, ChatRequest)
        return request

    def snapshot(self) -> dict[str, Any]:
        return {}

    async def aclose(self) -> None:
        pass


@contextlib.asynccontextmanager
async def gateway_to(backend: str, model: str = "big-1", **fields: Any) -> AsyncIterator[RunningGateway]:
    target = BackendEntry(backend, settings={"max_retries": 0}, **fields)
    config = GatewayConfig(models=(ModelEntry(ALIAS, model, target),), environment=False, local=False, port=0)
    async with RunningGateway(config) as gateway:
        yield gateway


@contextlib.asynccontextmanager
async def client_of(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def rows() -> Iterator[None]:
    before = dict(specs._specs)
    yield
    specs._specs.clear()
    specs._specs.update(before)


@pytest.fixture
def service(rows: None) -> Scripted:
    made = Scripted()
    register_backend(BackendSpec("scripted", service=lambda *_: made, requires_key=False))
    return made


@pytest.fixture
async def gateway(service: Scripted) -> AsyncIterator[RunningGateway]:
    async with gateway_to("scripted") as made:
        yield made


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(gateway) as made:
        yield made


def ending(reason: str) -> list[Chunk]:
    return [Chunk(finish_reason=reason), Chunk(usage=USAGE)]


def piece(index: int, arguments: str, identity: str = "", name: str = "", **more: Any) -> Chunk:
    return Chunk(tool_calls=[ToolCall(identity, name, arguments, index, **more)])


TURN = [
    Chunk(reasoning="Hm", model="big-1"),
    Chunk(reasoning="."),
    Chunk(thinking_blocks=[BLOCK]),
    Chunk(text="Let me "),
    Chunk(text="see."),
    piece(0, "", "c1", "weather", signature="call-sig"),
    piece(1, '{"city"', "c2", "weather"),
    piece(0, '{"city": "Oslo"}'),
    piece(1, ': "Rome"}'),
    *ending("tool_calls"),
]


def steady(response: Any) -> dict[str, Any]:
    """A response without what differs from one request to the next."""
    found: dict[str, Any] = json.loads(response.model_dump_json(exclude={"id", "created_at"}, exclude_unset=True))
    for item in found["output"]:
        item["id"] = item["id"].partition("_")[0]
        for part in [item, *item.get("content", ())]:  # the client's own
            for name in ("parsed", "parsed_arguments"):
                part.pop(name, None)
    return found


# --- answers -----------------------------------------------------------------------------------------------------


async def test_an_answer(client: openai.AsyncOpenAI, service: Scripted) -> None:
    service.script = [Chunk(text="Hello", model="big-1"), *ending("stop")]
    raw = await client.responses.with_raw_response.create(
        model=ALIAS, instructions="Be brief.", input="Hi", max_output_tokens=64, store=True, metadata={"a": "b"}
    )
    response = raw.parse()
    assert response.id.startswith("resp_")
    assert (response.status, response.output_text, response.model) == ("completed", "Hello", "big-1")
    assert (response.instructions, response.metadata, response.max_output_tokens) == ("Be brief.", {"a": "b"}, 64)
    assert response.usage is not None
    assert (response.usage.total_tokens, response.usage.output_tokens_details.reasoning_tokens) == (16, 3)
    assert json.loads(raw.text)["store"] is False
    assert raw.headers["x-ignored-parameters"] == "store, seed"
    assert service.asked == ChatRequest(
        "big-1",
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        {"max_tokens": 64, "metadata": {"a": "b"}},
    )


async def test_a_turn_with_calls_and_the_next_one(client: openai.AsyncOpenAI, service: Scripted) -> None:
    """What the model needs back comes back: its text, its calls, its signed reasoning and the calls' signatures."""
    conversation: list[Any] = [{"role": "user", "content": "Weather?"}]
    service.script = TURN
    response = await client.responses.create(model=ALIAS, input=conversation, tools=[TOOL])
    assert service.asked.options["tools"][0]["function"]["name"] == "weather"
    conversation += response.output
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert [json.loads(call.arguments) for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    conversation += [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in calls]
    service.script = [Chunk(text="It rains."), *ending("stop")]
    done = await client.responses.create(model=ALIAS, input=conversation, tools=[TOOL])
    assert done.output_text == "It rains."
    user, assistant, *results = service.asked.messages
    assert user == {"role": "user", "content": "Weather?"}
    assert assistant["content"] == "Let me see."
    assert assistant["thinking_blocks"] == [BLOCK]
    assert [call["id"] for call in assistant["tool_calls"]] == ["c1", "c2"]
    assert assistant["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "call-sig"}}
    assert results == [{"role": "tool", "tool_call_id": each, "content": "rain"} for each in ("c1", "c2")]


class Weather(BaseModel):
    city: str
    degrees: int


async def test_structured_output(client: openai.AsyncOpenAI, service: Scripted) -> None:
    service.script = [Chunk(text='{"city": "Oslo",'), Chunk(text=' "degrees": 3}'), *ending("stop")]
    response = await client.responses.parse(model=ALIAS, input="Weather?", text_format=Weather)
    assert response.output_parsed == Weather(city="Oslo", degrees=3)
    schema = service.asked.options["response_format"]
    assert schema["type"] == "json_schema"
    assert schema["json_schema"]["name"] == "Weather"
    assert schema["json_schema"]["strict"] is True
    assert schema["json_schema"]["schema"]["properties"].keys() == {"city", "degrees"}
    async with client.responses.stream(model=ALIAS, input="Weather?", text_format=Weather) as stream:
        done = await stream.get_final_response()
    assert done.output_parsed == response.output_parsed


async def test_tools_of_the_clients_own_making(client: openai.AsyncOpenAI, service: Scripted) -> None:
    nested = pydantic_function_tool(Weather, name="weather")["function"]
    tool: Any = {"type": "function", **nested}
    service.script = [piece(0, '{"city": "Oslo", "degrees": 3}', "c1", "weather"), *ending("tool_calls")]
    response = await client.responses.parse(model=ALIAS, input="Weather?", tools=[tool])
    [call] = response.output
    assert call.type == "function_call"
    assert call.parsed_arguments == {"city": "Oslo", "degrees": 3}
    assert service.asked.options["tools"] == [{"type": "function", "function": nested}]


# --- streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        TURN,
        [Chunk(text="Hel"), Chunk(text="lo"), *ending("stop")],
        [Chunk(refusal="I can't."), *ending("stop")],
        ending("stop"),
    ],
    ids=["everything", "text", "refusal", "nothing"],
)
async def test_a_stream_comes_to_the_same_response(
    client: openai.AsyncOpenAI, service: Scripted, script: list[Chunk]
) -> None:
    service.script = script
    whole = await client.responses.create(model=ALIAS, input="Hi", tools=[TOOL])
    stream = await client.responses.create(model=ALIAS, input="Hi", tools=[TOOL], stream=True, store=True)
    assert stream.response.headers["x-ignored-parameters"] == "store, seed"
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert steady(events[-1].response) == steady(whole)
    # The client's own accumulation, which checks what belongs to what.
    async with client.responses.stream(model=ALIAS, input="Hi", tools=[TOOL]) as accumulated:
        seen = [event async for event in accumulated]
        final = await accumulated.get_final_response()
    assert steady(final) == steady(whole)
    texts = [event.snapshot for event in seen if event.type == "response.output_text.delta"]
    assert (texts[-1] if texts else "") == whole.output_text


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_answers_that_are_not_whole(client: openai.AsyncOpenAI, service: Scripted, reason: str, why: str) -> None:
    service.script = [Chunk(text="Hel"), *ending(reason)]
    whole = await client.responses.create(model=ALIAS, input="Hi")
    stream = await client.responses.create(model=ALIAS, input="Hi", stream=True)
    *_, last = [event async for event in stream]
    assert last.type == "response.incomplete"
    for response in (whole, last.response):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == why


async def test_a_stream_that_breaks_is_an_error_and_never_completed(
    client: openai.AsyncOpenAI, service: Scripted
) -> None:
    service.script = [Chunk(text="Hel")]
    service.error = StreamCut("It broke off.")
    stream = await client.responses.create(model=ALIAS, input="Hi", stream=True)
    seen = []
    with pytest.raises(openai.APIError, match="broke off"):
        async for event in stream:
            seen += [event.type]
    assert "response.output_text.delta" in seen
    assert "response.completed" not in seen


async def test_errors_before_the_answer_are_the_clients_own(client: openai.AsyncOpenAI, service: Scripted) -> None:
    service.error = ContextLengthExceeded("Too long.", status=400, code="context_length_exceeded")
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            await client.responses.create(model=ALIAS, input="Hi", stream=stream)
        assert raised.value.code == "context_length_exceeded"


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"include": ["message.output_text.logprobs"]}, "include[0]"),
        ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_chat_cannot_say_is_refused_before_anything_is_sent(
    client: openai.AsyncOpenAI, service: Scripted, fields: dict[str, Any], param: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await client.responses.create(**{"model": ALIAS, "input": "Hi", "stream": stream, **fields})
    assert raised.value.param == param
    assert service.calls == []


async def test_the_library_itself_makes_nothing_up(service: Scripted) -> None:
    async with AsyncClient("scripted") as library:
        with pytest.raises(UnsupportedOperation):
            await library.respond("big-1", "Hi")


# --- gateways and services ---------------------------------------------------------------------------------------


async def test_our_own_client_behind_the_gateway(gateway: RunningGateway, service: Scripted) -> None:
    service.script = TURN
    async with AsyncClient("openai", base_url=gateway.url, api_key="sk-any-0123456789") as library:
        reply = await library.respond(ALIAS, "Hi", tools=[TOOL])
        streamed = await library.stream_respond(ALIAS, "Hi", tools=[TOOL]).collect()
    for each in (reply, streamed):
        assert (each.text, each.reasoning, each.finish_reason) == ("Let me see.", "Hm.", "tool_calls")
        assert [(call.id, call.arguments) for call in each.tool_calls] == [
            ("c1", '{"city": "Oslo"}'),
            ("c2", '{"city": "Rome"}'),
        ]
        assert each.usage == USAGE


def _chat_only(base_url: str, options: Any) -> OpenAIDialect:
    return OpenAIDialect(operations={Operation.CHAT, Operation.MODELS}, service="The house")


async def test_a_service_of_the_same_format_without_the_api_is_asked_by_chat(rows: None) -> None:
    register_backend(BackendSpec("house", dialect=_chat_only))
    async with Simulator("openai") as sim:
        keys = {"first": Secret(UPSTREAM_KEY)}
        async with gateway_to("house", "gpt-4o", base_url=sim.url, keys=keys) as gateway:
            async with client_of(gateway) as client:
                response = await client.responses.create(model=ALIAS, input="Hi")
                async with client.responses.stream(model=ALIAS, input="Hi") as stream:
                    final = await stream.get_final_response()
                chat = await client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hi"}])
            assert [request.path for request in sim.requests] == ["/v1/chat/completions"] * 3
            assert response.output_text == final.output_text == chat.choices[0].message.content


#: By simulator: backend and model.
SERVICES = {
    "anthropic": ("claude", "claude-sonnet-4-5"),
    "gemini": ("gemini", "gemini-2.5-flash"),
    "ollama": ("ollama", "llama3.2"),
    "tgi": ("hf_tgi", "tgi"),
    "opea": ("opea", "opea"),
}


@contextlib.asynccontextmanager
async def in_front_of(name: str, model: str = "") -> AsyncIterator[tuple[openai.AsyncOpenAI, Simulator]]:
    backend, usual = SERVICES[name]
    model = model or usual
    keys = {"first": Secret(UPSTREAM_KEY)} if name in ("anthropic", "gemini") else None
    async with (
        Simulator(name) as sim,
        gateway_to(backend, model, base_url=sim.url, keys=keys) as gateway,
        client_of(gateway) as client,
    ):
        yield client, sim


@pytest.mark.parametrize("name", SERVICES)
async def test_every_service_that_has_chat(name: str) -> None:
    async with in_front_of(name) as (client, sim):
        whole = await client.responses.create(model=ALIAS, input="Hello", max_output_tokens=50)
        async with client.responses.stream(model=ALIAS, input="Hello", max_output_tokens=50) as stream:
            final = await stream.get_final_response()
        assert whole.output_text
        # OPEA's whole answer names a model, and its stream does not.
        assert {**steady(final), "model": ""} == {**steady(whole), "model": ""}
        sim.always(Fault.status(503))
        with pytest.raises(openai.InternalServerError) as raised:
            await client.responses.create(model=ALIAS, input="Hello")
        assert raised.value.status_code == 502


@pytest.mark.parametrize("name", ["anthropic", "gemini", "ollama", "tgi"])
async def test_calls_of_tools_and_their_results_with_every_service(name: str) -> None:
    async with in_front_of(name) as (client, _):
        conversation: list[Any] = [{"role": "user", "content": "Ask the tool weather."}]
        asked: dict[str, Any] = {"model": ALIAS, "tools": [TOOL]}
        if name != "ollama":  # which has no way to demand a call
            asked["tool_choice"] = "required"
        whole = await client.responses.create(**asked, input=conversation)
        async with client.responses.stream(**asked, input=conversation) as stream:
            final = await stream.get_final_response()
        calls = [item for item in final.output if item.type == "function_call"]
        assert calls
        assert all(json.loads(call.arguments).keys() == {"city"} for call in calls)
        assert [item.type for item in final.output] == [item.type for item in whole.output]
        conversation += [item.model_dump(exclude={"parsed_arguments"}) for item in final.output]
        conversation += [{"type": "function_call_output", "call_id": call.call_id, "output": "3"} for call in calls]
        done = await client.responses.create(model=ALIAS, tools=[TOOL], input=conversation)
        assert done.status == "completed"


@pytest.mark.parametrize(("name", "model"), [("anthropic", "claude-sonnet-4-5"), ("gemini", "gemini-3-pro-preview")])
@pytest.mark.parametrize("stream", [False, True])
async def test_signed_reasoning_comes_back_to_the_service_that_signed_it(name: str, model: str, stream: bool) -> None:
    async with in_front_of(name, model) as (client, sim):
        conversation: list[Any] = [{"role": "user", "content": "Ask the tool weather."}]
        asked: dict[str, Any] = {
            "model": ALIAS,
            "tools": [TOOL],
            "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "max_output_tokens": 4096,
        }
        if stream:
            async with client.responses.stream(**asked, input=conversation) as events:
                output: list[Any] = list((await events.get_final_response()).output)
        else:
            output = list((await client.responses.create(**asked, input=conversation)).output)
        assert any(item.type == "reasoning" and item.encrypted_content for item in output)
        [call] = [item for item in output if item.type == "function_call"]
        conversation += [item.model_dump(exclude={"parsed_arguments"}) for item in output]
        conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "3"})
        assert (await client.responses.create(**asked, input=conversation)).status == "completed"
        sent = sim.requests[-1].body
        if name == "anthropic":
            block = sent["messages"][1]["content"][0]
            assert block["type"] == "thinking"
            assert block["signature"]
        else:
            signatures = [part.get("thoughtSignature") for part in sent["contents"][1]["parts"]]
            assert any(each and each != "skip_thought_signature_validator" for each in signatures)
