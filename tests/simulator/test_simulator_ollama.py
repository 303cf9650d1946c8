"""The simulated Ollama: answers against its own API description, refusals, and what it remembers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml

from ipfs_accelerate_py.simulator import Fault, Simulator

from .raw import ask
from .test_simulator_spec import _FOLDERS, Spec

FILE = next((path for folder in _FOLDERS if (path := folder / "ollama.openapi.yaml").is_file()), None)
CHAT: dict[str, Any] = {"model": "llama3", "messages": [{"role": "user", "content": "Hello"}]}
GENERATE: dict[str, Any] = {"model": "llama3", "prompt": "Once"}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("ollama", dimensions=4) as simulator:
        yield simulator


async def lines(sim: Simulator, body: Any, path: str = "/api/chat", **options: Any) -> list[dict[str, Any]]:
    got = await ask(sim, body, path, **options)
    assert got.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in got.body.splitlines()]


# --- the API description -----------------------------------------------------------------------------------------

described = pytest.mark.skipif(FILE is None, reason="ollama.openapi.yaml not found: see IPFS_ACCELERATE_SPECS")


@pytest.fixture(scope="module")
def spec() -> Spec:
    assert FILE is not None
    with FILE.open("rb") as file:
        return Spec(yaml.load(file, Loader=yaml.CSafeLoader)["components"]["schemas"])


@described
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"options": {"num_predict": 3, "stop": ["z"], "seed": 1}},
        {"model": "qwen3", "think": "low"},
        {"format": "json"},
        {"format": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}},
        {"logprobs": True, "top_logprobs": 2},
        {"tools": [TOOL], "messages": [{"role": "user", "content": "Use the tool"}]},
    ],
    ids=range(7),
)
async def test_chat(sim: Simulator, spec: Spec, change: dict[str, Any]) -> None:
    body = {**CHAT, **change}
    spec.check("ChatRequest", body)
    whole = (await ask(sim, {**body, "stream": False}, "/api/chat")).json
    spec.check("ChatResponse", whole)
    streamed = await lines(sim, body)
    for event in streamed:
        spec.check("ChatStreamEvent", event)
    for name in ("content", "thinking"):
        pieces = "".join(event["message"].get(name, "") for event in streamed)
        assert pieces == whole["message"].get(name, "")
    calls = [call for event in streamed for call in event["message"].get("tool_calls", [])]
    assert calls == whole["message"].get("tool_calls", [])
    assert [event["done"] for event in streamed] == [False] * (len(streamed) - 1) + [True]
    assert {**streamed[-1], "message": 0, "created_at": 0} == {
        name: 0 if name in ("message", "created_at") else value for name, value in whole.items() if name != "logprobs"
    }


@described
async def test_the_rest(sim: Simulator, spec: Spec) -> None:
    body = {**GENERATE, "suffix": "end", "system": "s", "logprobs": True}
    spec.check("GenerateRequest", body)
    whole = (await ask(sim, {**body, "stream": False}, "/api/generate")).json
    spec.check("GenerateResponse", whole)
    streamed = await lines(sim, body, "/api/generate")
    for event in streamed:
        spec.check("GenerateStreamEvent", event)
    assert "".join(event["response"] for event in streamed) == whole["response"]
    spec.check("EmbedResponse", (await ask(sim, {"model": "e", "input": ["a", "b"]}, "/api/embed")).json)
    spec.check("ListResponse", (await ask(sim, None, "/api/tags", method="GET")).json)
    spec.check("PsResponse", (await ask(sim, None, "/api/ps", method="GET")).json)
    spec.check("VersionResponse", (await ask(sim, None, "/api/version", method="GET")).json)
    spec.check("ShowResponse", (await ask(sim, {"model": "llama3"}, "/api/show")).json)
    for event in await lines(sim, {"model": "new"}, "/api/pull"):
        spec.check("StatusEvent", event)
    spec.check("ErrorResponse", (await ask(sim, {}, "/api/chat")).json)


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/chat", b"{", "invalid character"),
        ("/api/chat", b"", "missing request body"),
        ("/api/chat", [1], "cannot unmarshal array"),
        ("/api/chat", {"messages": []}, "model is required"),
        ("/api/chat", {**CHAT, "messages": "Hello"}, "ChatRequest.messages"),
        ("/api/chat", {**CHAT, "messages": ["Hello"]}, "api.Message"),
        ("/api/chat", {**CHAT, "messages": [{"role": "boss", "content": "a"}]}, "invalid role"),
        (
            "/api/chat",
            {**CHAT, "messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "content of type string",
        ),
        ("/api/chat", {**CHAT, "messages": [{"role": "user", "content": "", "images": ["%%%%"]}]}, "illegal base64"),
        (
            "/api/chat",
            {
                **CHAT,
                "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            },
            "arguments",
        ),
        ("/api/chat", {**CHAT, "tools": [{"type": "function"}]}, "tools"),
        ("/api/chat", {**CHAT, "options": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ("/api/chat", {**CHAT, "options": {"stop": "x"}}, 'option "stop" must be of type array'),
        ("/api/chat", {**CHAT, "options": {"num_predict": True}}, "num_predict"),
        ("/api/chat", {**CHAT, "stream": "no"}, "ChatRequest.stream"),
        ("/api/chat", {**CHAT, "format": "xml"}, "invalid format"),
        ("/api/chat", {**CHAT, "think": True}, '"llama3" does not support thinking'),
        ("/api/chat", {**CHAT, "model": "qwen3", "think": "lots"}, "invalid think value"),
        ("/api/generate", {**GENERATE, "raw": True, "system": "s"}, "raw mode"),
        ("/api/embed", {"model": "e", "input": [5]}, "invalid input type"),
        (
            "/api/embed",
            {"model": "e", "input": "a" * 99, "truncate": False, "options": {"num_ctx": 8}},
            "context length",
        ),
        ("/api/pull", {}, "model is required"),
    ],
)
async def test_a_wrong_request_is_refused_in_ollamas_words(sim: Simulator, path: str, body: Any, words: str) -> None:
    got = await ask(sim, body, path)
    assert got.status == 400
    assert words in got.json["error"]


async def test_what_there_is_not(sim: Simulator) -> None:
    for path, method, status in (("/api/nothing", "POST", 404), ("/api/chat", "GET", 405), ("/api/tags", "POST", 405)):
        got = await ask(sim, None, path, method=method)
        assert (got.status, got.headers["content-type"]) == (status, "text/plain")
    got = await ask(sim, None, "/", method="GET")
    assert (got.status, got.body) == (200, b"Ollama is running")


async def test_models_are_those_that_were_pulled() -> None:
    async with Simulator("ollama", models=["llama3"]) as sim:
        missing = await ask(sim, {**CHAT, "model": "phi4"}, "/api/chat")
        assert (missing.status, missing.json) == (404, {"error": "model 'phi4' not found"})
        assert (await ask(sim, {**CHAT, "model": "llama3:latest", "stream": False}, "/api/chat")).status == 200
        statuses = await lines(sim, {"model": "phi4"}, "/api/pull")
        assert statuses[-1] == {"status": "success"}
        totals = {event["digest"]: (event.get("completed"), event["total"]) for event in statuses if "digest" in event}
        assert all(completed == total for completed, total in totals.values())
        assert (await ask(sim, {**CHAT, "model": "phi4", "stream": False}, "/api/chat")).status == 200
        tags = (await ask(sim, None, "/api/tags", method="GET")).json
        assert [model["name"] for model in tags["models"]] == ["llama3:latest", "phi4:latest"]
        assert (await lines(sim, {"model": "missing"}, "/api/pull"))[-1]["error"].startswith("pull model manifest")
        whole = await ask(sim, {"model": "missing", "stream": False}, "/api/pull")
        assert (whole.status, "error" in whole.json) == (500, True)


async def test_models_that_were_asked_are_running_until_let_go_of(sim: Simulator) -> None:
    async def running() -> list[str]:
        return [model["name"] for model in (await ask(sim, None, "/api/ps", method="GET")).json["models"]]

    loaded = (await ask(sim, {"model": "llama3"}, "/api/generate")).json
    assert (loaded["done_reason"], await running()) == ("load", ["llama3:latest"])
    gone = (await ask(sim, {"model": "llama3", "messages": [], "keep_alive": 0}, "/api/chat")).json
    assert (gone["done_reason"], await running()) == ("unload", [])


async def test_the_older_embeddings_are_the_same_vectors(sim: Simulator) -> None:
    new = (await ask(sim, {"model": "e", "input": "a"}, "/api/embed")).json
    old = (await ask(sim, {"model": "e", "prompt": "a"}, "/api/embeddings")).json
    assert old == {"embedding": new["embeddings"][0]}
    assert len(old["embedding"]) == 4
    assert (await ask(sim, {"model": "e", "prompt": ""}, "/api/embeddings")).json == {"embedding": []}
    assert len((await ask(sim, {"model": "e", "input": "a", "dimensions": 7}, "/api/embed")).json["embeddings"][0]) == 7


# --- keys, limits, faults ----------------------------------------------------------------------------------------


async def test_keys_and_limits() -> None:
    async with Simulator("ollama", api_keys=["right"], requests_per_minute=1) as sim:
        assert (await ask(sim, CHAT, "/api/chat")).json == {"error": "unauthorized"}
        good = {"authorization": "Bearer right"}
        assert (await ask(sim, CHAT, "/api/chat", **good)).status == 200
        refused = await ask(sim, CHAT, "/api/chat", **good)
        assert (refused.status, "retry-after" in refused.headers) == (429, True)
    async with Simulator("ollama", tokens_per_minute=50) as sim:
        counted = {**CHAT, "options": {"num_predict": 40}}
        assert (await ask(sim, counted, "/api/chat")).status == 200
        assert (await ask(sim, counted, "/api/chat")).status == 429
        assert (await ask(sim, {"model": "m"}, "/api/show")).status == 200


async def test_faults_are_in_ollamas_shape(sim: Simulator) -> None:
    sim.script(Fault.status(503, message="server busy"), Fault.error_event(at=2, message="crashed"), Fault.cut(after=3))
    assert (await ask(sim, CHAT, "/api/chat")).json == {"error": "server busy"}
    assert [event.get("error") for event in await lines(sim, CHAT)] == [None, None, "crashed"]
    cut = await ask(sim, CHAT, "/api/chat", to_end=True)
    assert (cut.end, cut.body.count(b"\n")) == ("fin", 3)
