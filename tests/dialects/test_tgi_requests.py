"""What TGI is sent: its own parameters, its chat, and the router's paths; and what it cannot be asked."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py.dialects.tgi.dialect import TgiDialect
from ipfs_accelerate_py.dialects.tgi.hosted import is_hosted, server_root
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, ModelsRequest, Operation, Passthrough, RawRequest, ResponseRequest

from .hf_support import HOSTED, TGI, body, chat, complete, count, sent

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WANTED = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


# --- completions -------------------------------------------------------------------------------------------------


def test_openais_options_become_tgis_parameters() -> None:
    call = complete(
        max_tokens=5,
        stop="x",
        temperature=0.5,
        top_p=0.9,
        top_k=4,
        seed=7,
        frequency_penalty=0.1,
        logprobs=3,
        echo=True,
    )
    wire = TGI.encode(call)
    assert (wire.method, wire.path) == ("POST", "/generate")
    assert body(wire) == {
        "inputs": "Once",
        "parameters": {
            "max_new_tokens": 5,
            "stop": ["x"],
            "temperature": 0.5,
            "do_sample": True,
            "top_p": 0.9,
            "top_k": 4,
            "seed": 7,
            "frequency_penalty": 0.1,
            "top_n_tokens": 3,
            "return_full_text": True,
            "details": True,
        },
    }


def test_tgis_own_parameters_and_unknown_ones_pass_as_they_are() -> None:
    own: dict[str, Any] = {
        "typical_p": 0.9,
        "watermark": True,
        "truncate": 9,
        "adapter_id": "a",
        "repetition_penalty": 1.1,
    }
    assert sent(complete(**own, best_of=2, brand_new=1))["parameters"] == {
        **own,
        "best_of": 2,
        "brand_new": 1,
        "details": True,
    }
    together = sent(complete(parameters={"max_new_tokens": 3, "details": False}, max_tokens=4))
    assert together["parameters"] == {"max_new_tokens": 4, "details": False}


def test_a_temperature_of_0_is_greedy_for_tgi_refuses_it() -> None:
    assert sent(complete(temperature=0, top_p=1.0))["parameters"] == {"do_sample": False, "details": True}
    assert sent(complete(temperature=0.7, do_sample=False))["parameters"]["do_sample"] is False
    assert "do_sample" not in sent(complete())["parameters"]


def test_a_schema_becomes_a_grammar() -> None:
    grammar = {"type": "json", "value": SCHEMA}
    assert sent(complete(response_format=WANTED))["parameters"]["grammar"] == grammar
    assert sent(chat(response_format=WANTED))["response_format"] == grammar
    regex = {"type": "regex", "value": "[a-z]+"}
    assert sent(complete(grammar=regex))["parameters"]["grammar"] == regex
    assert sent(chat(response_format=regex))["response_format"] == regex
    assert "response_format" not in sent(chat(response_format={"type": "text"}))
    with pytest.raises(UnsupportedOperation, match="json_object"):
        TGI.encode(chat(response_format={"type": "json_object"}))


def test_a_stream_has_a_path_of_its_own() -> None:
    assert TGI.encode(complete(stream=True)).path == "/generate_stream"
    with pytest.raises(UnsupportedOperation, match="'echo'"):
        TGI.encode(complete(stream=True, echo=True))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"suffix": "end"}, "suffix"),
    ],
)
def test_what_generate_cannot_be_asked_is_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedOperation, match=f"'{name}'"):
        TGI.encode(complete(**options))


def test_neutral_values_and_hints_are_left_out() -> None:
    wire = TGI.encode(complete(n=1, logit_bias={}, presence_penalty=0, suffix="", user="u", store=False, stop=None))
    assert body(wire)["parameters"] == {"details": True}
    assert set(wire.ignored) == {"user", "store"}


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1]], []])
def test_one_text_a_call(prompt: Any) -> None:
    with pytest.raises(UnsupportedOperation, match="'prompt'"):
        TGI.encode(complete(prompt))
    assert sent(complete(["a"]))["inputs"] == "a"


# --- chat --------------------------------------------------------------------------------------------------------


def test_chat_is_openais_with_tgis_liberties() -> None:
    wire = TGI.encode(chat(max_completion_tokens=5, stop="x", top_p=1, temperature=0, tools=[TOOL], tool_choice="auto"))
    assert wire.path == "/v1/chat/completions"
    assert body(wire) == {
        "model": "o/m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 5,
        "stop": ["x"],
        "temperature": 0,
        "tools": [TOOL],
        "tool_choice": "auto",
    }
    streamed = sent(chat(stream=True))
    assert (streamed["stream"], streamed["stream_options"]) == (True, {"include_usage": True})
    assert sent(chat(model=""))["model"] == "tgi"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n": 2}, "n"),
        ({"top_k": 5}, "top_k"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
    ],
)
def test_what_chat_would_leave_out_without_a_word_is_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedOperation, match=f"'{name}'"):
        TGI.encode(chat(**options))


def test_hints_of_chat_are_listed_as_ignored() -> None:
    wire = TGI.encode(chat(n=1, user="u", metadata={"a": "b"}, parallel_tool_calls=True, modalities=["text"], tools=[]))
    assert set(body(wire)) == {"model", "messages"}
    assert set(wire.ignored) == {"user", "metadata", "parallel_tool_calls"}


def test_a_message_with_text_and_calls_becomes_two_for_it_would_lose_the_calls() -> None:
    call = {"id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": 1}}
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "assistant", "content": "I look.", "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "0", "content": "sunny", "is_error": True},
        {"role": "assistant", "content": None},
    ]
    wire = TGI.encode(chat(messages))
    plain = {name: value for name, value in call.items() if name != "extra_content"}
    assert body(wire)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "I look."},
        {"role": "assistant", "tool_calls": [plain]},
        {"role": "assistant", "tool_calls": [plain]},
        {"role": "tool", "tool_call_id": "0", "content": "sunny"},
        {"role": "assistant", "content": ""},
    ]
    assert set(wire.ignored) == {
        "messages.reasoning_content",
        "messages.tool_calls.extra_content",
        "messages.is_error",
    }
    assert messages[1]["tool_calls"] == [call]  # the caller's own are as they were


def test_parts_are_text_and_images_and_nothing_else() -> None:
    parts = [
        {"type": "text", "text": "What?", "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    wire = TGI.encode(chat([{"role": "user", "content": parts}]))
    assert body(wire)["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    assert set(wire.ignored) == {"messages.cache_control", "messages.image_url.detail"}
    for kind in ("input_audio", "file", "video_url"):
        with pytest.raises(UnsupportedOperation, match=f"'{kind}'"):
            TGI.encode(chat([{"role": "user", "content": [{"type": kind, kind: {}}]}]))


# --- the rest ----------------------------------------------------------------------------------------------------


def test_counts_models_and_paths_of_ones_own() -> None:
    wire = TGI.encode(count({"role": "user", "content": "Hello"}, tools=[TOOL]))
    assert wire.path == "/chat_tokenize"
    assert set(body(wire)) == {"model", "messages", "tools"}
    models = Call(operation=Operation.MODELS, request=ModelsRequest(), request_id="r")
    assert (TGI.encode(models).method, TGI.encode(models).path) == ("GET", "/v1/models")
    own = Call(operation=Operation.RAW, request=RawRequest("/info", method="GET"), request_id="r")
    assert (TGI.encode(own).method, TGI.encode(own).path, TGI.encode(own).body) == ("GET", "/info", None)


@pytest.mark.parametrize("dialect", [TGI, HOSTED], ids=["own", "hosted"])
def test_other_operations_are_refused(dialect: TgiDialect) -> None:
    call = Call(operation=Operation.RESPONSE, request=ResponseRequest("m", "Hello"), request_id="r")
    with pytest.raises(UnsupportedOperation, match="response"):
        dialect.encode(call)


def test_a_body_to_be_forwarded_is_left_alone() -> None:
    call = complete(stream=True)
    call.passthrough = Passthrough("tgi", b'{"inputs": "x" }')
    assert (TGI.encode(call).path, TGI.encode(call).body) == ("/generate_stream", b'{"inputs": "x" }')
    call = chat()
    call.passthrough = Passthrough("tgi", b"{}")
    assert TGI.encode(call).body == b"{}"


# --- the router --------------------------------------------------------------------------------------------------


def test_the_router_has_chat_in_one_place_and_models_in_folders() -> None:
    wire = HOSTED.encode(chat(model="o/m:groq", n=2, top_k=4, reasoning_effort="low"))
    assert wire.path == "/v1/chat/completions"
    assert body(wire)["model"] == "o/m:groq"
    assert {name: body(wire)[name] for name in ("n", "top_k", "reasoning_effort")} == {
        "n": 2,
        "top_k": 4,
        "reasoning_effort": "low",
    }
    wire = HOSTED.encode(complete(model="o/m", max_tokens=5, options={"wait_for_model": True}))
    assert wire.path == "/hf-inference/models/o/m"
    assert body(wire) == {
        "inputs": "Once",
        "parameters": {"max_new_tokens": 5, "details": True},
        "options": {"wait_for_model": True},
        "stream": False,
    }
    assert body(HOSTED.encode(complete(stream=True, details=False))) == {
        "inputs": "Once",
        "parameters": {},
        "stream": True,
    }
    assert HOSTED.encode(complete(model="o/m:hf-inference")).path == "/hf-inference/models/o/m"
    assert HOSTED.encode(complete(model="o/m é?#")).path == "/hf-inference/models/o/m%20%C3%A9%3F%23"


def test_other_providers_serve_chat_alone() -> None:
    with pytest.raises(UnsupportedOperation, match="'groq'"):
        HOSTED.encode(complete(model="o/m:groq"))
    with pytest.raises(UnsupportedOperation, match="count"):
        HOSTED.encode(count({"role": "user", "content": "Hello"}))


@pytest.mark.parametrize("name", ["", "../x", "o//m", "o/..", "/o/m", "."])
def test_what_is_no_name_of_a_model_never_becomes_a_path(name: str) -> None:
    for call in (complete(model=name), chat(model=name)):
        with pytest.raises(ConfigurationError, match="name"):
            HOSTED.encode(call)


def test_a_model_for_calls_that_name_none() -> None:
    dialect = TgiDialect(hosted=True, model="o/default")
    assert dialect.encode(complete(model="")).path == "/hf-inference/models/o/default"
    assert body(dialect.encode(chat(model="")))["model"] == "o/default"
    assert body(TgiDialect(model="o/default").encode(chat(model="")))["model"] == "o/default"


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://localhost:8080/v1/", "http://localhost:8080"),
        ("http://localhost:8080/v1/chat/completions", "http://localhost:8080"),
        ("http://localhost:8080/generate_stream", "http://localhost:8080"),
        ("http://localhost:8080/tgi/generate", "http://localhost:8080/tgi"),
        ("http://localhost:8080/embed", "http://localhost:8080"),
        ("https://router.huggingface.co/v1", "https://router.huggingface.co"),
    ],
)
def test_people_write_endpoints_where_the_root_belongs(url: str, root: str) -> None:
    assert server_root(url) == root


def test_the_host_tells_the_router_unless_somebody_says() -> None:
    assert is_hosted("https://router.huggingface.co", {})
    assert not is_hosted("https://x.endpoints.huggingface.cloud", {"hosted": None})
    assert is_hosted("http://127.0.0.1:1", {"hosted": True})
    assert is_hosted("http://127.0.0.1:1", {"hosted": "true"})
    assert not is_hosted("https://router.huggingface.co", {"hosted": False})
    with pytest.raises(ConfigurationError, match="hosted"):
        is_hosted("http://127.0.0.1:1", {"hosted": "perhaps"})
