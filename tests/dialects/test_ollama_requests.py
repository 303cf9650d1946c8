"""Ollama's requests: what is sent for a call, what is refused before anything is sent, and where the server is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.dialects.ollama.address import api_url
from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import Call, ChatRequest, CompletionRequest, Operation, Passthrough, RawRequest

from .support import chat, completion, embed, models, raw

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def sent(call: Call) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(OllamaDialect().encode(call).body or b"")
    return body


def test_options_go_where_ollama_has_them() -> None:
    call = chat(
        max_tokens=7,
        temperature=0.5,
        seed=0,
        stop="END",
        top_k=40,
        num_ctx=8192,
        keep_alive="5m",
        options={"mirostat": 2},
    )
    assert sent(call) == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hello"}],
        "keep_alive": "5m",
        "options": {
            "mirostat": 2,
            "num_predict": 7,
            "temperature": 0.5,
            "seed": 0,
            "stop": ["END"],
            "top_k": 40,
            "num_ctx": 8192,
        },
        "stream": False,
    }


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"response_format": {"type": "json_object"}}, "format", "json"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            "format",
            SCHEMA,
        ),
        ({"response_format": {"type": "text"}}, "format", None),
        ({"response_format": {"type": "json_object"}, "format": SCHEMA}, "format", SCHEMA),
        ({"reasoning_effort": "none"}, "think", False),
        ({"reasoning_effort": "minimal"}, "think", "low"),
        ({"reasoning_effort": "high"}, "think", "high"),
        ({"reasoning_effort": "xhigh"}, "think", "max"),
        ({"reasoning_effort": "high", "think": True}, "think", True),
        ({"logprobs": True, "top_logprobs": 2}, "top_logprobs", 2),
        ({"max_tokens": 3, "max_completion_tokens": 5}, "options", {"num_predict": 5}),
        ({"max_tokens": 3, "num_predict": -1}, "options", {"num_predict": -1}),
        ({"temperature": 0.1, "options": {"temperature": 0.9, "x": 1}}, "options", {"temperature": 0.1, "x": 1}),
        ({"tools": [TOOL]}, "tools", [TOOL]),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tools", [TOOL]),
        ({"tools": [TOOL], "tool_choice": "none"}, "tools", None),
        ({"something_new": {"a": 1}}, "something_new", {"a": 1}),
        ({"n": 1, "logit_bias": {}, "modalities": ["text"], "echo": False, "temperature": None}, "options", None),
    ],
)
def test_an_option_is_translated_or_passed_on(options: dict[str, Any], field: str, value: Any) -> None:
    body = sent(chat(**options))
    assert body.get(field) == value
    assert body.keys() <= {"model", "messages", "stream", "top_logprobs", "logprobs", field}


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2},
        {"logit_bias": {"5": 1}},
        {"tool_choice": "required", "tools": [TOOL]},
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "tools": [TOOL]},
        {"parallel_tool_calls": False, "tools": [TOOL]},
        {"tools": [{"type": "web_search"}]},
        {"response_format": {"type": "grammar"}},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "x"}},
        {"prediction": {"type": "content"}},
        {"functions": [{"name": "f"}]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_option_without_a_counterpart_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedOperation, match=next(iter(options))):
        OllamaDialect().encode(chat(**options))


def test_hints_are_named_and_left_out() -> None:
    wire = OllamaDialect().encode(chat(user="me", metadata={"a": "b"}, store=True, parallel_tool_calls=True))
    assert set(wire.ignored) == {"user", "metadata", "store", "parallel_tool_calls"}
    assert json.loads(wire.body or b"").keys() == {"model", "messages", "stream"}


def test_a_tool_without_parameters_gets_none() -> None:
    tool = {"type": "function", "function": {"name": "now"}}
    assert sent(chat(tools=[tool]))["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "parameters" not in tool["function"]


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_turn_with_tools_and_images() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}},
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}},
    ]
    url = f"data:image/png;base64,{PIXEL}"
    given = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where"},
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "is this?"},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "noon"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert sent(chat(given))["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where\nis this?", "images": [PIXEL]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [
                {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}},
                {"id": "c2", "function": {"name": "now", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "noon", "tool_call_id": "c2", "tool_name": "now"},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1", "tool_name": "weather"},
    ]


def test_messages_in_ollamas_own_shape_stay_as_they_are() -> None:
    given = [
        {"role": "user", "content": "?", "images": [PIXEL]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
        },
        {"role": "tool", "content": "1", "tool_name": "f"},
    ]
    assert sent(chat(given))["messages"] == given


def test_reasoning_of_other_services_is_carried_as_text() -> None:
    blocks = [{"type": "thinking", "thinking": "A, ", "signature": "s"}, {"type": "thinking", "thinking": "b."}]
    message = {"role": "assistant", "content": "Yes", "thinking_blocks": blocks}
    assert sent(chat([message]))["messages"] == [{"role": "assistant", "content": "Yes", "thinking": "A, b."}]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "data: URL"),
        ({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}, "input_audio"),
        ({"type": "file", "file": {"file_id": "f"}}, "'file'"),
        ({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}, "video_url"),
    ],
)
def test_a_part_that_ollama_does_not_take_is_refused_by_place(part: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedOperation, match=words) as caught:
        OllamaDialect().encode(chat([{"role": "user", "content": [{"type": "text", "text": "?"}, part]}]))
    assert "messages[0].content[1]" in caught.value.message


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content[0].image_url"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "[1]"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
    ],
)
def test_a_message_that_is_wrong_is_refused_by_place(message: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OllamaDialect().encode(chat([message]))
    assert caught.value.param == param


def test_what_a_message_says_beside_the_answer_is_named() -> None:
    given = [
        {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "?", "cache_control": {"type": "e"}}]},
        {"role": "tool", "tool_call_id": "x", "content": "no", "is_error": True},
    ]
    wire = OllamaDialect().encode(chat(given))
    assert set(wire.ignored) == {"messages.name", "messages.cache_control", "messages.is_error"}


# --- the other operations ----------------------------------------------------------------------------------------


def test_a_completion() -> None:
    wire = OllamaDialect().encode(completion(["def f("], suffix=")", raw=True, logprobs=2, max_tokens=3, stream=True))
    assert (wire.method, wire.path) == ("POST", "/generate")
    assert json.loads(wire.body or b"") == {
        "model": "gpt-3.5-turbo-instruct",
        "prompt": "def f(",
        "suffix": ")",
        "raw": True,
        "logprobs": True,
        "top_logprobs": 2,
        "options": {"num_predict": 3},
        "stream": True,
    }


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2]])
def test_a_completion_is_of_one_text(prompt: list[Any]) -> None:
    with pytest.raises(UnsupportedOperation, match="prompt"):
        OllamaDialect().encode(completion(prompt))


def test_embeddings() -> None:
    wire = OllamaDialect().encode(embed("a", "b", dimensions=4, truncate=False, encoding_format="base64", num_ctx=512))
    assert wire.path == "/embed"
    assert wire.ignored == ("encoding_format",)
    assert json.loads(wire.body or b"") == {
        "model": "text-embedding-3-small",
        "input": ["a", "b"],
        "dimensions": 4,
        "truncate": False,
        "options": {"num_ctx": 512},
    }
    with pytest.raises(UnsupportedOperation, match=r"input\[1\]"):
        OllamaDialect().encode(embed("a", [1, 2]))


def test_the_list_of_models_and_requests_of_its_own() -> None:
    dialect = OllamaDialect()
    assert (dialect.encode(models()).method, dialect.encode(models()).path) == ("GET", "/tags")
    wire = dialect.encode(raw("/show", {"model": "m"}))
    assert (wire.path, wire.body) == ("/show", b'{"model":"m"}')
    blob = Call(
        operation=Operation.RAW,
        request=RawRequest("/blobs/sha256:0", b"\x00", content_type="application/octet-stream"),
        request_id="r",
    )
    wire = dialect.encode(blob)
    assert (wire.body, wire.headers) == (b"\x00", {"Content-Type": "application/octet-stream"})


def test_a_model_by_default() -> None:
    call = Call(operation=Operation.CHAT, request=ChatRequest("", [{"role": "user", "content": "?"}]), request_id="r")
    assert json.loads(OllamaDialect(model="llama3").encode(call).body or b"")["model"] == "llama3"
    with pytest.raises(ConfigurationError, match="OLLAMA_MODEL"):
        OllamaDialect().encode(call)


def test_a_body_in_the_same_format_goes_where_it_came_from() -> None:
    passed = Passthrough("ollama", b'{"model":"m"}')
    call = Call(operation=Operation.CHAT, request=ChatRequest("m", []), request_id="r", passthrough=passed)
    assert OllamaDialect().encode(call).path == "/chat"
    call.request = CompletionRequest("m", "")
    assert OllamaDialect().encode(call).path == "/generate"
    assert OllamaDialect().encode(call).body == passed.body


def test_operations_that_ollama_does_not_have() -> None:
    call = Call(operation=Operation.RERANK, request=ChatRequest("m", []), request_id="r")
    with pytest.raises(UnsupportedOperation, match="rerank"):
        OllamaDialect().encode(call)


# --- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://host:11434/api", "http://host:11434/api"),
        ("http://host:11434/", "http://host:11434/api"),
        ("http://host:11434/api/chat", "http://host:11434/api"),
        ("http://host:11434/v1", "http://host:11434/api"),
        ("host:1234", "http://host:1234/api"),
        ("host", "http://host:11434/api"),
        ("http://host", "http://host/api"),
        ("0.0.0.0:11434", "http://127.0.0.1:11434/api"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434/api"),
        (":1234", "http://127.0.0.1:1234/api"),
        ("https://ollama.com", "https://ollama.com/api"),
        ("https://proxy.example.com/ollama/", "https://proxy.example.com/ollama/api"),
        ("[::]:1234", "http://[::1]:1234/api"),
        ("::1", "http://[::1]:11434/api"),
        (' "host:1234" ', "http://host:1234/api"),
        ("http://me:word@host:1", "http://me:word@host:1/api"),
    ],
)
def test_an_address_as_people_write_it(given: str, url: str) -> None:
    normalize = find_backend("ollama").normalize_url
    assert normalize(given) == url
    assert normalize(url) == url


@pytest.mark.parametrize("given", ["ftp://host", "http://me:word@host:port"])
def test_an_address_that_is_none(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        api_url(given)
    assert "word" not in caught.value.message
