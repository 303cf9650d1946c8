"""Our client against the simulated Ollama."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py import errors as e
from ipfs_accelerate_py.simulator import Fault, Simulator

from .test_simulator_ollama import TOOL

IMAGE = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("ollama", dimensions=4) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("ollama", base_url=sim.url, max_retries=0, circuit_failure_threshold=100) as made:
        yield made


async def test_chat_and_stream(client: AsyncClient, sim: Simulator) -> None:
    asked: dict[str, Any] = {"system": "Be brief.", "max_tokens": 14, "temperature": 0, "num_ctx": 2048, "user": "me"}
    whole = await client.chat("qwen3", "Hello", **asked)
    assert sim.requests[-1].headers["accept"] == "application/json, application/x-ndjson"
    assert (whole.finish_reason, whole.usage.output_tokens, list(whole.ignored)) == ("length", 14, ["user"])
    stream = client.stream("qwen3", "Hello", **asked)
    streamed = await stream.collect()
    for name in ("text", "reasoning", "finish_reason", "usage", "model", "ignored"):
        assert getattr(streamed, name) == getattr(whole, name), name
    assert whole.text
    assert whole.reasoning


async def test_parallel_tools_and_their_results(client: AsyncClient, sim: Simulator) -> None:
    tools = [TOOL, {"type": "function", "function": {"name": "now"}}]
    asked: list[dict[str, Any]] = [{"role": "user", "content": "Use both tools"}]
    whole = await client.chat("llama3", asked, tools=tools)
    streamed = await client.stream("llama3", asked, tools=tools).collect()
    assert streamed.tool_calls == whole.tool_calls
    assert [call.name for call in whole.tool_calls] == ["weather", "now"]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in whole.tool_calls
    ]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "fine"} for call in reversed(calls)]
    reply = await client.chat("llama3", [*asked, {"role": "assistant", "content": None, "tool_calls": calls}, *results])
    assert reply.text
    sent = sim.requests[-1].body["messages"]
    assert [message.get("tool_name") for message in sent[2:]] == ["now", "weather"]
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == json.loads(whole.tool_calls[0].arguments)


async def test_structured_output_and_images(client: AsyncClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    reply = await client.chat("llava", [{"role": "user", "content": parts}], response_format=wanted)
    assert isinstance(json.loads(reply.text)["a"], int)
    assert reply.usage.input_tokens > 256  # the image is there


async def test_completions_embeddings_models_and_the_rest(client: AsyncClient) -> None:
    whole = await client.complete("llama3", "Once", suffix="end", raw=True)
    assert (await client.stream_complete("llama3", "Once", suffix="end", raw=True).collect()).text == whole.text
    vectors = (await client.embed("e", ["a", "b"])).vectors
    assert [len(vector) for vector in vectors] == [4, 4]
    assert (await client.embed("e", "b", encoding_format="base64")).vectors == vectors[1:]
    with pytest.raises(e.ContextLengthExceeded):
        await client.embed("e", "a" * 99, truncate=False, num_ctx=8)
    assert "llama3:latest" in [model.id for model in await client.models()]
    assert (await client.request("/version", method="GET")).raw["version"]
    assert (await client.request("/ps", method="GET")).raw["models"][0]["name"]
    assert (await client.request("/show", {"model": "qwen3"})).raw["capabilities"]
    statuses = [chunk.raw["status"] async for chunk in client.stream_request("/pull", {"model": "new"})]
    assert (statuses[0], statuses[-1]) == ("pulling manifest", "success")
    with pytest.raises(e.ModelNotFound, match="file does not exist"):
        await client.stream_request("/pull", {"model": "missing"}).collect()


async def test_a_pull_that_breaks_off_is_no_success(client: AsyncClient, sim: Simulator) -> None:
    sim.script(Fault.cut(after=5), Fault.silence(after=5))
    seen = []
    with pytest.raises(e.TransportError):
        async for chunk in client.stream_request("/pull", {"model": "new"}):
            seen.append(chunk.raw["status"])  # noqa: PERF401  # those before the error count
    assert seen[0] == "pulling manifest"
    async with client.stream_request("/pull", {"model": "new"}) as stream:
        assert (await anext(stream)).raw["status"] == "pulling manifest"


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, e.InvalidRequest, "bad"),
        (401, e.AuthenticationError, "unauthorized"),
        (404, e.ModelNotFound, "model 'x' not found"),
        (429, e.RateLimited, "too many requests"),
        (500, e.ServerError, "out of memory"),
        (503, e.ServerError, "server busy"),
    ],
)
async def test_every_refusal(
    client: AsyncClient, sim: Simulator, status: int, kind: type[e.BackendError], message: str
) -> None:
    for call in (client.chat, client.embed):
        sim.script(Fault.status(status, message=message))
        with pytest.raises(kind, match=message) as caught:
            await call("llama3", "Hello")
        assert (caught.value.status, caught.value.backend) == (status, "ollama")
    sim.script(Fault.status(status, message=message))
    with pytest.raises(kind, match=message):
        await client.stream("llama3", "Hello").collect()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.error_200(message="it failed"), e.ServerError),
        (Fault.html(), e.ProtocolError),
        (Fault.not_object(), e.ProtocolError),
        (Fault.context_length_exceeded(), e.ContextLengthExceeded),
        (Fault.model_not_found(), e.ModelNotFound),
        (Fault.insufficient_quota(), e.QuotaExhausted),
        (Fault.cut(after=3), e.TransportError),
        (Fault.cut(after=3, rst=True), e.TransportError),
        (Fault.utf8_cut(after=3), e.TransportError),
        (Fault.error_event(at=3, message="it failed"), e.ServerError),
        (Fault.bad_json(at=3, replace=True), e.ProtocolError),
        (Fault.endless_line(after=3), e.ProtocolError),
    ],
    ids=str,
)
async def test_a_stream_that_fails_never_looks_whole(
    client: AsyncClient, sim: Simulator, fault: Fault, kind: type[e.BackendError]
) -> None:
    sim.script(fault)
    with pytest.raises(kind):
        await client.stream("llama3", "Hello").collect()
    assert (await client.stream("llama3", "Hello").collect()).finish_reason == "stop"


@pytest.mark.parametrize(
    "fault",
    [
        Fault.no_done(),
        Fault.unknown_fields(),
        Fault.split(size=1),
        Fault.bad_json(at=3, data='{"odd":'),
        Fault.messy(),
    ],
    ids=str,
)
async def test_a_stream_that_is_only_odd_is_read(client: AsyncClient, sim: Simulator, fault: Fault) -> None:
    whole = await client.chat("llama3", "Hello")
    sim.script(fault)
    streamed = await client.stream("llama3", "Hello").collect()
    assert (streamed.text, streamed.usage) == (whole.text, whole.usage)


async def test_a_server_that_needs_no_key_is_sent_none_and_a_hosted_one_its_own(
    monkeypatch: pytest.MonkeyPatch, sim: Simulator
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{sim.port}")
    monkeypatch.setenv("OLLAMA_MODEL", "llama3")
    async with AsyncClient("ollama") as client:
        assert client.base_url == sim.url
        assert (await client.chat("", "Hello")).model == "llama3"
    assert sim.requests[-1].key is None
    monkeypatch.setenv("OLLAMA_API_KEY", "sk-hosted")
    async with AsyncClient("ollama", model="phi4") as client:
        assert (await client.chat("", "Hello")).model == "phi4"
    assert sim.requests[-1].key == sim.key_name("sk-hosted")
