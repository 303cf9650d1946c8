"""`hf_tgi`: its verbs against a simulated server and a simulated router, and the client beneath it."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, errors
from ipfs_accelerate_py.api_backends import hf_tgi
from ipfs_accelerate_py.backends import configured
from ipfs_accelerate_py.reply_stream import ReplyStream
from ipfs_accelerate_py.simulator import Simulator, SimulatorThread
from ipfs_accelerate_py.types import Usage

EXAMPLE = """
from ipfs_accelerate_py.api_backends import hf_tgi

# Initialize the API with credentials
metadata = {"hf_api_token": "your-token-here"}
tgi_api = hf_tgi(resources={}, metadata=metadata)

# Generate text
response = tgi_api.generate_text(
    "mistralai/Mistral-7B-Instruct-v0.2",
    "Explain the concept of quantum computing in simple terms.",
    parameters={"max_new_tokens": 100}
)
print(response["generated_text"])

# Chat (if available)
if hasattr(tgi_api, "chat"):
    messages = [{"role": "user", "content": "Hello, how are you?"}]
    response = tgi_api.chat("mistralai/Mistral-7B-Instruct-v0.2", messages)
    print(response["text"])
"""
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]}}, "required": ["animal"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}


@pytest.fixture
def server() -> Iterator[SimulatorThread]:
    with SimulatorThread("tgi") as simulator:
        yield simulator


@pytest.fixture
def api(server: SimulatorThread) -> Iterator[hf_tgi]:
    with hf_tgi(metadata={"tgi_url": server.url}, initial_retry_delay=0.001) as made:
        yield made


# --- the older API -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hosted", ["", ", hosted=True"], ids=["own", "router"])
def test_the_quickstart(server: SimulatorThread, capsys: pytest.CaptureFixture[str], hosted: str) -> None:
    names: dict[str, Any] = {}
    changed = EXAMPLE.replace('"your-token-here"', f'"your-token-here", "tgi_url": "{server.url}"')
    exec(changed.replace("metadata=metadata", "metadata=metadata" + hosted), names)
    names["tgi_api"].close()
    assert len(capsys.readouterr().out.splitlines()) == 2
    folder = "/hf-inference/models/mistralai/Mistral-7B-Instruct-v0.2" if hosted else "/generate"
    assert [request.path for request in server.requests] == [folder, "/v1/chat/completions"]
    assert {request.key is not None for request in server.requests} == {True}
    assert server.requests[0].body["parameters"]["max_new_tokens"] == 100


def test_generate_text(api: hf_tgi) -> None:
    whole = api.generate_text("m", "Once upon", parameters={"max_new_tokens": 5}, stop=["never"], priority="HIGH")
    assert whole["text"] == whole["generated_text"]
    assert (whole["finish_reason"], whole["usage"]["completion_tokens"], whole["usage"]["prompt_tokens"]) == (
        "length",
        5,
        3,
    )
    assert len(whole["raw"]["details"]["tokens"]) == 5
    chunks = list(api.stream_generate("m", "Once upon", parameters={"max_new_tokens": 5}))
    assert "".join(chunk["text"] for chunk in chunks) == whole["text"]
    assert [chunk["done"] for chunk in chunks] == [False] * 5 + [True]
    assert (chunks[-1]["finish_reason"], chunks[-1]["usage"]) == ("length", whole["usage"])


def test_chat_tools_and_structured_output(api: hf_tgi) -> None:
    said = api.chat("m", "Hello", temperature=0, max_tokens=50, system="Be brief.")
    streamed = list(api.stream_chat("m", "Hello", temperature=0, max_tokens=50, system="Be brief."))
    assert "".join(chunk["text"] for chunk in streamed) == said["text"]
    assert (streamed[-1]["usage"], streamed[-1]["finish_reason"]) == (said["usage"], "stop")
    asked = api.chat("m", "Use a tool", tools=[TOOL])
    (call,) = asked["tool_calls"]
    assert (call["function"]["name"], asked["text"], asked["finish_reason"]) == ("f", "", "tool_calls")
    turns: list[Any] = [
        {"role": "user", "content": "Use a tool"},
        {"role": "assistant", "content": "I look.", "tool_calls": asked["tool_calls"]},
        {"role": "tool", "tool_call_id": call["id"], "content": "42"},
    ]
    assert api.chat("m", turns, tools=[TOOL])["text"]
    pieces = list(api.stream_chat("m", "Use a tool", tools=[TOOL]))
    assert pieces[-1]["tool_calls"] == asked["tool_calls"]
    assert pieces[-1]["finish_reason"] == "tool_calls"
    assert json.loads(api.chat("m", "Hello", response_format=WANTED)["text"])["animal"] in ("cat", "dog")
    assert json.loads(api.generate_text("m", "Hello", response_format=WANTED)["text"])["animal"] in ("cat", "dog")
    assert [model["id"] for model in api.list_models()] == ["simulator/tgi"]


def test_handlers_continue_texts_and_answer_messages(api: hf_tgi) -> None:
    handler = api.create_remote_text_generation_endpoint_handler(max_tokens=4)
    result = handler("Once upon")
    assert result["text"] == result["generated_text"]
    assert result["usage"]["completion_tokens"] == 4
    assert handler([{"role": "user", "content": "Hello"}], max_tokens=3)["usage"]["completion_tokens"] == 3

    async def ask() -> str:
        return str((await handler("Once upon"))["text"])

    assert asyncio.run(ask()) == result["text"]


def test_awaitable_twins(api: hf_tgi) -> None:
    async def run() -> None:
        whole = await api.agenerate_text("m", "Once upon")
        assert whole["text"] == "".join([chunk["text"] async for chunk in api.astream_generate("m", "Once upon")])
        said = await api.achat("m", "Hello")
        assert said["text"] == "".join([chunk["text"] async for chunk in api.astream_chat("m", "Hello")])
        assert await api.alist_models()

    asyncio.run(run())
    for name in ("generate_text", "chat", "list_models"):
        assert inspect.iscoroutinefunction(getattr(hf_tgi, f"a{name}"))
    assert list(inspect.signature(hf_tgi.generate_text).parameters)[:4] == ["self", "model", "inputs", "parameters"]


def test_endpoints_are_of_the_same_kind(server: SimulatorThread) -> None:
    with hf_tgi(metadata={"tgi_url": server.url, "hf_api_key": "hf_1"}, hosted=True) as api:
        endpoint = api.create_endpoint(max_retries=0)
        api.generate_text("o/m", "x", endpoint_id=endpoint)
        assert server.requests[-1].path == "/hf-inference/models/o/m"
        with pytest.raises(errors.ConfigurationError, match="name the one"):
            api.create_remote_text_generation_endpoint_handler()("x")["text"]


# --- credentials -------------------------------------------------------------------------------------------------


async def test_the_router_needs_a_key_and_a_server_of_ones_own_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncClient("hf_tgi") as client:
        assert client.base_url == "https://router.huggingface.co"
        with pytest.raises(errors.MissingCredential, match="HF_API_TOKEN or HF_TOKEN"):
            await client.complete("o/m", "x")
    async with Simulator("tgi") as sim:
        monkeypatch.setenv("TGI_URL", sim.url + "/v1")
        assert [spec.name for spec in configured()] == ["hf_tgi"]
        async with AsyncClient("tgi") as client:
            assert (await client.complete("", "x")).text
            assert sim.requests[-1].key is None
        async with AsyncClient("tgi", hosted=True) as client:
            with pytest.raises(errors.MissingCredential):
                await client.complete("o/m", "x")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setenv("TGI_MODEL", "o/default")
        async with AsyncClient("tgi", hosted=True) as client:
            reply = await client.complete("", "x")
            assert (reply.key_name, sim.requests[-1].path) == ("HF_TOKEN", "/hf-inference/models/o/default")


async def test_a_refused_key_is_said_without_its_value() -> None:
    async with (
        Simulator("tgi", api_keys=["hf_right"]) as sim,
        AsyncClient("tgi", base_url=sim.url, api_key="hf_wrong") as client,
    ):
        with pytest.raises(errors.AuthenticationError, match=r"^Authentication error") as caught:
            await client.chat("m", "Hello")
    assert "hf_wrong" not in str(caught.value)


# --- the client --------------------------------------------------------------------------------------------------


async def test_everything_tgi_has_goes_through_the_client() -> None:
    async with Simulator("tgi") as sim, AsyncClient("tgi", base_url=sim.url) as client:
        reply = await client.complete("m", "Once", logprobs=2, user="u")
        assert reply.usage == Usage(1, 21, reported=True)
        assert list(reply.ignored) == ["user"]
        assert len(reply.raw["details"]["top_tokens"][0]) == 2
        assert (await client.count_tokens("m", "Hello", tools=[TOOL])).usage.input_tokens > 0
        assert (await client.request("/info", method="GET")).raw["max_total_tokens"] == 8192
        assert b"tgi_request_count" in (await client.request("/metrics", method="GET")).body
        assert (await client.request("/health", method="GET")).raw is None
        assert (await client.request("/tokenize", {"inputs": "Hello"})).raw[0]["text"] == "Hell"
        listed = await client.request("/", {"inputs": "Once"})
        assert listed.raw[0]["generated_text"] == reply.text
        stream = client.stream_request("/generate_stream", {"inputs": "Once"})
        assert "".join([chunk.raw["token"]["text"] async for chunk in stream]) == reply.text + "</s>"
        seen = len(sim.requests)
        with pytest.raises(errors.UnsupportedOperation, match="'n'"):
            await client.chat("m", "Hello", n=2)
        with pytest.raises(errors.UnsupportedOperation):
            await client.embed("m", "x")
        assert len(sim.requests) == seen


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_faults(stream: bool) -> None:
    async with Simulator("tgi") as sim, AsyncClient("tgi", base_url=sim.url, initial_retry_delay=0.001) as client:

        async def ask(prompt: str = "Once", **options: Any) -> str:
            if stream:
                return (await client.stream_complete("m", prompt, **options).collect()).text
            return (await client.complete("m", prompt, **options)).text

        whole = await ask()
        for faults in (("429:retry_after=0",), ("500",), ("reset",), ("424:type=generation",), ("split:size=1",)):
            sim.script(*faults)
            assert await ask() == whole
        loading = '{"error": "Model o/m is currently loading", "estimated_time": 0.01}'
        sim.plan.script([_status(503, loading)])
        assert await ask() == whole
        for fault, expected in (
            ("context_length_exceeded", errors.ContextLengthExceeded),
            ("insufficient_quota", errors.QuotaExhausted),
            ("content_policy_violation", errors.ContentFiltered),
            ("model_not_found", errors.ModelNotFound),
            ("html", errors.ProtocolError),
        ):
            before = len(sim.requests)
            sim.script(fault)
            with pytest.raises(expected):
                await ask()
            assert len(sim.requests) == before + 1
        with pytest.raises(errors.ContextLengthExceeded):
            await ask("x" * 40_000)
        assert await ask() == whole
        assert client.active_requests == 0


def _status(code: int, body: str) -> Any:
    from ipfs_accelerate_py.simulator import Fault

    return Fault.status(code, body=body, content_type="application/json")


async def test_streams_that_break_are_errors() -> None:
    async with Simulator("tgi") as sim, _one_try(sim) as client:
        for fault, expected in (
            ("cut:after=5", errors.StreamCut),
            ("error_event:at=5", errors.ServerError),
            ("utf8_cut:after=2", errors.StreamCut),
        ):
            for make in (client.stream_complete, client.stream):
                sim.script(fault)
                texts: list[str] = []
                with pytest.raises(expected):
                    await _read(make("m", "Once"), texts)
                assert texts
        for fault in ("unknown_fields", "messy:newline=mixed,comments=true", "bad_json:at=3,data=oops"):
            for make in (client.stream_complete, client.stream):
                sim.script("ok", fault)
                whole = (await make("m", "Once").collect()).text
                assert (await make("m", "Once").collect()).text == whole


def _one_try(sim: Simulator) -> AsyncClient:
    return AsyncClient("tgi", base_url=sim.url, max_retries=0, circuit_failure_threshold=100)


async def _read(stream: ReplyStream, texts: list[str]) -> None:
    async for chunk in stream:
        texts.append(chunk.text)  # noqa: PERF401  # what came before the error is wanted
