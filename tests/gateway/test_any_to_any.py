"""Every vendor's own client, through one gateway, to every backend: chat, streams, tools, errors, lists of models."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import anthropic
import groq
import ollama
import openai
import pytest
from google import genai
from google.genai import types as google_types
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import HfHubHTTPError

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.gateway import GatewayConfig, RunningGateway
from ipfs_accelerate_py.gateway.config import BackendEntry, GatewayKey
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.simulator.hf_client import online as online  # a fixture, by its name

#: Backends by name, with the simulator that stands for each.
BACKENDS = {
    "openai": "openai",
    "claude": "anthropic",
    "gemini": "gemini",
    "ollama": "ollama",
    "hf_tgi": "tgi",
    "ovms": "ovms",
    "llvm": "openai",
}
#: Those that do not chat, or whose chat has no tools and counts.
OTHERS = {"hf_tei": "tei", "opea": "opea"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning"),  # google-genai's, of aiohttp's
    pytest.mark.usefixtures("online"),
]

GATEWAY_KEY = "sk-gateway-0123456789"
UPSTREAM_KEY = "sk-upstream-0123456789"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
#: What a simulated model calls its tool with, in every format.
TOOL = "get_weather"


class Tool(NamedTuple):
    name: str
    arguments: dict[str, Any]


class Place(NamedTuple):
    """A gateway in front of one simulated backend."""

    gateway: RunningGateway
    sim: Simulator
    model: str

    @property
    def forces(self) -> bool:
        """Whether a tool can be demanded: Ollama has no such thing, and says so."""
        return not self.model.startswith("ollama")


def forced(place: Place, choice: Any) -> dict[str, Any]:
    return {"tool_choice": choice} if place.forces else {}


@contextlib.asynccontextmanager
async def place(backend: str) -> AsyncIterator[Place]:
    async with Simulator({**BACKENDS, **OTHERS}[backend], api_keys={"upstream": UPSTREAM_KEY}, models=["m-1"]) as sim:
        entry = BackendEntry(backend, sim.url, {"upstream": Secret(UPSTREAM_KEY)}, {}, {"max_retries": 0})
        config = GatewayConfig(
            backends=(entry,),
            api_keys=(GatewayKey("K", Secret(GATEWAY_KEY)),),
            environment=False,
            local=False,
            port=0,
        )
        async with RunningGateway(config) as gateway:
            yield Place(gateway, sim, f"{backend}/m-1")


class Vendor(NamedTuple):
    """How one vendor's client asks: each gives the text, or the tool that was called."""

    chat: Callable[[Place], Awaitable[str]]
    stream: Callable[[Place], Awaitable[str]]
    tool: Callable[[Place], Awaitable[Tool]]
    refused: Callable[[Place], Awaitable[tuple[int, str]]]
    models: Callable[[Place], Awaitable[list[str]]]


def root(place: Place) -> str:
    return place.gateway.url.removesuffix("/v1")


# --- OpenAI and Groq ---------------------------------------------------------------------------------------------

