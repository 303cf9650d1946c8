"""Google's own client reads the simulator: answers, streams, tools, thoughts, vectors, counts, models, errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread

from .raw import ask

genai: Any = pytest.importorskip("google.genai")
errors: Any = pytest.importorskip("google.genai.errors")
types: Any = pytest.importorskip("google.genai.types")

MODEL = "gemini-2.5-flash"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
HELLO: dict[str, Any] = {"contents": [{"parts": [{"text": "Hello"}]}]}
WEATHER = types.FunctionDeclaration(
    name="get_weather",
    parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
TIME = types.FunctionDeclaration(name="get_time", parameters=types.Schema(type=types.Type.OBJECT, properties={}))
TOOLS = [types.Tool(function_declarations=[WEATHER, TIME])]


def made_for(port: int, **options: Any) -> Any:
    http = types.HttpOptions(base_url=f"http://127.0.0.1:{port}", **options)
    return genai.Client(api_key="key", vertexai=False, http_options=http)


@pytest.fixture
def sim() -> Iterator[SimulatorThread]:
    with SimulatorThread("gemini", tokens=6, dimensions=8) as simulator:
        yield simulator


@pytest.fixture
def client(sim: SimulatorThread) -> Iterator[Any]:
    made = made_for(sim.port)
    yield made
    made.close()


@pytest.fixture
async def running() -> AsyncIterator[Simulator]:
    async with Simulator("gemini", tokens=6) as simulator:
        yield simulator


def test_it_says_the_same_whole_and_streamed(client: Any, sim: SimulatorThread) -> None:
    whole = client.models.generate_content(model=MODEL, contents="Hello")
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="Hello"))
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) != ""
    assert whole.candidates[0].finish_reason == types.FinishReason.STOP
    assert [bool(chunk.candidates[0].finish_reason) for chunk in chunks] == [False] * 6 + [True]
    counts = whole.usage_metadata
    assert counts.total_token_count == counts.prompt_token_count + counts.candidates_token_count
    assert counts.candidates_token_count == 6
    assert chunks[-1].usage_metadata == counts
    assert (whole.model_version, sim.requests[-1].key) == (MODEL, sim.key_name("key"))


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # its own
async def test_the_asynchronous_client(running: Simulator) -> None:
    client = made_for(running.port, api_version="v1beta")
    try:
        whole = await client.aio.models.generate_content(model=MODEL, contents="Hello")
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents="Hello")
        assert "".join([chunk.text or "" async for chunk in stream]) == whole.text
        assert running.requests[-1].path == f"/v1beta/models/{MODEL}:streamGenerateContent"
    finally:
        await client.aio.aclose()
        client.close()


@pytest.mark.parametrize("model", [MODEL, "gemini-3-pro-preview"])
def test_a_conversation_with_parallel_calls(client: Any, model: str) -> None:
    config = types.GenerateContentConfig(
        tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    asked = types.Content(role="user", parts=[types.Part(text="Use a tool")])
    whole = client.models.generate_content(model=model, contents=[asked], config=config)
    assert [call.name for call in whole.function_calls] == ["get_weather", "get_time"]
    assert isinstance(whole.function_calls[0].args["city"], str)
    signed = [bool(part.thought_signature) for part in whole.candidates[0].content.parts]
    assert signed == [model != MODEL, False]
    streamed = list(client.models.generate_content_stream(model=model, contents=[asked], config=config))
    calls = [call for chunk in streamed for call in chunk.function_calls or ()]
    assert [(call.name, call.args) for call in calls] == [(call.name, call.args) for call in whole.function_calls]
    results = types.Content(
        role="user",
        parts=[
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "x"}))
            for call in whole.function_calls
        ],
    )
    turns = [asked, whole.candidates[0].content, results]
    assert client.models.generate_content(model=model, contents=turns, config=config).text
    with pytest.raises(errors.ClientError, match="number of function response parts"):
        lone = types.Content(role="user", parts=results.parts[:1])
        client.models.generate_content(model=model, contents=[*turns[:2], lone], config=config)
    if model != MODEL:
        whole.candidates[0].content.parts[0].thought_signature = None
        with pytest.raises(errors.ClientError, match="missing a thought_signature"):
            client.models.generate_content(model=model, contents=turns, config=config)


def test_a_function_that_the_client_calls_by_itself(client: Any) -> None:
    def get_city(name: str) -> str:
        """Where somebody is."""
        return f"{name} is in Zürich"

    reply = client.models.generate_content(
        model=MODEL, contents="get_city please", config=types.GenerateContentConfig(tools=[get_city])
    )
    assert reply.text
    assert reply.automatic_function_calling_history[-1].parts[0].function_response.response["result"].endswith("Zürich")


def test_choosing_functions(client: Any) -> None:
    def called(mode: str, names: list[str] | None = None, text: str = "Hi") -> list[str]:
        calling = types.FunctionCallingConfig(mode=mode, allowed_function_names=names)
        config = types.GenerateContentConfig(
            tools=TOOLS,
            tool_config=types.ToolConfig(function_calling_config=calling),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        reply = client.models.generate_content(model=MODEL, contents=text, config=config)
        return [call.name for call in reply.function_calls or ()]

    assert called("AUTO") == []
    assert called("ANY") == ["get_weather", "get_time"]
    assert called("ANY", ["get_time"]) == ["get_time"]
    assert called("NONE", text="get_time") == []
    with pytest.raises(errors.ClientError, match="allowed_function_names"):
        called("AUTO", ["get_time"])


def test_thoughts(client: Any) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=512)
    config = types.GenerateContentConfig(thinking_config=thinking)
    reply = client.models.generate_content(model=MODEL, contents="Hello", config=config)
    assert [part.thought for part in reply.candidates[0].content.parts] == [True, None]
    assert reply.usage_metadata.thoughts_token_count == 3
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="Hello", config=config))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    assert "".join(part.text for part in parts if part.thought) == reply.candidates[0].content.parts[0].text
    hidden = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(thinking_budget=0))
    assert client.models.generate_content(model=MODEL, contents="Hello", config=hidden).text == reply.text


def test_json_that_satisfies_a_schema(client: Any) -> None:
    schema: dict[str, Any] = {
        "type": "OBJECT",
        "properties": {"n": {"type": "INTEGER", "minimum": 3, "maximum": 5}},
        "required": ["n"],
    }
    plain = {**schema, "type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 5}}}
    for options in ({"response_schema": schema}, {"response_json_schema": plain}):
        config = types.GenerateContentConfig(response_mime_type="application/json", **options)
        reply = client.models.generate_content(model=MODEL, contents="Hello", config=config)
        assert 3 <= json.loads(reply.text)["n"] <= 5


def test_length_stops_candidates_and_logprobs(client: Any) -> None:
    def ask_for(**options: Any) -> Any:
        config = types.GenerateContentConfig(**options)
        return client.models.generate_content(model=MODEL, contents="Hello", config=config)

    whole = ask_for(system_instruction="x").text
    cut = ask_for(system_instruction="x", max_output_tokens=2)
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    assert whole.startswith(cut.text)
    assert whole.split(whole.split()[2])[0] == ask_for(system_instruction="x", stop_sequences=[whole.split()[2]]).text
    assert len({each.content.parts[0].text for each in ask_for(candidate_count=3).candidates}) == 3
    found = ask_for(response_logprobs=True, logprobs=2).candidates[0].logprobs_result
    assert len(found.chosen_candidates) == 6
    assert len(found.top_candidates[0].candidates) == 2


def test_images_and_sound_both_ways(client: Any) -> None:
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    sound = types.Part.from_bytes(data=b"RIFF", mime_type="audio/wav")
    config = types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"])
    reply = client.models.generate_content(model=MODEL, contents=["Draw", picture, sound], config=config)
    parts = reply.candidates[0].content.parts
    assert parts[0].text
    assert parts[1].inline_data.data.startswith(b"\x89PNG")
    assert {each.modality for each in reply.usage_metadata.prompt_tokens_details} == {
        types.MediaModality.TEXT,
        types.MediaModality.IMAGE,
        types.MediaModality.AUDIO,
    }
    config = types.GenerateContentConfig(
        response_modalities=["AUDIO"],
        speech_config=types.SpeechConfig(
            voice_config=types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore"))
        ),
    )
    blob = client.models.generate_content(model=MODEL, contents="Hi", config=config).candidates[0].content.parts[0]
    assert blob.inline_data.mime_type == "audio/L16;codec=pcm;rate=24000"
    assert len(blob.inline_data.data) % 2 == 0


def test_vectors_counts_and_models(client: Any, sim: SimulatorThread) -> None:
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=3)
    made = client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=config)
    assert [len(each.values) for each in made.embeddings] == [3, 3]
    assert made.embeddings[0] != made.embeddings[1]
    assert len(client.models.embed_content(model="gemini-embedding-001", contents="a").embeddings[0].values) == 8
    assert client.models.count_tokens(model=MODEL, contents="Hello there").total_tokens == 3
    names = [model.name for model in client.models.list(config={"page_size": 3})]
    assert len(names) == 4
    assert "models/gemini-2.5-flash" in names
    assert [request.query for request in sim.requests][-1] == "pageSize=3&pageToken=3"
    assert client.models.get(model="gemini-2.5-flash").input_token_limit == 1_048_576


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("503", 503, "UNAVAILABLE"),
        ("403", 403, "PERMISSION_DENIED"),
        ("model_not_found", 404, "NOT_FOUND"),
        ("context_length_exceeded", 400, "INVALID_ARGUMENT"),
        ("insufficient_quota", 429, "RESOURCE_EXHAUSTED"),
    ],
)
def test_its_errors_are_google_s(client: Any, sim: SimulatorThread, fault: str, code: int, status: str) -> None:
    sim.script(fault)
    with pytest.raises(errors.APIError) as caught:
        client.models.generate_content(model=MODEL, contents="Hello")
    assert (caught.value.code, caught.value.status) == (code, status)


def test_a_blocked_prompt_has_no_candidates(client: Any, sim: SimulatorThread) -> None:
    sim.script(Fault.content_policy_violation())
    reply = client.models.generate_content(model=MODEL, contents="Hello")
    assert (reply.candidates, reply.prompt_feedback.block_reason) == (None, types.BlockedReason.PROHIBITED_CONTENT)


def test_keys() -> None:
    with SimulatorThread("gemini", api_keys=["right"]) as sim:
        client = made_for(sim.port)
        with pytest.raises(errors.ClientError, match="API key not valid") as caught:
            client.models.generate_content(model=MODEL, contents="Hello")
        assert caught.value.code == 400
        client.close()


async def test_without_a_key_it_is_another_refusal() -> None:
    async with Simulator("gemini", api_keys=["right"]) as sim:
        got = await ask(sim, HELLO, GENERATE)
        assert (got.status, got.json["error"]["status"]) == (403, "PERMISSION_DENIED")
        assert (await ask(sim, HELLO, GENERATE, x_goog_api_key="right")).status == 200


async def test_limits_say_when_to_come_back() -> None:
    async with Simulator("gemini", requests_per_minute=1) as sim:
        await ask(sim, HELLO, GENERATE)
        refused = (await ask(sim, HELLO, GENERATE)).json["error"]
        kinds = {detail["@type"].rpartition(".")[2]: detail for detail in refused["details"]}
        assert 0 < float(kinds["RetryInfo"]["retryDelay"].removesuffix("s")) <= 60
        assert "PerMinute" in kinds["QuotaFailure"]["violations"][0]["quotaId"]


async def test_without_alt_a_stream_is_one_array(running: Simulator) -> None:
    whole = (await ask(running, HELLO, GENERATE)).json
    got = await ask(running, HELLO, GENERATE.replace(":g", ":streamG"))
    assert got.headers["content-type"] == "application/json"
    parts = [part["text"] for each in got.json for part in each["candidates"][0]["content"]["parts"]]
    assert "".join(parts) == whole["candidates"][0]["content"]["parts"][0]["text"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surprise": 1}, 'Unknown name "surprise"'),
        ({"generation_config": {"temprature": 1}}, "Unknown name \"temprature\" at 'generation_config'"),
        ({"generationConfig": {"temperature": "hot"}}, "generation_config.temperature"),
        ({"generationConfig": {"temperature": 3}}, "must be in the range"),
        ({"generationConfig": {"stopSequences": ["a"] * 6}}, "at most 5"),
        ({"generationConfig": {"topK": 1}, "generation_config": {"topK": 1}}, "given twice"),
        ({"generationConfig": {"responseJsonSchema": {}, "responseSchema": {"type": "STRING"}}}, "responseMimeType"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"contents": [{"parts": [{"text": "x", "inlineData": {"mimeType": "a/b", "data": ""}}]}]}, "oneof"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "a/b", "data": "?"}}]}]}, "Base64"),
        ({"safetySettings": [{"category": "NICENESS", "threshold": "OFF"}]}, "safety_settings[0].category"),
    ],
)
async def test_wrong_requests_are_refused(running: Simulator, change: dict[str, Any], words: str) -> None:
    got = await ask(running, {**HELLO, **change}, GENERATE)
    assert (got.status, got.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert words in got.json["error"]["message"]


async def test_wrong_paths_bodies_and_models() -> None:
    async with Simulator("gemini", models=["known"]) as sim:
        for path in ("/nowhere", "/v1beta/models/known:dance", "/v1beta/files", "/v1beta/models/other:generateContent"):
            assert (await ask(sim, HELLO, path)).status == 404
        assert (await ask(sim, b"{", "/v1beta/models/known:generateContent")).status == 400
        assert (await ask(sim, {"requests": []}, "/v1beta/models/known:batchEmbedContents")).status == 400
        one = {"model": "models/other", "content": {"parts": [{"text": "x"}]}}
        assert (await ask(sim, {"requests": [one]}, "/v1beta/models/known:batchEmbedContents")).status == 400
        listed = await ask(sim, None, "/v1beta/models", method="GET")
        assert [model["name"] for model in listed.json["models"]] == ["models/known"]
