"""What every backend does alike: answers, streams, tools, usage, unknown fields, odd splits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.errors import StreamCut, UnsupportedOperation
from ipfs_accelerate_py.simulator import Fault
from ipfs_accelerate_py.types import Reply, Usage

from .support import CHAT, EMBED, MODEL, TOOLS, opened

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TWO: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": SCHEMA}}
    for name in ("get_weather", "get_time")
]
BOTH = "Use the tool get_weather and the tool get_time."


def whole(usage: Usage) -> bool:
    return sum(usage.classes().values()) == usage.total_tokens


@pytest.mark.parametrize("backend", CHAT)
async def test_an_answer(backend: str) -> None:
    async with opened(backend) as (sim, client):
        reply = await client.chat(MODEL, "Hello", system="Be brief.", max_tokens=40)
    assert len(reply.text.split()) > 3
    assert reply.finish_reason in ("stop", "length")
    assert reply.backend == backend
    assert whole(reply.usage)
    assert reply.usage.reported is (backend != "opea")
    assert reply.raw
    [request] = sim.requests
    assert request.key == "key"
    assert "sk-conformance" not in request.path + request.query


@pytest.mark.parametrize("backend", CHAT)
async def test_a_stream_is_the_same_answer_in_pieces(backend: str) -> None:
    async with opened(backend) as (_, client):
        unary = await client.chat(MODEL, "Hello", max_tokens=40)
        streamed = await client.stream(MODEL, "Hello", max_tokens=40).collect()
    assert streamed.text == unary.text
    assert streamed.finish_reason == unary.finish_reason
    assert streamed.usage == unary.usage
    assert streamed.model == unary.model or backend == "opea"  # whose streams name no model


@pytest.mark.parametrize("backend", CHAT)
@pytest.mark.parametrize("fault", [Fault.split(size=1), Fault.split(size=0, seed=3)])
async def test_bytes_split_anywhere_make_the_same_answer(backend: str, fault: Fault) -> None:
    async with opened(backend, sim={"tokens": 12}) as (sim, client):
        plain = await client.stream(MODEL, "Grüße, 世界", max_tokens=12).collect()
        sim.always(fault)
        assert (await client.stream(MODEL, "Grüße, 世界", max_tokens=12).collect()).text == plain.text
        assert (await client.chat(MODEL, "Grüße, 世界", max_tokens=12)).text == plain.text


@pytest.mark.parametrize("backend", CHAT)
async def test_fields_that_nobody_knows_do_no_harm(backend: str) -> None:
    async with opened(backend) as (sim, client):
        plain = await client.chat(MODEL, "Hello", max_tokens=20)
        sim.always(Fault.unknown_fields())
        odd = await client.chat(MODEL, "Hello", max_tokens=20)
        streamed = await client.stream(MODEL, "Hello", max_tokens=20).collect()
    assert odd.text == streamed.text == plain.text
    assert odd.usage == plain.usage
    assert len(json.dumps(odd.raw)) > len(json.dumps(plain.raw))


@pytest.mark.parametrize("backend", CHAT)
@pytest.mark.parametrize("after", [0, 3])
async def test_a_stream_that_breaks_off_never_looks_whole(backend: str, after: int) -> None:
    async with opened(backend) as (sim, client):
        sim.script(Fault.cut(after=after))
        text = ""
        with pytest.raises(Exception) as caught:  # which one is asserted below
            async for chunk in client.stream(MODEL, "Hello", max_tokens=20):
                text += chunk.text
        assert type(caught.value).__name__ in ("StreamCut", "TransportError")
        assert not after or isinstance(caught.value, StreamCut)
        assert client.active_requests == 0
        assert (await client.chat(MODEL, "Hello", max_tokens=20)).text


# --- tools -------------------------------------------------------------------------------------------------------


def after_tools(question: str, reply: Reply) -> list[dict[str, Any]]:
    """The conversation so far, with a result for each call."""
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            **({"extra_content": {"google": {"thought_signature": call.signature}}} if call.signature else {}),
        }
        for call in reply.tool_calls
    ]
    assistant: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "tool_calls": calls}
    if reply.thinking_blocks:
        assistant["thinking_blocks"] = list(reply.thinking_blocks)
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"{call.name}: fine"} for call in reply.tool_calls]
    return [{"role": "user", "content": question}, assistant, *results]


@pytest.mark.parametrize("backend", TOOLS)
@pytest.mark.parametrize("streaming", [False, True])
async def test_tools_are_called_and_take_their_results(backend: str, streaming: bool) -> None:
    async with opened(backend) as (sim, client):
        if streaming:
            reply = await client.stream(MODEL, BOTH, tools=TWO, max_tokens=200).collect()
        else:
            reply = await client.chat(MODEL, BOTH, tools=TWO, max_tokens=200)
        names = [call.name for call in reply.tool_calls]
        assert sorted(names) == (["get_weather"] if backend == "hf_tgi" else ["get_time", "get_weather"])
        assert all(isinstance(json.loads(call.arguments)["city"], str) for call in reply.tool_calls)
        assert len({call.id for call in reply.tool_calls}) == len(names)
        assert reply.finish_reason == "tool_calls"
        again = await client.chat(MODEL, after_tools(BOTH, reply), tools=TWO, max_tokens=200)
        assert again.text
        assert [request.status for request in sim.requests] == [200, 200]


@pytest.mark.parametrize("backend", ["openai", "claude", "gemini", "hf_tgi", "ovms"])
async def test_a_tool_can_be_demanded(backend: str) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    async with opened(backend) as (_, client):
        reply = await client.chat(MODEL, "Hello", tools=TWO, tool_choice=choice, max_tokens=200)
    assert [call.name for call in reply.tool_calls] == ["get_time"]


@pytest.mark.parametrize("backend", ["ollama", "opea"])
async def test_what_a_service_cannot_do_is_said_before_it_is_asked(backend: str) -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}
    async with opened(backend) as (sim, client):
        with pytest.raises(UnsupportedOperation, match="tool"):
            await client.chat(MODEL, "Hello", tools=TWO, tool_choice=choice)
        assert sim.requests == []


# --- vectors and lists -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", EMBED)
async def test_a_vector_for_each_text_in_order(backend: str) -> None:
    async with opened(backend) as (_, client):
        reply = await client.embed(MODEL, ["a", "b", "a"])
        single = await client.embed(MODEL, "b")
    assert [len(vector) for vector in reply.vectors] == [6, 6, 6]
    assert reply.vectors[0] == reply.vectors[2] != reply.vectors[1]
    assert single.vectors[0] == pytest.approx(reply.vectors[1], abs=1e-6)
    assert whole(reply.usage)


@pytest.mark.parametrize("backend", [name for name in CHAT if name != "opea"])
async def test_the_list_of_models(backend: str) -> None:
    async with opened(backend, sim={"models": ["model-1"]}) as (_, client):
        assert "model-1" in [model.id.removesuffix(":latest") for model in await client.models()]