HELLO: Any = [{"role": "user", "content": "Hello"}]
#: A simulated model calls the tools that the text speaks of.
CALL: Any = [{"role": "user", "content": f"Use the tool {TOOL}."}]
OPENAI_TOOL: Any = {"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}
OPENAI_CHOICE: Any = {"type": "function", "function": {"name": TOOL}}


def like_openai(open_client: Callable[[Place], Any], error: type[Exception]) -> Vendor:
    async def chat(place: Place) -> str:
        async with open_client(place) as client:
            reply = await client.chat.completions.create(model=place.model, messages=HELLO, max_tokens=30)
        assert reply.choices[0].finish_reason in ("stop", "length")
        return str(reply.choices[0].message.content)

    async def stream(place: Place) -> str:
        async with open_client(place) as client:
            chunks = await client.chat.completions.create(model=place.model, messages=HELLO, max_tokens=30, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    async def tool(place: Place) -> Tool:
        async with open_client(place) as client:
            reply = await client.chat.completions.create(
                model=place.model, messages=CALL, tools=[OPENAI_TOOL], **forced(place, OPENAI_CHOICE)
            )
            [call] = reply.choices[0].message.tool_calls
            assert reply.choices[0].finish_reason == "tool_calls" or place.sim.service.name == "openai"
            # The next turn, with the result, has to be accepted.
            after = [
                *CALL,
                reply.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "Sunny."},
            ]
            again = await client.chat.completions.create(model=place.model, messages=after, tools=[OPENAI_TOOL])
            assert again.choices[0].message.content or again.choices[0].message.tool_calls
        return Tool(call.function.name, json.loads(call.function.arguments))

    async def refused(place: Place) -> tuple[int, str]:
        async with open_client(place) as client:
            with pytest.raises(error) as caught:
                await client.chat.completions.create(model=place.model, messages=HELLO)
        failure: Any = caught.value
        return failure.status_code, str(failure)

    async def models(place: Place) -> list[str]:
        async with open_client(place) as client:
            return [model.id for model in (await client.models.list()).data]

    return Vendor(chat, stream, tool, refused, models)


OPENAI = like_openai(
    lambda place: openai.AsyncOpenAI(base_url=place.gateway.url, api_key=GATEWAY_KEY, max_retries=0),
    openai.RateLimitError,
)
GROQ = like_openai(
    lambda place: groq.AsyncGroq(base_url=root(place), api_key=GATEWAY_KEY, max_retries=0), groq.RateLimitError
)


# --- OpenAI's Responses API --------------------------------------------------------------------------------------


def responses() -> Vendor:
    def client_of(place: Place) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=place.gateway.url, api_key=GATEWAY_KEY, max_retries=0)

    async def chat(place: Place) -> str:
        async with client_of(place) as client:
            return (await client.responses.create(model=place.model, input="Hello", max_output_tokens=30)).output_text

    async def stream(place: Place) -> str:
        async with (
            client_of(place) as client,
            client.responses.stream(model=place.model, input="Hello", max_output_tokens=30) as events,
        ):
            text = "".join([event.delta async for event in events if event.type == "response.output_text.delta"])
            assert (await events.get_final_response()).output_text == text
            return text

    async def tool(place: Place) -> Tool:
        given: Any = {"type": "function", "name": TOOL, "parameters": SCHEMA, "strict": False}
        async with client_of(place) as client:
            reply = await client.responses.create(
                model=place.model,
                input=CALL[0]["content"],
                tools=[given],
                **forced(place, {"type": "function", "name": TOOL}),
            )
        [call] = [item for item in reply.output if item.type == "function_call"]
        return Tool(call.name, json.loads(call.arguments))

    async def refused(place: Place) -> tuple[int, str]:
        async with client_of(place) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                await client.responses.create(model=place.model, input="Hello")
        return caught.value.status_code, str(caught.value)

    return Vendor(chat, stream, tool, refused, OPENAI.models)


# --- Anthropic ---------------------------------------------------------------------------------------------------


def like_anthropic(bearer: bool) -> Vendor:
    def client_of(place: Place) -> anthropic.AsyncAnthropic:
        if bearer:
            return anthropic.AsyncAnthropic(base_url=root(place), auth_token=GATEWAY_KEY, max_retries=0)
        return anthropic.AsyncAnthropic(base_url=root(place), api_key=GATEWAY_KEY, max_retries=0)

    async def chat(place: Place) -> str:
        async with client_of(place) as client:
            reply = await client.messages.create(model=place.model, messages=HELLO, max_tokens=30)
        assert reply.stop_reason in ("end_turn", "max_tokens")
        return "".join(block.text for block in reply.content if block.type == "text")

    async def stream(place: Place) -> str:
        async with (
            client_of(place) as client,
            client.messages.stream(model=place.model, messages=HELLO, max_tokens=30) as events,
        ):
            text = "".join([piece async for piece in events.text_stream])
            final = await events.get_final_message()
        assert "".join(block.text for block in final.content if block.type == "text") == text
        return text

    async def tool(place: Place) -> Tool:
        tools: Any = [{"name": TOOL, "input_schema": SCHEMA}]
        async with client_of(place) as client:
            reply = await client.messages.create(
                model=place.model, messages=CALL, max_tokens=100, tools=tools,
                **forced(place, {"type": "tool", "name": TOOL}),
            )  # fmt: skip
            assert reply.stop_reason == "tool_use"
            [call] = [block for block in reply.content if block.type == "tool_use"]
            after: Any = [
                *CALL,
                {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in reply.content]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "Sunny."}]},
            ]
            assert (
                await client.messages.create(model=place.model, messages=after, max_tokens=100, tools=tools)
            ).content
        found: Any = call.input
        return Tool(call.name, found)

    async def refused(place: Place) -> tuple[int, str]:
        async with client_of(place) as client:
            with pytest.raises(anthropic.RateLimitError) as caught:
                await client.messages.create(model=place.model, messages=HELLO, max_tokens=30)
        return caught.value.status_code, str(caught.value)

    async def models(place: Place) -> list[str]:
        async with client_of(place) as client:
            return [model.id async for model in client.models.list()]

    return Vendor(chat, stream, tool, refused, models)


