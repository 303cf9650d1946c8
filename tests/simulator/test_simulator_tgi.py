"""The simulated TGI, read by Hugging Face's own client and held against TGI's OpenAPI description."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import IncompleteGenerationError, OverloadedError, ValidationError

from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread
from tests.hf_specs import arguments_for_parameters, description

from .hf_client import online
from .raw import Got, ask

__all__ = ["online"]

PROMPT = "Once upon a time"
MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 7}},
            "required": ["days"],
        },
    },
}
SCHEMA: Any = {"type": "object", "properties": {"animal": {"enum": ["cat", "dog"]}}, "required": ["animal"]}

# Dictionaries where the client has classes, which it writes as the same.
GRAMMAR: Any = {"type": "json", "value": SCHEMA}
COUNTED: Any = {"include_usage": True}


@pytest.fixture
def sim(online: None) -> Iterator[SimulatorThread]:
    with SimulatorThread("tgi") as made:
        yield made


@pytest.fixture
def client(sim: SimulatorThread) -> InferenceClient:
    return InferenceClient(model=sim.url, token="hf_test")


# --- Hugging Face's client ---------------------------------------------------------------------------------------


def test_text_generation_says_the_same_whole_and_streamed(client: InferenceClient) -> None:
    whole = client.text_generation(PROMPT, details=True)
    assert client.text_generation(PROMPT) == whole.generated_text
    assert whole.details is not None
    assert (whole.details.finish_reason, whole.details.generated_tokens) == ("eos_token", 21)
    assert [token.special for token in whole.details.tokens] == [False] * 20 + [True]
    assert "".join(client.text_generation(PROMPT, stream=True)) == whole.generated_text + "</s>"
    events = list(client.text_generation(PROMPT, stream=True, details=True))
    assert "".join(event.token.text for event in events if not event.token.special) == whole.generated_text
    assert [event.index for event in events] == list(range(1, 22))
    last = events[-1]
    assert last.generated_text == whole.generated_text
    assert last.details is not None
    assert (last.details.finish_reason, last.details.input_length) == ("eos_token", 4)
    assert all(event.generated_text is None for event in events[:-1])


def test_limits_stops_and_the_prompt(client: InferenceClient, sim: SimulatorThread) -> None:
    short = client.text_generation(PROMPT, max_new_tokens=5, details=True, decoder_input_details=True)
    assert short.details is not None
    assert (short.details.finish_reason, short.details.generated_tokens) == ("length", 5)
    assert "".join(token.text for token in short.details.prefill) == PROMPT
    whole = client.text_generation(PROMPT)
    assert whole.startswith(short.generated_text)
    assert client.text_generation(PROMPT, return_full_text=True) == PROMPT + whole
    sim.configure(reply="one two three four")
    stopped = client.text_generation(PROMPT, stop=["three"], details=True)
    assert stopped.details is not None
    assert (stopped.generated_text, stopped.details.finish_reason) == ("one two three", "stop_sequence")


def test_several_at_once_and_top_tokens(client: InferenceClient) -> None:
    made = client.text_generation(PROMPT, best_of=2, do_sample=True, details=True, top_n_tokens=2)
    assert made.details is not None
    assert made.details.best_of_sequences is not None
    assert made.details.best_of_sequences[0].generated_text != made.generated_text
    assert made.details.top_tokens is not None
    assert {len(tops) for tops in made.details.top_tokens} == {2}


def test_grammar(client: InferenceClient) -> None:
    made = client.text_generation(PROMPT, grammar=GRAMMAR)
    assert json.loads(made)["animal"] in ("cat", "dog")


def test_chat_whole_and_streamed(client: InferenceClient) -> None:
    whole = client.chat_completion(MESSAGES, logprobs=True, top_logprobs=2)
    choice = whole.choices[0]
    assert (choice.finish_reason, whole.system_fingerprint) == ("stop", "fp_simulator")
    assert choice.logprobs is not None
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    chunks = list(client.chat_completion(MESSAGES, stream=True, stream_options=COUNTED))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == choice.message.content
    assert chunks[-1].usage is not None
    assert vars(chunks[-1].usage) == vars(whole.usage)
    short = client.chat_completion(MESSAGES, max_tokens=3)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)


def test_tools_one_call_at_most(client: InferenceClient) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use a tool"}]
    call = client.chat_completion(asked, tools=[TOOL, TOOL]).choices[0].message.tool_calls
    assert call is not None
    assert [one.function.name for one in call] == ["get_weather"]
    assert 1 <= json.loads(call[0].function.arguments)["days"] <= 7
    chunks = list(client.chat_completion(asked, tools=[TOOL], stream=True))
    pieces = [each for chunk in chunks for each in chunk.choices[0].delta.tool_calls or ()]
    assert "".join(each.function.arguments for each in pieces) == call[0].function.arguments
    assert [each.function.name for each in pieces if each.function.name] == ["get_weather"]
    assert client.chat_completion(asked, tools=[TOOL], tool_choice="none").choices[0].message.content
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    made = client.chat_completion(MESSAGES, response_format=wanted).choices[0].message.content
    assert json.loads(made or "")["animal"] in ("cat", "dog")


async def test_the_asynchronous_client(online: None) -> None:
    async with Simulator("tgi") as sim, AsyncInferenceClient(model=sim.url, token="hf_test") as client:
        whole = await client.text_generation(PROMPT)
        parts = [part async for part in await client.text_generation(PROMPT, stream=True, max_new_tokens=20)]
        assert "".join(parts) == whole
        said = await client.chat_completion(MESSAGES)
        stream = await client.chat_completion(MESSAGES, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(pieces) == said.choices[0].message.content


def test_its_own_errors(client: InferenceClient, sim: SimulatorThread) -> None:
    with pytest.raises(ValidationError, match="`temperature` has to be above 0"):
        client.text_generation(PROMPT, temperature=-1)
    with pytest.raises(ValidationError, match="`top_p` has to be"):  # in band: the stream has begun
        list(client.text_generation(PROMPT, top_p=1.5, stream=True))
    sim.script(Fault.status(429))
    with pytest.raises(OverloadedError):
        client.text_generation(PROMPT)
    sim.script(Fault.parse("error_event:at=3"))
    parts = client.text_generation(PROMPT, stream=True)
    assert len([next(iter(parts)) for _ in range(3)]) == 3
    with pytest.raises(IncompleteGenerationError):
        next(iter(parts))


# --- on the wire -------------------------------------------------------------------------------------------------

GENERATE = {"inputs": PROMPT, "parameters": {"details": True, "top_n_tokens": 2, "decoder_input_details": True}}
STREAMED = {"inputs": PROMPT, "parameters": {"details": True, "top_n_tokens": 2}}
CALL = {"messages": [{"role": "user", "content": "Use a tool"}], "tools": [TOOL]}
ANSWERS: list[tuple[str, str, str | None, Any, str]] = [
    ("POST", "/generate", "GenerateRequest", GENERATE, "GenerateResponse"),
    ("POST", "/v1/chat/completions", "ChatRequest", {"messages": MESSAGES, "logprobs": True}, "ChatCompletion"),
    ("POST", "/v1/chat/completions", "ChatRequest", CALL, "ChatCompletion"),
    ("POST", "/v1/completions", "CompletionRequest", {"prompt": [PROMPT, "x"], "stream": False}, "CompletionFinal"),
    ("POST", "/tokenize", "GenerateRequest", {"inputs": PROMPT}, "TokenizeResponse"),
    ("POST", "/chat_tokenize", "ChatRequest", {"messages": MESSAGES}, "ChatTokenizeResponse"),
    ("POST", "/invocations", "SagemakerRequest", GENERATE, "SagemakerResponse"),
    ("GET", "/info", None, None, "Info"),
]


@pytest.mark.parametrize(("method", "path", "request_name", "body", "name"), ANSWERS)
async def test_answers_are_what_the_description_says(
    method: str, path: str, request_name: str | None, body: Any, name: str
) -> None:
    spec = description("tgi")
    if request_name is not None:
        spec.check(request_name, arguments_for_parameters(body))
    async with Simulator("tgi") as sim:
        got = await ask(sim, body, path, method=method)
    assert got.status == 200
    assert got.headers["x-compute-type"] == "simulator"
    answer = got.json[0] if path == "/invocations" else got.json
    spec.check(name, answer)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/generate_stream", STREAMED, "StreamResponse"),
        ("/", {**STREAMED, "stream": True}, "StreamResponse"),
        ("/v1/chat/completions", {"messages": MESSAGES, "stream": True, "logprobs": True}, "ChatCompletionChunk"),
        ("/v1/chat/completions", {**CALL, "stream": True}, "ChatCompletionChunk"),
        ("/v1/completions", {"prompt": PROMPT, "stream": True, "max_tokens": 4}, "Chunk"),
    ],
)
async def test_events_are_what_the_description_says(path: str, body: Any, name: str) -> None:
    spec = description("tgi")
    async with Simulator("tgi") as sim:
        got = await ask(sim, body, path)
        assert sim.requests[-1].streamed_chunks > 3
    assert got.headers["content-type"] == "text/event-stream"
    events = got.events
    if path.startswith("/v1"):
        assert events.pop() == "[DONE]"
    for event in events:
        spec.check(name, event)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"best_of": 3}, "`best_of` is 3"),
        ({"best_of": 2}, "you must use sampling when `best_of` is > 1"),
        ({"best_of": 2, "do_sample": True, "seed": 1}, "one `seed`"),
        ({"temperature": 0}, "`temperature` has to be above 0"),
        ({"repetition_penalty": 0}, "`repetition_penalty` has to be above 0"),
        ({"top_k": 0}, "`top_k` has to be above 0"),
        ({"frequency_penalty": 3}, "`frequency_penalty` may be"),
        ({"top_p": 1.0}, "`top_p` has to be"),
        ({"max_new_tokens": 0}, "`max_new_tokens` has to be above 0"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "`stop` has 5"),
        ({"top_n_tokens": 6}, "`top_n_tokens` is 6"),
        ({"truncate": 0}, "`truncate` is 0"),
        ({"grammar": {"type": "json", "value": {"type": "object"}}}, "Grammar must have a 'properties' field"),
        ({"max_new_tokens": 8190}, "`inputs` tokens + `max_new_tokens` must be <= 8192."),
    ],
)
async def test_rules_and_their_words(parameters: dict[str, Any], words: str) -> None:
    async with Simulator("tgi") as sim:
        got = await ask(sim, {"inputs": PROMPT, "parameters": parameters}, "/generate")
    assert (got.status, got.json["error_type"]) == (422, "validation")
    assert words in got.json["error"]
    description("tgi").check("ErrorResponse", got.json)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/generate", b"{", 400, "Failed to parse the request body as JSON"),
        ("/generate", [], 422, "Failed to deserialize"),
        ("/generate", {"parameters": {}}, 422, "missing field `inputs`"),
        ("/generate", {"inputs": 5}, 422, "inputs: invalid type: integer `5`, expected a string"),
        ("/generate", {"inputs": "x", "parameters": {"stop": "x"}}, 422, "parameters.stop: invalid type"),
        ("/v1/chat/completions", {}, 422, "missing field `messages`"),
        ("/v1/chat/completions", {"messages": [{"role": "user"}]}, 422, "MessageBody"),
        ("/v1/chat/completions", {"messages": [{"content": "x"}]}, 422, "missing field `role`"),
        ("/v1/chat/completions", {"messages": MESSAGES, "stop": "x"}, 422, "stop: invalid type"),
        (
            "/v1/chat/completions",
            {"messages": MESSAGES, "response_format": {"type": "json"}},
            422,
            "missing field `value`",
        ),
        ("/v1/completions", {"prompt": 5}, 422, "enum Prompt"),
        ("/v1/completions", {"prompt": "x", "suffix": "y"}, 422, "`suffix`"),
        ("/nowhere", {}, 404, ""),
    ],
)
async def test_what_does_not_fit_is_refused(path: str, body: Any, status: int, words: str) -> None:
    async with Simulator("tgi") as sim:
        got = await ask(sim, body, path)
    assert got.status == status
    assert words in got.body.decode()


async def test_health_metrics_models_and_keys() -> None:
    async with Simulator("tgi", api_keys={"mine": "hf_1"}, models=["o/m"]) as sim:

        async def get(path: str, key: str = "hf_1") -> Got:
            return await ask(sim, None, path, method="GET", authorization=f"Bearer {key}")

        assert ((await get("/health")).status, (await get("/health")).body) == (200, b"")
        assert "tgi_request_count" in (await get("/metrics")).body.decode()
        assert [model["id"] for model in (await get("/v1/models")).json["data"]] == ["o/m"]
        assert (await get("/info")).json["model_id"] == "o/m"
        refused = await get("/info", "hf_2")
        assert (refused.status, refused.body) == (401, b"")
        assert (await get("/generate")).status == 405
        assert sim.requests[0].key == "mine"


async def test_the_routers_paths() -> None:
    async with Simulator("tgi", models=["o/m"]) as sim:
        whole = await ask(sim, {"inputs": PROMPT}, "/hf-inference/models/o/m")
        assert list(whole.json[0]) == ["generated_text"]
        said = await ask(sim, {"messages": MESSAGES, "model": "o/m"}, "/hf-inference/models/o/m/v1/chat/completions")
        assert said.json["model"] == "o/m"
        missing = await ask(sim, {"inputs": PROMPT}, "/hf-inference/models/o/other")
        assert (missing.status, missing.json["error"]) == (404, "Model o/other does not exist")


async def test_limits_of_a_key() -> None:
    async with Simulator("tgi", requests_per_minute=1) as sim:
        first = await ask(sim, {"inputs": PROMPT}, "/generate")
        second = await ask(sim, {"inputs": PROMPT}, "/generate")
    assert (first.status, second.status, second.json["error_type"]) == (200, 429, "overloaded")
    assert float(second.headers["retry-after"]) > 0
