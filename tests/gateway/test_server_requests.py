"""The serving half of the dialect: what a body must be, and what a target is sent of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.openai.server import decode_body
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import ChatRequest, EmbedRequest, Operation, Passthrough

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
UPSTREAM = "theirs"


def forwarded(operation: Operation, raw: bytes, *, stream_usage: bool = True) -> Passthrough:
    passed = decode_body(operation, raw).passthrough(UPSTREAM, stream_usage=stream_usage)
    assert passed is not None
    return passed


def sent(operation: Operation, body: dict[str, Any] | bytes) -> dict[str, Any]:
    """What a target of the same format gets."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found: dict[str, Any] = json.loads(forwarded(operation, raw).body)
    return found


def refusal(operation: Operation, body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        decode_body(operation, body)
    assert refused.value.status == 400
    assert refused.value.type == "invalid_request_error"
    return refused.value


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "tool_call_id": 7}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"tools": {}}, "tools"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"stop": [1]}, "stop[0]"),
        ({"response_format": "json"}, "response_format"),
        ({"logit_bias": []}, "logit_bias"),
        ({"user": 3}, "user"),
        ({"metadata": "x"}, "metadata"),
    ],
)
def test_a_wrong_type_is_refused_with_the_name_of_its_field(change: dict[str, Any], param: str) -> None:
    error = refusal(Operation.CHAT, json.dumps({**CHAT, **change}).encode())
    assert error.param == param
    assert param in error.message


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.CHAT, {"messages": CHAT["messages"]}, "model"),
        (Operation.CHAT, {"model": "m"}, "messages"),
        (Operation.EMBED, {"model": "m"}, "input"),
        (Operation.EMBED, {"model": "m", "input": []}, "input"),
        (Operation.EMBED, {"model": "m", "input": 5}, "input"),
        (Operation.EMBED, {"model": "m", "input": ["a", 1]}, "input"),
        (Operation.EMBED, {"model": "m", "input": [None]}, "input[0]"),
        (Operation.EMBED, {"model": "m", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        (Operation.EMBED, {"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
        (Operation.EMBED, {"model": "m", "input": "a", "stream": True}, "stream"),
        (Operation.COMPLETION, {"model": "m", "prompt": {"text": "a"}}, "prompt"),
        (Operation.RESPONSE, {"model": "m", "input": 5}, "input"),
        (Operation.RESPONSE, {"model": "m", "input": "a", "max_output_tokens": "5"}, "max_output_tokens"),
    ],
)
def test_each_operation_knows_its_fields(operation: Operation, body: dict[str, Any], param: str) -> None:
    assert refusal(operation, json.dumps(body).encode()).param == param


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object, but got array"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"model": "m", "messages": [{"role": "user"}], "temperature": NaN}', "not valid JSON"),
        (b'{"model": "m", "messages": [{"role": "user"}], "x": Infinity}', "not valid JSON"),
        (b'{"model": "m", "messages": [{"role": "user"}], "temperature": 1e999}', "temperature"),
        (b'{"model": "m", "messages": [{"role": "user"}]} {}', "not valid JSON"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}', "not valid UTF-8"),
        (b'{"model": "m", "messages": [{"role": "user"}], "extra": "\xc3("}', "not valid UTF-8"),
        (b'{"model": "m", "messages": [{"role": "user"}], "extra": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"model": "m", "messages": ' + b'[{"role":"user","content":' * 50_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, words: str) -> None:
    assert words in refusal(Operation.CHAT, body).message


@pytest.mark.parametrize("name", ["api_base", "base_url", "api_key", "extra_headers", "custom_llm_provider"])
def test_a_request_cannot_choose_where_it_goes_or_with_which_key(name: str) -> None:
    error = refusal(Operation.CHAT, json.dumps({**CHAT, name: "http://elsewhere.invalid"}).encode())
    assert error.param == name
    assert "elsewhere" not in error.message


def test_a_second_model_cannot_be_smuggled_in() -> None:
    """The last of two keys counts for us, and the target gets one only."""
    raw = b'{"model": "cheap", "messages": [{"role": "user", "content": "Hi"}], "model": "m", "model": "ours"}'
    request = decode_body(Operation.CHAT, raw)
    assert request.model == "ours"
    body = forwarded(Operation.CHAT, raw).body
    assert body.count(b'"model"') == 1
    assert json.loads(body)["model"] == "theirs"


def test_what_we_do_not_know_is_passed_on_as_it_was_written() -> None:
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"Hi","cache":{"x":1.50}}],"top_k":40,"guided":{"a":[1e3]}}'
    )
    body = forwarded(Operation.CHAT, raw).body
    assert body == raw.replace(b'"m"', b'"theirs"')