# --- Gemini ------------------------------------------------------------------------------------------------------


def like_gemini() -> Vendor:
    def client_of(place: Place) -> Any:
        options = google_types.HttpOptions(base_url=root(place))
        return genai.Client(api_key=GATEWAY_KEY, http_options=options).aio

    config = google_types.GenerateContentConfig(max_output_tokens=30)

    async def chat(place: Place) -> str:
        async with client_of(place) as client:
            reply = await client.models.generate_content(model=place.model, contents="Hello", config=config)
        return str(reply.text)

    async def stream(place: Place) -> str:
        async with client_of(place) as client:
            chunks = await client.models.generate_content_stream(model=place.model, contents="Hello", config=config)
            return "".join([chunk.text or "" async for chunk in chunks])

    async def tool(place: Place) -> Tool:
        declared = google_types.FunctionDeclaration(name=TOOL, parameters_json_schema=SCHEMA)
        wanted = google_types.GenerateContentConfig(
            tools=[google_types.Tool(function_declarations=[declared])],
        )
        if place.forces:
            calling = google_types.FunctionCallingConfig(
                mode=google_types.FunctionCallingConfigMode.ANY, allowed_function_names=[TOOL]
            )
            wanted.tool_config = google_types.ToolConfig(function_calling_config=calling)
        async with client_of(place) as client:
            reply = await client.models.generate_content(model=place.model, contents=CALL[0]["content"], config=wanted)
        [call] = reply.function_calls
        return Tool(call.name, call.args)

    async def refused(place: Place) -> tuple[int, str]:
        async with client_of(place) as client:
            with pytest.raises(genai.errors.ClientError) as caught:
                await client.models.generate_content(model=place.model, contents="Hello", config=config)
        return caught.value.code, str(caught.value)

    async def models(place: Place) -> list[str]:
        async with client_of(place) as client:
            return [model.name.removeprefix("models/") async for model in await client.models.list()]

    return Vendor(chat, stream, tool, refused, models)


# --- Ollama ------------------------------------------------------------------------------------------------------


def like_ollama() -> Vendor:
    @contextlib.asynccontextmanager
    async def client_of(place: Place) -> AsyncIterator[ollama.AsyncClient]:
        async with ollama.AsyncClient(host=root(place), headers={"Authorization": f"Bearer {GATEWAY_KEY}"}) as client:
            yield client

    limit = {"num_predict": 30}

    async def chat(place: Place) -> str:
        async with client_of(place) as client:
            reply = await client.chat(model=place.model, messages=HELLO, options=limit)
        assert reply.done
        return str(reply.message.content)

    async def stream(place: Place) -> str:
        async with client_of(place) as client:
            pieces = await client.chat(model=place.model, messages=HELLO, options=limit, stream=True)
            return "".join([piece.message.content or "" async for piece in pieces])

    async def tool(place: Place) -> Tool:
        async with client_of(place) as client:
            reply = await client.chat(model=place.model, messages=CALL, tools=[OPENAI_TOOL])
        [call] = reply.message.tool_calls or []
        return Tool(call.function.name, dict(call.function.arguments))

    async def refused(place: Place) -> tuple[int, str]:
        async with client_of(place) as client:
            with pytest.raises(ollama.ResponseError) as caught:
                await client.chat(model=place.model, messages=HELLO)
        return caught.value.status_code, str(caught.value)

    async def models(place: Place) -> list[str]:
        async with client_of(place) as client:
            return [str(model.model) for model in (await client.list()).models]

    return Vendor(chat, stream, tool, refused, models)


