"""The asynchronous client against the simulator: its verbs, what is refused, and how a service is added."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, BackendSpec, register_backend
from ipfs_accelerate_py.backends import backend_names, configured, find_backend
from ipfs_accelerate_py.backends import spec as specs
from ipfs_accelerate_py.errors import (
    ConfigurationError,
    InvalidRequest,
    MissingCredential,
    UnknownBackend,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.types import Call, ChatRequest, Operation, Passthrough
from ipfs_accelerate_py.verbs import chat_messages
from tests.upstreams import QUICK, client_of, nothing_held

FUNCTION = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with client_of(sim.url) as made:
        yield made
        await nothing_held(made)


# --- verbs -------------------------------------------------------------------------------------------------------


async def test_chat(client: AsyncClient, sim: Simulator) -> None:
    reply = await client.chat("gpt-4o", "Hello", system="Be brief.", temperature=0.2, priority="HIGH", seed=None)
    assert reply.text
    assert (reply.model, reply.backend, reply.key_name, reply.attempts) == ("gpt-4o", "openai", "explicit", 1)
    assert reply.finish_reason in ("stop", "length")
    assert reply.usage.reported
    assert reply.usage.input_tokens
    assert reply.usage.output_tokens == 20
    assert reply.raw["system_fingerprint"] == "fp_simulator"
    assert reply.request_id.startswith("req_")
    assert reply.upstream_request_id
    assert reply.latency > 0
    assert sim.requests[0].body == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 0.2,
        "seed": None,
    }


async def test_tools_and_structured_output(client: AsyncClient) -> None:
    reply = await client.chat("gpt-4o", "Hello", tools=[TOOL], tool_choice="required")
    assert reply.finish_reason == "tool_calls"
    assert reply.tool_calls[0].name == "weather"
    assert "city" in json.loads(reply.tool_calls[0].arguments)
    streamed = await client.stream("gpt-4o", "Hello", tools=[TOOL], tool_choice="required").collect()
    assert [(call.name, call.arguments) for call in streamed.tool_calls] == [
        (call.name, call.arguments) for call in reply.tool_calls
    ]
    schema = {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    reply = await client.chat("gpt-4o", "x", response_format={"type": "json_schema", "json_schema": schema})
    assert isinstance(json.loads(reply.text)["a"], int)


async def test_reasoning_and_log_probabilities(client: AsyncClient) -> None:
    reply = await client.chat("o3-mini", "Think")
    assert reply.usage.reasoning_tokens > 0
    reply = await client.chat("gpt-4o", "x", logprobs=True, top_logprobs=2)
    assert reply.raw["choices"][0]["logprobs"]["content"]


async def test_streams_add_up_to_the_unary_answer(client: AsyncClient) -> None:
    whole_ = await client.chat("gpt-4o", "Hello")
    stream = client.stream("gpt-4o", "Hello")
    text = ""
    async for chunk in stream:
        text += chunk.text
    assert text == whole_.text
    assert (stream.usage, stream.finish_reason, stream.model) == (whole_.usage, whole_.finish_reason, "gpt-4o")
    collected = await client.stream("gpt-4o", "Hello").collect()
    assert (collected.text, collected.usage, collected.backend) == (whole_.text, whole_.usage, "openai")
    assert collected.key_name == "explicit"
    async with client.stream("gpt-4o", "Hello") as stream:
        batches = [batch async for batch in _batches(stream)]
    assert "".join(chunk.text for batch in batches for chunk in batch) == whole_.text


async def _batches(stream: Any) -> AsyncIterator[Any]:
    while batch := await stream.next_batch():
        yield batch


async def test_a_stream_that_was_never_begun_was_never_sent(client: AsyncClient, sim: Simulator) -> None:
    stream = client.stream("gpt-4o", "Hello")
    await stream.aclose()
    assert [chunk async for chunk in stream] == []
    assert sim.requests == []


async def test_several_choices(client: AsyncClient) -> None:
    reply = await client.chat("gpt-4o", "x", n=2)
    assert len(reply.raw["choices"]) == 2
    assert reply.text == reply.raw["choices"][0]["message"]["content"]
    collected = await client.stream("gpt-4o", "x", n=2).collect()
    assert collected.text == reply.text


async def test_completions_and_responses(client: AsyncClient) -> None:
    reply = await client.complete("gpt-3.5-turbo-instruct", "Once", max_tokens=5)
    assert reply.text
    assert reply.usage.output_tokens == 5
    assert (await client.stream_complete("gpt-3.5-turbo-instruct", "Once", max_tokens=5).collect()).text == reply.text
    reply = await client.respond("gpt-4o", "Hello", instructions="Be brief.")
    assert reply.text
    assert reply.finish_reason == "stop"
    streamed = client.stream_respond("gpt-4o", "Hello", instructions="Be brief.")
    events = [chunk.event async for chunk in streamed]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"
    assert streamed.usage == reply.usage
    reply = await client.respond("gpt-4o", "Hello", tools=[{"type": "function", **FUNCTION}], tool_choice="required")
    assert reply.tool_calls[0].name == "weather"


async def test_embeddings(client: AsyncClient, sim: Simulator) -> None:
    floats = await client.embed("e", ["a", "b"], dimensions=8)
    assert [len(vector) for vector in floats.vectors] == [8, 8]
    packed = await client.embed("e", ["a", "b"], dimensions=8, encoding_format="base64")
    for one, two in zip(floats.vectors, packed.vectors, strict=True):
        assert one == pytest.approx(two, rel=1e-6)
    assert len((await client.embed("e", "a lone text")).vectors) == 1
    assert len((await client.embed("e", ("a", "b", "c"))).vectors) == 3
    assert sim.requests[-1].body["input"] == ["a", "b", "c"]
    assert len((await client.embed("e", [1, 2, 3])).vectors) == 1, "a lone list of token ids is one input"
    assert len((await client.embed("e", [[1, 2], [3]])).vectors) == 2
    with pytest.raises(ConfigurationError, match="no input"):
        await client.embed("e", [])


async def test_models_and_raw_requests(client: AsyncClient, sim: Simulator) -> None:
    sim.configure(models=("a", "b"))
    assert [model.id for model in await client.models()] == ["a", "b"]
    reply = await client.request("/embeddings", {"model": "a", "input": "x"})
    assert reply.raw["data"][0]["embedding"]
    assert reply.usage.input_tokens
    reply = await client.request("/models", method="GET")
    assert len(reply.raw["data"]) == 2
    with pytest.raises(InvalidRequest):
        await client.request("/nowhere", {})


async def test_forwarded_calls_come_back_as_bytes(client: AsyncClient, sim: Simulator) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'

    def call(stream: bool, hide: bool = False) -> Call:
        options = b',"stream":true,"stream_options":{"include_usage":true}}' if stream else b"}"
        return Call(
            operation=Operation.CHAT,
            request=ChatRequest("m", []),
            request_id="r",
            stream=stream,
            passthrough=Passthrough("openai", body[:-1] + options, hide),
        )

    reply = await client.send(call(False))
    assert json.loads(reply.body)["choices"]
    assert reply.usage.total_tokens
    reply = await client.send(call(True, hide=True))
    assert reply.stream is not None
    data = b"".join([piece async for piece in reply.stream])
    assert data.endswith(b"data: [DONE]\n\n")
    assert b"prompt_tokens" not in data
    assert reply.stream.usage.total_tokens
    assert reply.content_type.startswith("text/event-stream")


# --- what is refused before anything is sent ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda c: c.chat("m", []),
        lambda c: c.chat("m", ["not a message"]),
        lambda c: c.chat("m", "x", stream=True),
        lambda c: c.chat("m", "x", priority="URGENT"),
        lambda c: c.chat("m", "x", timeout=-1),
        lambda c: c.chat("m", "x", api_key_name="nobody"),
        lambda c: c.chat("m", "x", odd=object()),
        lambda c: c.chat(5, "x"),
        lambda c: c.chat(None, "x"),
        lambda c: c.embed("m", []),
        lambda c: c.embed("m", 5),
        lambda c: c.chat("m", 5),
        lambda c: c.chat("m", None),
        lambda c: c.chat("m", "x", headers="X: y"),
        lambda c: c.chat("m", "x", request_id=5),
    ],
    ids=range(15),
)
async def test_wrong_use_is_said_before_anything_is_sent(client: AsyncClient, sim: Simulator, make: Any) -> None:
    with pytest.raises(ConfigurationError):
        await make(client)
    assert sim.requests == []


def test_messages_are_not_changed() -> None:
    given = [{"role": "user", "content": "x"}]
    assert chat_messages(given, "s") == [{"role": "system", "content": "s"}, *given]
    assert len(given) == 1
    assert chat_messages("x") == given
    assert chat_messages(iter(given)) == given  # type: ignore[arg-type]


async def test_a_missing_key_is_said_at_the_first_call_with_what_to_set() -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:1/v1")
    for _ in range(2):
        with pytest.raises(MissingCredential, match="OPENAI_API_KEY") as caught:
            await client.chat("m", "x")
        assert str(caught.value).startswith("Authentication error")
    await client.aclose()


async def test_a_key_that_no_header_can_carry_is_said_at_the_first_call() -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:1/v1", api_key="sk-\nsecret")
    with pytest.raises(ConfigurationError) as caught:
        await client.chat("m", "x")
    assert "secret" not in str(caught.value)


async def test_keys_and_urls_from_metadata_and_environment(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncClient("openai", metadata={"openai_api_key": "sk-m", "openai_base_url": sim.url}) as client:
        assert (await client.chat("m", "x")).key_name == "metadata"
        assert client.base_url == sim.url
    monkeypatch.setenv("GROQ_API_KEY", "sk-0")
    monkeypatch.setenv("GROQ_API_KEY_1", "sk-1")
    monkeypatch.setenv("GROQ_API_KEY_2", "sk-2")
    monkeypatch.setenv("GROQ_BASE_URL", sim.url + "/")
    assert "groq" in [spec.name for spec in configured()]
    async with AsyncClient("groq") as client:
        names = {(await client.chat("m", "x")).key_name for _ in range(6)}
    assert names == {"GROQ_API_KEY", "GROQ_API_KEY_1", "GROQ_API_KEY_2"}
    assert sim.requests[-1].path == "/v1/chat/completions"
    async with AsyncClient("vllm", base_url=sim.url) as client:  # needs no key
        assert (await client.chat("m", "x")).text
        assert sim.requests[-1].key is None


# --- rows --------------------------------------------------------------------------------------------------------


@pytest.fixture
def rows() -> Iterator[None]:
    before = dict(specs._specs)
    yield
    specs._specs.clear()
    specs._specs.update(before)


async def test_a_service_is_added_with_a_row(sim: Simulator, rows: None) -> None:
    register_backend(
        BackendSpec(
            "acme",
            base_url=sim.url,
            key_env=("ACME_API_KEY",),
            key_header="api-key",
            key_prefix="",
            headers={"X-Org": "o"},
            aliases=("acme_ai",),
            defaults={"max_retries": 1},
        )
    )
    assert "acme" in backend_names()
    async with AsyncClient("acme_ai", api_key="sk-acme", **QUICK) as client:
        assert client.max_retries == 1
        sim.script(Fault.status(500))
        assert (await client.chat("m", "x")).backend == "acme"
        assert sim.requests[-1].headers["x-org"] == "o"
        assert "authorization" not in sim.requests[-1].headers
    with pytest.raises(ConfigurationError, match="openai"):
        register_backend(BackendSpec("other", aliases=("openai",)))
    with pytest.raises(UnknownBackend, match="acme"):
        find_backend("nobody")


async def test_the_local_backend_takes_no_key() -> None:
    client = AsyncClient("local")
    with pytest.raises(UnsupportedOperation):
        client.add_api_key("a", "sk-x")
    with pytest.raises(UnsupportedOperation, match="embed"):
        await client.moderate("m", "x")
    await client.aclose()
