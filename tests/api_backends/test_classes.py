"""What each class has of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import groq, llvm, openai_api
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, ModelNotFound, RuntimeUnavailable
from ipfs_accelerate_py.simulator import Fault

Make = Callable[..., Any]
HELLO = [{"role": "user", "content": "Hello"}]


# --- openai_api --------------------------------------------------------------------------------------------------


def test_openai_chat_sends_what_was_given_and_nothing_else(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    answer = face.chat("gpt-4o", HELLO, "And you?", "Be kind", 0.7, 100, top_p=0.5, user=None)
    assert simulator.requests[-1].body == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": "Hello"},
            {"role": "user", "content": "And you?"},
        ],
        "temperature": 0.7,
        "max_tokens": 100,
        "top_p": 0.5,
    }
    assert answer["raw"]["choices"][0]["message"]["content"] == answer["text"]
    assert answer["usage"]["total_tokens"] == answer["raw"]["usage"]["total_tokens"]
    assert (answer["model"], answer["finish_reason"], answer["tool_calls"]) == ("gpt-4o", "stop", [])

    face.chat("gpt-4o", HELLO)
    assert simulator.requests[-1].body == {"model": "gpt-4o", "messages": HELLO}
    face.chat("gpt-4o", prompt="Only a prompt")
    assert simulator.requests[-1].body["messages"] == [{"role": "user", "content": "Only a prompt"}]
    with pytest.raises(ConfigurationError, match="messages or a prompt"):
        face.chat("gpt-4o")
    with pytest.raises(ConfigurationError, match="stream_chat"):
        face.chat("gpt-4o", HELLO, stream=True)


def test_openai_tool_calls_can_be_sent_back(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    answer = face.chat("gpt-4o", "Use the tool weather", tools=[tool])
    (call,) = answer["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {}
    followed = face.chat(
        "gpt-4o",
        [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": answer["tool_calls"]},
            {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
        ],
        tools=[tool],
    )
    assert followed["text"]


@pytest.mark.parametrize("wire", [None, "float", "base64"])
def test_openai_embedding_of_one_and_of_several(simulators: Make, faces: Make, wire: str | None) -> None:
    simulator = simulators(dimensions=8)
    face = faces(openai_api, simulator)
    one = face.embedding("text-embedding-3-small", "Some text", wire)
    assert len(one["embedding"]) == 8
    assert all(isinstance(number, float) for number in one["embedding"])
    assert one["embeddings"] == [one["embedding"]]
    assert simulator.requests[-1].body.get("encoding_format") == wire
    several = face.embedding("text-embedding-3-small", ["Some text", "Another"], wire)
    assert several["embedding"] == several["embeddings"]
    assert several["embeddings"][0] == pytest.approx(one["embedding"], abs=1e-6)
    assert len(several["embeddings"]) == 2
    tokens = face.embedding("text-embedding-3-small", [1, 2, 3], wire)
    assert len(tokens["embedding"]) == 8
    assert tokens["usage"]["prompt_tokens"] == 3


def test_openai_completions_responses_and_models(simulators: Make, faces: Make) -> None:
    simulator = simulators(models=["gpt-4o", "gpt-3.5-turbo-instruct"])
    face = faces(openai_api, simulator)
    completed = face.completions("gpt-3.5-turbo-instruct", "Once upon", 0.2, 12)
    assert completed["text"] == completed["raw"]["choices"][0]["text"]
    assert simulator.requests[-1].body["max_tokens"] == 12
    responded = face.responses("gpt-4o", "Hello", instructions="Be brief")
    assert responded["text"]
    assert responded["usage"]["completion_tokens"] == responded["raw"]["usage"]["output_tokens"]
    assert [model["id"] for model in face.list_models()] == ["gpt-4o", "gpt-3.5-turbo-instruct"]


def test_urls_come_from_the_metadata_and_the_environment(
    simulators: Make, faces: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulators()
    metadata = {"openai_api_key": "sk-1", "openai_base_url": simulator.url}
    assert faces(openai_api, metadata=metadata).chat("gpt-4o", HELLO)["text"]
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    monkeypatch.setenv("GROQ_BASE_URL", simulator.url)
    assert faces(groq).chat("any", HELLO)["text"]
    monkeypatch.setenv("LLVM_API_ENDPOINT", simulator.url)
    assert faces(llvm).chat("any", HELLO)["text"]
    assert "authorization" not in simulator.requests[-1].headers


# --- groq --------------------------------------------------------------------------------------------------------


def test_groq_sends_every_parameter_under_its_name(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(groq, simulator)
    given = {
        "temperature": 0.3,
        "max_tokens": 50,
        "top_p": 0.9,
        "top_k": 40,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.2,
    }
    face.chat(model_name="llama3-70b-8192", messages=HELLO, **given)
    assert simulator.requests[-1].body == {"model": "llama3-70b-8192", "messages": HELLO, **given}


@pytest.mark.parametrize("streaming", [False, True])
def test_groq_asks_for_json_where_the_messages_do_not(simulators: Make, faces: Make, streaming: bool) -> None:
    simulator = simulators()
    face = faces(groq, simulator, max_retries=0)

    def ask(messages: list[dict[str, Any]], **options: Any) -> str:
        options["response_format"] = {"type": "json_object"}
        if streaming:
            return "".join(piece["text"] for piece in face.stream_chat(model_name="any", messages=messages, **options))
        return str(face.chat("any", messages, **options)["text"])

    assert isinstance(json.loads(ask(HELLO)), dict)
    sent = simulator.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
    ask(HELLO, system="Answer as JSON")
    assert [message["content"] for message in simulator.requests[-1].body["messages"]] == ["Answer as JSON", "Hello"]
    ask([{"role": "user", "content": "List the planets as json"}])
    assert len(simulator.requests[-1].body["messages"]) == 1


MODELS = {
    "llama-3.1-8b-instant": "chat",
    "openai/gpt-oss-20b": "chat",
    "mistral-saba-24b": "chat",
    "meta-llama/llama-guard-4-12b": "chat",
    "meta-llama/llama-4-scout-17b-16e-instruct": "vision",
    "llama-3.2-11b-vision-preview": "vision",
    "llava-v1.5-7b-4096-preview": "vision",
    "qwen/qwen3.6-27b": "vision",
    "whisper-large-v3-turbo": "audio",
    "distil-whisper-large-v3-en": "audio",
    "playai-tts": "audio",
    "canopylabs/orpheus-v1-english": "audio",
}


def test_groq_lists_what_the_service_lists_by_category(simulators: Make, faces: Make) -> None:
    simulator = simulators(models=list(MODELS))
    face = faces(groq, simulator)
    assert {model["id"]: model["category"] for model in face.list_models()} == MODELS
    audio = [name for name, category in MODELS.items() if category == "audio"]
    assert [model["id"] for model in face.list_models("audio")] == audio
    assert [model["id"] for model in face.list_models("chat")] == [name for name in MODELS if name not in audio]
    assert all(face.is_compatible_model(name, category) for name, category in MODELS.items())
    assert not face.is_compatible_model("whisper-large-v3", "chat")
    assert not face.is_compatible_model("mistral-saba-24b", "vision")
    uses: list[Any] = [lambda: face.list_models("video"), lambda: face.is_compatible_model("any", "video")]
    for use in uses:
        with pytest.raises(ConfigurationError, match="chat, vision, audio"):
            use()


def test_groq_models_are_described_by_what_the_service_says(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(groq, simulator)
    listed = {
        "object": "list",
        "data": [
            {
                "id": "llama3-8b-8192",
                "object": "model",
                "created": 1693721698,
                "owned_by": "Meta",
                "active": True,
                "context_window": 8192,
                "public_apps": None,
            },
            {"id": "bare", "object": "model"},
        ],
    }
    simulator.script(Fault.not_object(body=json.dumps(listed)))
    model, bare = face.list_models()
    assert (model["description"], model["context_window"], model["owned_by"]) == (
        "chat model by Meta, context of 8,192 tokens",
        8192,
        "Meta",
    )
    assert (bare["description"], bare["context_window"]) == ("chat model", None)


def test_groq_makes_up_no_list_when_the_service_gives_none(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(groq, simulator, max_retries=0)
    simulator.script(Fault.status(400))
    with pytest.raises(InvalidRequest):
        face.list_models()


# --- llvm --------------------------------------------------------------------------------------------------------


def test_llvm_runs_texts_and_messages(simulators: Make, faces: Make) -> None:
    simulator = simulators(models=["tiny"])
    face = faces(llvm, simulator)
    assert face.run_inference("tiny", "Once upon", {"max_tokens": 9, "temperature": 0})["text"]
    assert simulator.requests[-1].path.endswith("/v1/completions")
    assert simulator.requests[-1].body["max_tokens"] == 9
    assert face.run_inference("tiny", HELLO, {"max_tokens": 9})["text"]
    assert simulator.requests[-1].path.endswith("/chat/completions")
    assert face.chat("tiny", HELLO, 0.1, 8, min_p=0.05)["text"]
    assert simulator.requests[-1].body["min_p"] == 0.05
    assert face.completions("tiny", "Once")["text"]
    assert len(face.embedding("tiny", "Once")["embedding"]) == 1536
    assert [model["id"] for model in face.list_models()] == ["tiny"]


def test_llvms_handler_takes_a_model_or_the_first_there_is(simulators: Make, faces: Make) -> None:
    simulator = simulators(models=["first", "second"])
    face = faces(llvm, simulator)
    assert face.create_llvm_endpoint_handler()("Hello")["model"] == "first"
    assert face.create_llvm_endpoint_handler("second")("Hello")["model"] == "second"
    simulator.script(Fault.not_object(body='{"object": "list", "data": []}'))
    with pytest.raises(ModelNotFound, match="no model"):
        face.create_llvm_endpoint_handler()("Hello")["text"]


def test_counts_that_the_service_did_not_give_are_not_made_up(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(llvm, simulator)
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    simulator.script(Fault.not_object(body=json.dumps(answer)))
    told = face.chat("any", HELLO)
    assert (told["text"], told["usage"]) == ("Hi", {})


def test_llvm_in_process_says_why_it_cannot_be(faces: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    by_metadata = faces(llvm, metadata={"llvm_endpoint": "local"})
    monkeypatch.setenv("LLVM_API_ENDPOINT", "local")
    for face in (by_metadata, faces(llvm)):
        uses: list[Any] = [
            lambda face=face: face.chat("any", HELLO),
            lambda face=face: face.stream_chat("any", HELLO),
            lambda face=face: face.queue_with_priority({"endpoint_url": "/x", "data": {}}),
        ]
        for use in uses:
            with pytest.raises(RuntimeUnavailable, match="LLVM_API_ENDPOINT"):
                use()