# --- Hugging Face ------------------------------------------------------------------------------------------------


def like_hugging_face() -> Vendor:
    def client_of(place: Place) -> AsyncInferenceClient:
        return AsyncInferenceClient(base_url=place.gateway.url, api_key=GATEWAY_KEY)

    async def chat(place: Place) -> str:
        async with client_of(place) as client:
            reply = await client.chat_completion(model=place.model, messages=HELLO, max_tokens=30)
        return str(reply.choices[0].message.content)

    async def stream(place: Place) -> str:
        async with client_of(place) as client:
            chunks = await client.chat_completion(model=place.model, messages=HELLO, max_tokens=30, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    async def tool(place: Place) -> Tool:
        async with client_of(place) as client:
            reply = await client.chat_completion(
                model=place.model, messages=CALL, tools=[OPENAI_TOOL], **forced(place, OPENAI_CHOICE)
            )
        [call] = reply.choices[0].message.tool_calls or []
        return Tool(call.function.name, json.loads(call.function.arguments))

    async def refused(place: Place) -> tuple[int, str]:
        async with client_of(place) as client:
            with pytest.raises(HfHubHTTPError) as caught:
                await client.chat_completion(model=place.model, messages=HELLO)
        return caught.value.response.status_code, str(caught.value)

    return Vendor(chat, stream, tool, refused, OPENAI.models)


VENDORS = {
    "openai": OPENAI,
    "responses": responses(),
    "groq": GROQ,
    "anthropic": like_anthropic(bearer=False),
    "anthropic-bearer": like_anthropic(bearer=True),
    "gemini": like_gemini(),
    "ollama": like_ollama(),
    "huggingface": like_hugging_face(),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_text_and_streams(vendor: str, backend: str) -> None:
    asked = VENDORS[vendor]
    async with place(backend) as here:
        text = await asked.chat(here)
        assert len(text.split()) > 3
        assert await asked.stream(here) == text
        assert {request.key for request in here.sim.requests} == {"upstream"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_tools(vendor: str, backend: str) -> None:
    async with place(backend) as here:
        called = await VENDORS[vendor].tool(here)
    assert called.name == TOOL
    assert isinstance(called.arguments["city"], str)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_limit_of_the_upstream_reaches_the_client_as_its_own_error(vendor: str, backend: str) -> None:
    async with place(backend) as here:
        here.sim.always(Fault.status(429, retry_after=7))
        status, text = await VENDORS[vendor].refused(here)
    assert status == 429
    assert "Rate limit" in text
    assert UPSTREAM_KEY not in text


@pytest.mark.parametrize("vendor", VENDORS)
async def test_the_models(vendor: str) -> None:
    async with place("claude") as here:
        assert "m-1" in await VENDORS[vendor].models(here)


@pytest.mark.parametrize("mark", ["/", ":"])
async def test_a_model_is_named_with_a_slash_or_a_colon(mark: str) -> None:
    async with place("ollama") as here:
        assert await OPENAI.chat(here._replace(model=f"ollama{mark}m-1"))


async def test_anthropics_client_finds_its_request_id_and_its_betas_arrive() -> None:
    async with (
        place("claude") as here,
        anthropic.AsyncAnthropic(base_url=root(here), api_key=GATEWAY_KEY, max_retries=0) as client,
    ):
        reply = await client.messages.create(
            model=here.model, messages=HELLO, max_tokens=30, extra_headers={"anthropic-beta": "files-api-2025-04-14"}
        )
        assert (reply._request_id or "").startswith("req_")
        assert here.sim.requests[-1].headers["anthropic-beta"] == "files-api-2025-04-14"


async def test_a_client_without_the_key_is_told_where_its_vendor_puts_it() -> None:
    async with place("claude") as here:
        client = anthropic.AsyncAnthropic(base_url=root(here), api_key="wrong", max_retries=0)
        other = openai.AsyncOpenAI(base_url=here.gateway.url, api_key="wrong", max_retries=0)
        async with client, other:
            with pytest.raises(anthropic.AuthenticationError, match="x-api-key"):
                await client.messages.create(model=here.model, messages=HELLO, max_tokens=30)
            with pytest.raises(openai.AuthenticationError, match="Authorization: Bearer"):
                await other.models.list()
        assert here.sim.requests == []
