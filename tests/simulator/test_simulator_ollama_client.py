"""Ollama's own client, synchronous and not, against the simulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import ollama
import pytest

from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread

HELLO = [{"role": "user", "content": "Hello"}]


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name.
    """
    return f"sunny in {city}"


@pytest.fixture
def sim() -> Iterator[SimulatorThread]:
    with SimulatorThread("ollama", dimensions=4) as simulator:
        yield simulator


@pytest.fixture
def client(sim: SimulatorThread) -> Iterator[ollama.Client]:
    with ollama.Client(sim.url.removesuffix("/api")) as made:
        yield made


def test_chat_and_stream(client: ollama.Client) -> None:
    whole = client.chat("qwen3", HELLO, options={"num_predict": 14})
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "length", 14)
    pieces = list(client.chat("qwen3", HELLO, options={"num_predict": 14}, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert "".join(piece.message.thinking or "" for piece in pieces) == whole.message.thinking
    assert pieces[-1].prompt_eval_count == whole.prompt_eval_count


def test_a_tool_and_its_result(client: ollama.Client) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use the tool weather"}]
    answer = client.chat("llama3", asked, tools=[weather])
    (call,) = answer.message.tool_calls or ()
    assert call.function.name == "weather"
    asked += [answer.message, {"role": "tool", "tool_name": "weather", "content": weather(**call.function.arguments)}]
    assert client.chat("llama3", asked, tools=[weather]).message.content


def test_structured_output_and_logprobs(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    answer = client.chat("llama3", HELLO, format=schema)
    assert (answer.message.content or "").startswith('{"a":')
    said = client.generate("llama3", "Once", logprobs=True, top_logprobs=2)
    assert said.logprobs is not None
    assert len(said.logprobs[0].top_logprobs or ()) == 2


def test_generate_and_embed(client: ollama.Client) -> None:
    whole = client.generate("llama3", "Once", system="Be brief.")
    assert "".join(
        piece.response or "" for piece in client.generate("llama3", "Once", system="Be brief.", stream=True)
    ) == (whole.response)
    made = client.embed("e", ["a", "b"])
    assert [len(vector) for vector in made.embeddings] == [4, 4]
    assert client.embeddings("e", "a").embedding == made.embeddings[0]


def test_models(client: ollama.Client) -> None:
    assert "llama3:latest" in [model.model for model in client.list().models]
    shown = client.show("qwen3")
    assert "thinking" in (shown.capabilities or [])
    client.generate("llama3", "Once")
    assert [model.model for model in client.ps().models] == ["llama3:latest"]
    statuses = list(client.pull("new", stream=True))
    assert (statuses[0].status, statuses[-1].status) == ("pulling manifest", "success")
    assert max(status.completed or 0 for status in statuses) == 4_000_000
    assert client.pull("other").status == "success"
    assert {"new:latest", "other:latest"} <= {model.model for model in client.list().models}


def test_errors(client: ollama.Client, sim: SimulatorThread) -> None:
    sim.script(Fault.status(503, message="server busy"), Fault.error_event(at=1, message="crashed"))
    with pytest.raises(ollama.ResponseError, match="server busy") as caught:
        client.chat("llama3", HELLO)
    assert caught.value.status_code == 503
    with pytest.raises(ollama.ResponseError, match="crashed"):
        list(client.chat("llama3", HELLO, stream=True))
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        list(client.pull("missing", stream=True))


@pytest.fixture
async def async_client() -> AsyncIterator[ollama.AsyncClient]:
    async with Simulator("ollama", dimensions=4) as sim, ollama.AsyncClient(sim.url.removesuffix("/api")) as made:
        yield made


async def test_asynchronously(async_client: ollama.AsyncClient) -> None:
    client = async_client
    whole = await client.chat("llama3", HELLO)
    pieces = [piece async for piece in await client.chat("llama3", HELLO, stream=True)]
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert (await client.generate("llama3", "Once")).response
    assert len((await client.embed("e", "a")).embeddings[0]) == 4
    assert [status.status async for status in await client.pull("new", stream=True)][-1] == "success"
    assert "new:latest" in [model.model for model in (await client.list()).models]
    assert (await client.show("llama3")).capabilities
    assert (await client.ps()).models
