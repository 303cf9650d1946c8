"""What is sent: the caller's fields as they are, and nothing besides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.types import Call, Passthrough

from .support import chat, completion, embed, models, raw, response

TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": False}}


def sent(call: Call, **options: Any) -> dict[str, Any]:
    wire = OpenAIDialect(**options).encode(call)
    assert wire.body is not None
    body: dict[str, Any] = json.loads(wire.body)
    return body


def test_what_is_not_set_is_not_sent() -> None:
    assert sent(chat()) == {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    assert sent(completion()) == {"model": "gpt-3.5-turbo-instruct", "prompt": "Once"}
    assert sent(embed("a", "b")) == {"model": "text-embedding-3-small", "input": ["a", "b"]}


def test_responses_always_say_whether_they_stream() -> None:
    """Some servers (transformers serve) stream this one unless told not to."""
    assert sent(response()) == {"model": "gpt-4o", "input": "Hello", "stream": False}
    assert sent(response(stream=True)) == {"model": "gpt-4o", "input": "Hello", "stream": True}


def test_a_stream_asks_for_its_usage_unless_the_caller_or_the_row_says_otherwise() -> None:
    body = sent(chat(stream=True))
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert sent(chat(stream=True, stream_options={"include_usage": False}))["stream_options"] == {
        "include_usage": False
    }
    assert sent(chat(stream=True, stream_options={"include_obfuscation": False}))["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }
    assert "stream_options" not in sent(chat(stream=True), stream_usage=False)
    assert "stream_options" not in sent(response(stream=True))
    assert sent(completion(stream=True))["stream_options"] == {"include_usage": True}


def test_options_pass_through_known_or_not_null_or_not() -> None:
    options: dict[str, Any] = {
        "temperature": 0.2,
        "tools": [TOOL],
        "tool_choice": "required",
        "response_format": SCHEMA,
        "logprobs": True,
        "top_logprobs": 2,
        "seed": None,
        "min_p": 0.05,
        "guided_json": {"a": [1, 2]},
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert sent(chat(**options)) == {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hello"}],
        **options,
    }


def test_images_and_audio_pass_through() -> None:
    parts = [
        {"type": "text", "text": "What is this? é世界😀"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": []}]
    assert sent(chat(messages))["messages"] == messages


def test_numpy_and_models_are_written_as_plain_data() -> None:
    np = pytest.importorskip("numpy")
    pydantic = pytest.importorskip("pydantic")

    class Format(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        type: str = "json_object"

    body = sent(chat(temperature=np.float32(0.5), seed=np.int64(7), response_format=Format()))
    assert (body["temperature"], body["seed"], body["response_format"]) == (0.5, 7, {"type": "json_object"})
    assert sent(embed(np.array([1, 2, 3])))["input"] == [[1, 2, 3]]


@pytest.mark.parametrize("value", [object(), {"a": object()}, "\ud800", lambda: 1])
def test_what_no_json_can_say_is_refused_before_anything_is_sent(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="JSON"):
        OpenAIDialect().encode(chat(odd=value))


def test_endless_nesting_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ConfigurationError):
        OpenAIDialect().encode(chat(odd=loop))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have_are_not_sent_as_such(value: float) -> None:
    """Either refused, or null as JSON's own encoders write it; never a body that is not JSON."""
    try:
        body = sent(chat(temperature=value))
    except ConfigurationError:
        return
    assert body["temperature"] is None


def test_paths_and_methods() -> None:
    dialect = OpenAIDialect()
    found = {call.operation: dialect.encode(call) for call in (chat(), completion(), response(), embed("a"), models())}
    assert {str(name): (wire.method, wire.path) for name, wire in found.items()} == {
        "chat": ("POST", "/chat/completions"),
        "completion": ("POST", "/completions"),
        "response": ("POST", "/responses"),
        "embed": ("POST", "/embeddings"),
        "models": ("GET", "/models"),
    }
    assert dialect.encode(models()).body is None


def test_raw_requests_go_as_they_are() -> None:
    wire = OpenAIDialect().encode(raw("/rerank", {"query": "q"}, "PUT"))
    assert (wire.method, wire.path, json.loads(wire.body or b"")) == ("PUT", "/rerank", {"query": "q"})
    assert OpenAIDialect().encode(raw("/x", None, "DELETE")).body is None


def test_a_forwarded_body_is_not_touched() -> None:
    call = chat()
    call.passthrough = Passthrough("openai", b'{"model":  "x"}')
    assert OpenAIDialect().encode(call).body == b'{"model":  "x"}'


def test_encoding_changes_nothing_of_the_callers() -> None:
    call = chat(stream=True, stream_options={"include_obfuscation": True})
    before = json.dumps([call.request.messages, call.request.options])  # type: ignore[union-attr]
    OpenAIDialect().encode(call)
    assert json.dumps([call.request.messages, call.request.options]) == before  # type: ignore[union-attr]
