"""`ollama`, of the older API."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import ollama
from ipfs_accelerate_py.errors import (
    ConfigurationError,
    ModelNotFound,
    StreamCut,
    TransportError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import Fault, SimulatorThread

Make = Callable[..., Any]
HELLO = [{"role": "user", "content": "Hello, how are you?"}]


@pytest.fixture
def server() -> Iterator[SimulatorThread]:
    with SimulatorThread("ollama", dimensions=4) as simulator:
        yield simulator


@pytest.fixture
def api(server: SimulatorThread) -> Iterator[ollama]:
    with ollama(metadata={"ollama_api_url": server.url}, initial_retry_delay=0.001) as made:
        yield made


def test_chat_sends_what_was_given_and_nothing_else(api: ollama, server: SimulatorThread) -> None:
    answer = api.chat("llama3", HELLO, 0.7, 5, num_ctx=2048, keep_alive="5m", seed=None)
    assert server.requests[-1].body == {
        "model": "llama3",
        "messages": HELLO,
        "keep_alive": "5m",
        "options": {"num_ctx": 2048, "temperature": 0.7, "num_predict": 5},
        "stream": False,
    }
    assert answer["raw"]["message"]["content"] == answer["text"]
    assert (answer["model"], answer["finish_reason"], answer["usage"]["completion_tokens"]) == ("llama3", "length", 5)
    with pytest.raises(ConfigurationError, match="stream_chat"):
        api.chat("llama3", HELLO, stream=True)


def test_streaming(api: ollama) -> None:
    *pieces, last = api.stream_chat("qwen3", HELLO, system="Be brief.", max_tokens=15)
    whole = api.chat("qwen3", HELLO, system="Be brief.", max_tokens=15)
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert "".join(piece["reasoning"] for piece in pieces) == whole["reasoning"] != ""
    assert (last["done"], last["usage"], last["finish_reason"]) == (True, whole["usage"], "length")


def test_tool_calls_can_be_sent_back(api: ollama, server: SimulatorThread) -> None:
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    answer = api.chat("llama3", "Use the tool now", tools=[tool])
    (call,) = answer["tool_calls"]
    turn = {"role": "assistant", "content": answer["text"], "tool_calls": answer["tool_calls"]}
    assert api.chat("llama3", [*HELLO, turn, {"role": "tool", "tool_call_id": call["id"], "content": "noon"}])["text"]
    assert server.requests[-1].body["messages"][-1]["tool_name"] == "now"


def test_generate_and_embedding(api: ollama, server: SimulatorThread) -> None:
    answer = api.generate("llama3", "Once", system="Be brief.", raw=None)
    assert answer["text"] == answer["raw"]["response"]
    assert server.requests[-1].body == {"model": "llama3", "prompt": "Once", "system": "Be brief.", "stream": False}
    assert len(api.embedding("e", "a")["embedding"]) == 4
    assert [len(vector) for vector in api.embedding("e", ["a", "b"], dimensions=3)["embedding"]] == [3, 3]


def test_models_are_listed_and_pulled(api: ollama) -> None:
    seen: list[dict[str, Any]] = []
    assert api.pull("phi4", seen.append) == {"status": "success"}
    assert seen[0] == {"status": "pulling manifest"}
    layers = {status["digest"]: (status["completed"], status["total"]) for status in seen if "completed" in status}
    assert all(completed == total for completed, total in layers.values())
    assert [status["status"] for status in api.stream_pull("phi4")][-1] == "success"
    assert "phi4:latest" in [model["name"] for model in api.list_models()]
    with pytest.raises(ModelNotFound, match="file does not exist"):
        api.pull("missing")


def test_a_pull_that_breaks_off_or_is_left(api: ollama, server: SimulatorThread) -> None:
    server.script(Fault.cut(after=4), Fault.silence(after=4))
    with pytest.raises((StreamCut, TransportError)):
        api.pull("phi4")
    with api.stream_pull("phi4") as statuses:
        assert next(statuses)["status"] == "pulling manifest"
    assert next(statuses, None) is None
    assert api.chat("llama3", HELLO)["text"]


async def test_every_verb_has_its_awaitable_twin(api: ollama) -> None:
    assert (await api.achat("llama3", HELLO))["text"]
    assert [piece async for piece in api.astream_chat("llama3", HELLO)][-1]["done"]
    assert (await api.agenerate("llama3", "Once"))["text"]
    assert (await api.aembedding("e", "a"))["embedding"]
    assert await api.alist_models()
    seen: list[dict[str, Any]] = []
    assert await api.apull("phi4", seen.append) == {"status": "success"}
    assert [status async for status in api.astream_pull("phi4")] == seen
    with pytest.raises(ModelNotFound):
        await api.apull("missing")
    for name in ("chat", "generate", "embedding", "list_models", "pull", "make_post_request"):
        assert inspect.iscoroutinefunction(getattr(api, f"a{name}"))


async def test_a_handler_asks_the_default_model_or_the_first(server: SimulatorThread, api: ollama) -> None:
    handler = api.create_ollama_endpoint_handler(temperature=0)
    assert handler("Hello")["text"] == (await handler("Hello"))["text"]
    assert server.requests[-1].body["model"] == "llama3:latest"
    with ollama(metadata={"ollama_api_url": server.url, "ollama_model": "phi4"}) as named:
        assert named.create_ollama_endpoint_handler()("Hello", max_tokens=3)["model"] == "phi4"
        assert named.chat("", HELLO)["model"] == "phi4"
        endpoint = named.create_endpoint(model="qwen3")
        assert named.chat("", HELLO, endpoint_id=endpoint)["model"] == "qwen3"
    server.configure(models=())
    with pytest.raises(ModelNotFound, match="no model"):
        api.create_ollama_endpoint_handler()("Hello")["text"]


def test_addresses_of_the_environment(server: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "elsewhere")
    with ollama() as api:
        assert api.base_url == "http://elsewhere:11434/api"
    monkeypatch.setenv("OLLAMA_API_URL", f"http://0.0.0.0:{server.port}")
    monkeypatch.setenv("OLLAMA_MODEL", "phi4")
    with ollama() as api:
        assert api.chat("", HELLO)["model"] == "phi4"


def test_there_is_no_pool_of_keys(api: ollama) -> None:
    with pytest.raises(UnsupportedOperation, match="OLLAMA_API_KEY"):
        api.add_api_key("second", "sk-x")
    with pytest.raises(UnsupportedOperation, match="takes none"):
        api.remove_api_key("second")
    api.chat("llama3", HELLO)
    assert api.get_key_usage_stats()["none"]["requests"] == 1


def test_what_all_classes_share(api: ollama, server: SimulatorThread) -> None:
    ticket = api.queue_with_priority({"endpoint_url": "/show", "data": {"model": "llama3"}}, "HIGH")
    assert "completion" in ticket.result(timeout=10)["capabilities"]
    body = {"model": "llama3", "messages": HELLO, "stream": False}
    assert api.make_post_request("/chat", body)["message"]["content"]
    assert api.make_post_request("/chat", {**body, "stream": None})[-1]["done"]  # Ollama streams unless told not to
    assert api.get_usage_stats()["total_requests"] == 3
    server.script(Fault.status(503), Fault.status(503))
    assert api.chat("llama3", HELLO)["attempts"] == 3