def test_nulls_stay_null() -> None:
    assert sent(Operation.CHAT, {**CHAT, "stop": None, "user": None, "tools": None}) == {
        **CHAT,
        "model": "theirs",
        "stop": None,
        "user": None,
        "tools": None,
    }


@pytest.mark.parametrize(
    ("options", "asked", "hidden"),
    [
        ({}, {"include_usage": True}, True),
        ({"stream_options": None}, {"include_usage": True}, True),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}, True),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}, False),
        (
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
            True,
        ),
    ],
)
def test_a_stream_is_asked_for_its_counts(options: dict[str, Any], asked: dict[str, Any], hidden: bool) -> None:
    raw = json.dumps({**CHAT, "stream": True, **options}).encode()
    passed = forwarded(Operation.CHAT, raw)
    assert json.loads(passed.body)["stream_options"] == asked
    assert passed.hide_usage is hidden


def test_a_server_that_does_not_know_stream_options_is_not_sent_any() -> None:
    raw = json.dumps({**CHAT, "stream": True}).encode()
    passed = forwarded(Operation.CHAT, raw, stream_usage=False)
    assert "stream_options" not in json.loads(passed.body)
    assert not passed.hide_usage


def test_a_response_says_whether_it_is_to_be_streamed() -> None:
    """Some servers stream unless they are told not to."""
    assert sent(Operation.RESPONSE, {"model": "m", "input": "Hi"})["stream"] is False
    assert sent(Operation.RESPONSE, {"model": "m", "input": "Hi", "stream": True})["stream"] is True
    assert "stream_options" not in sent(Operation.RESPONSE, {"model": "m", "input": "Hi", "stream": True})


def test_a_unary_chat_gets_no_field_it_did_not_have() -> None:
    assert sent(Operation.CHAT, CHAT).keys() == CHAT.keys()


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_the_inputs_of_embeddings_as_our_own_request(given: Any, inputs: list[Any]) -> None:
    raw = json.dumps(
        {"model": "m", "input": given, "encoding_format": "base64", "dimensions": 8, "user": None}
    ).encode()
    request = decode_body(Operation.EMBED, raw)
    assert request.base64
    assert request.request("theirs") == EmbedRequest("theirs", inputs, {"encoding_format": "base64", "dimensions": 8})


def test_a_chat_as_our_own_request() -> None:
    raw = json.dumps(
        {**CHAT, "stream": True, "stream_options": {}, "temperature": 0.5, "top_k": 3, "stop": None}
    ).encode()
    request = decode_body(Operation.CHAT, raw).request("theirs")
    assert request == ChatRequest("theirs", CHAT["messages"], {"temperature": 0.5, "top_k": 3})


def test_the_summary_holds_what_the_pipeline_reads() -> None:
    """Choices to wait for, and tokens to reserve; the messages are in the body already."""
    raw = json.dumps({**CHAT, "n": 3, "max_completion_tokens": 50, "max_tokens": 9, "temperature": 1}).encode()
    read = {"n": 3, "max_tokens": 50, "temperature": 1.0}
    assert decode_body(Operation.CHAT, raw).summary("theirs") == ChatRequest("theirs", [], read)
