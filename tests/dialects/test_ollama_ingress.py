"""Ollama's format as a server speaks it: requests into the vocabulary, replies and chunks back."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ipfs_accelerate_py import errors as e
from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect
from ipfs_accelerate_py.dialects.ollama.ingress import OllamaIngress
from ipfs_accelerate_py.dialects.serving import Ingress, ServedRequest
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    CompletionRequest,
    EmbedRequest,
    ModelInfo,
    Operation,
    Reply,
    ToolCall,
    Usage,
)

from .support import chat
from .test_ollama_requests import PIXEL, SCHEMA, TOOL
from .test_ollama_streams import decoder, whole

INGRESS: Ingress = OllamaIngress()
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
AT = 1767323045
STAMP = "2026-01-02T03:04:05Z"


def decode(operation: Operation, body: Any, route: str = "/api/x") -> ServedRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return INGRESS.decode(operation, data, "application/json", {"route": route}, stream=None)


def asked(operation: Operation, body: Any, route: str = "/api/x") -> Any:
    return decode(operation, body, route).request("target")


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_chat_in_the_vocabulary() -> None:
    body = {
        **CHAT,
        "tools": [TOOL],
        "think": "high",
        "format": SCHEMA,
        "keep_alive": "5m",
        "options": {"num_predict": 9, "temperature": 0.5, "stop": ["x"], "num_ctx": 4096, "num_gpu": 1, "min_p": 0.1},
        "new_field": 1,
    }
    request = asked(Operation.CHAT, body)
    assert isinstance(request, ChatRequest)
    assert (request.model, request.messages) == ("target", CHAT["messages"])
    assert request.options == {
        "tools": [TOOL],
        "reasoning_effort": "high",
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        "max_tokens": 9,
        "temperature": 0.5,
        "stop": ["x"],
        "min_p": 0.1,
        "new_field": 1,
    }


@pytest.mark.parametrize(
    ("field", "value", "options"),
    [
        ("think", True, {"reasoning_effort": "medium"}),
        ("think", False, {"reasoning_effort": "none"}),
        ("think", "max", {"reasoning_effort": "xhigh"}),
        ("think", None, {}),
        ("format", "json", {"response_format": {"type": "json_object"}}),
        ("format", "", {}),
        ("options", {"num_predict": -1, "seed": None}, {}),
        ("logprobs", False, {}),
    ],
)
def test_an_option_in_the_vocabulary(field: str, value: Any, options: dict[str, Any]) -> None:
    assert asked(Operation.CHAT, {**CHAT, field: value}).options == options


def test_it_streams_unless_told_not_to() -> None:
    assert [decode(Operation.CHAT, {**CHAT, **more}).stream for more in ({}, {"stream": True}, {"stream": False})] == [
        True,
        True,
        False,
    ]
    assert decode(Operation.COMPLETION, {"model": "m", "prompt": "a"}).stream
    assert not decode(Operation.EMBED, {"model": "m", "input": "a"}).stream


def test_tools_and_their_results_are_paired() -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"x": 1}}},
        {"function": {"name": "g"}},
        {"id": "own", "function": {"name": "f", "arguments": {}}},
    ]
    given = [
        {"role": "user", "content": "?", "images": [PIXEL]},
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": calls},
        {"role": "tool", "content": "third", "tool_call_id": "own"},
        {"role": "tool", "content": "second", "tool_name": "g"},
        {"role": "tool", "content": "first"},
    ]
    user, assistant, *results = asked(Operation.CHAT, {"model": "m", "messages": given}).messages
    assert user["content"] == [
        {"type": "text", "text": "?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    assert assistant["reasoning_content"] == "Hm."
    assert [call["function"] for call in assistant["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
        {"name": "f", "arguments": "{}"},
    ]
    first, second, third = (call["id"] for call in assistant["tool_calls"])
    assert [result["tool_call_id"] for result in results] == [third, second, first]
    # And what comes of it is what Ollama itself would be sent.
    request = asked(Operation.CHAT, {"model": "m", "messages": given})
    again = json.loads(OllamaDialect().encode(chat(request.messages)).body or b"")["messages"]
    assert [message.get("images") for message in again] == [[PIXEL], None, None, None, None]
    assert [call["function"].get("arguments") for call in again[1]["tool_calls"]] == [{"x": 1}, {}, {}]
    assert [message.get("tool_name") for message in again[2:]] == ["f", "g", "f"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"\xff\xd8\xff\xe0" + b"\0" * 12, "jpeg"), (b"GIF89a" + b"\0" * 9, "gif"), (b"RIFF\1\2\3\4WEBPVP8 ", "webp")],
)
def test_images_are_known_by_how_they_begin(data: bytes, kind: str) -> None:
    image = base64.b64encode(data).decode()
    (message,) = asked(Operation.COMPLETION, {"model": "m", "prompt": "What?", "images": [image]}).messages
    assert message["content"][-1]["image_url"]["url"].startswith(f"data:image/{kind};base64,")


def test_a_generated_text_is_a_chat_of_one_turn() -> None:
    body = {"model": "m", "prompt": "Hello", "system": "Be brief.", "options": {"top_k": 3}}
    served = decode(Operation.COMPLETION, body)
    assert served.operation is Operation.CHAT
    request = served.request("target")
    assert isinstance(request, ChatRequest)
    assert request.messages == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert request.options == {"top_k": 3}
    # For Ollama itself it stays what it is.
    passed = served.passthrough("theirs")
    assert passed is not None
    assert json.loads(passed.body) == {**body, "model": "theirs", "stream": True}
    call = Call(operation=served.operation, request=served.summary("theirs"), request_id="r", passthrough=passed)
    assert OllamaDialect().encode(call).path == "/generate"


def test_a_raw_text_is_a_completion() -> None:
    served = decode(Operation.COMPLETION, {"model": "m", "prompt": "def f(", "suffix": ")", "raw": True})
    assert served.operation is Operation.COMPLETION
    assert served.request("target") == CompletionRequest("target", "def f(", {"suffix": ")"})


def test_embeddings_new_and_old() -> None:
    body = {"model": "m", "input": ["a", "b"], "dimensions": 3, "truncate": True, "options": {"num_ctx": 9}}
    assert asked(Operation.EMBED, body) == EmbedRequest("target", ["a", "b"], {"dimensions": 3})
    assert asked(Operation.EMBED, {"model": "m", "input": "a"}) == EmbedRequest("target", ["a"])
    old = decode(Operation.EMBED, {"model": "m", "prompt": "a"}, "/api/embeddings")
    assert old.request("target") == EmbedRequest("target", ["a"])
    assert old.passthrough("target") is None  # its newer endpoint takes another body
    new = decode(Operation.EMBED, body).passthrough("theirs")
    assert new is not None
    assert json.loads(new.body) == {**body, "model": "theirs"}


def test_what_the_pipeline_reads_of_a_forwarded_chat() -> None:
    served = decode(Operation.CHAT, {**CHAT, "options": {"num_predict": 5}, "x": [1.0, "é"]})
    assert served.summary("t") == ChatRequest("t", [], {"max_tokens": 5})
    passed = served.passthrough("t")
    assert passed is not None
    assert (passed.dialect, json.loads(passed.body)["x"]) == ("ollama", [1.0, "é"])


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.CHAT, {"messages": []}, "model"),
        (Operation.CHAT, {**CHAT, "model": ""}, "model"),
        (Operation.CHAT, {**CHAT, "messages": [{"content": "a"}]}, "messages[0].role"),
        (Operation.CHAT, {**CHAT, "messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content"),
        (Operation.CHAT, {**CHAT, "stream": "yes"}, "stream"),
        (Operation.CHAT, {**CHAT, "options": {"temperature": "hot"}}, "options.temperature"),
        (Operation.CHAT, {**CHAT, "think": 5}, "think"),
        (Operation.CHAT, {**CHAT, "format": 5}, "format"),
        (Operation.CHAT, {**CHAT, "tools": ["f"]}, "tools[0]"),
        (Operation.CHAT, {**CHAT, "base_url": "http://x"}, "base_url"),
        (
            Operation.CHAT,
            {
                **CHAT,
                "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        (Operation.COMPLETION, {"model": "m", "prompt": 5}, "prompt"),
        (Operation.EMBED, {"model": "m", "input": [1]}, "input[0]"),
        (Operation.EMBED, {"model": "m", "input": "a", "dimensions": 0}, "dimensions"),
    ],
)
def test_a_wrong_field_is_refused_by_name(operation: Operation, body: Any, param: str) -> None:
    with pytest.raises(e.InvalidRequest) as caught:
        decode(operation, body)
    assert (caught.value.param, caught.value.status) == (param, 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "\xff"}', b"[" * 100_000])
def test_a_body_that_is_none(body: bytes) -> None:
    with pytest.raises(e.InvalidRequest):
        decode(Operation.CHAT, body)


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.CHAT, {"model": "m"}, "messages"),
        (Operation.CHAT, {**CHAT, "logprobs": True}, "logprobs"),
        (Operation.CHAT, {**CHAT, "format": "xml"}, "format"),
        (Operation.CHAT, {"model": "m", "messages": [{"role": "tool", "content": "1"}]}, "messages[0]"),
        (
            Operation.CHAT,
            {"model": "m", "messages": [{"role": "user", "images": ["AAAAAAAA"]}]},
            "messages[0].images[0]",
        ),
        (Operation.COMPLETION, {"model": "m", "keep_alive": 0}, "prompt"),
        (Operation.COMPLETION, {"model": "m", "prompt": "a", "template": "{{ .Prompt }}"}, "template"),
        (Operation.COMPLETION, {"model": "m", "prompt": "a", "context": [1]}, "context"),
        (Operation.COMPLETION, {"model": "m", "prompt": "a", "raw": True, "images": [PIXEL]}, "images"),
        (Operation.EMBED, {"model": "m"}, "input"),
    ],
)
def test_what_only_ollama_can_do_is_forwarded_to_it_and_refused_for_others(
    operation: Operation, body: Any, param: str
) -> None:
    served = decode(operation, body)
    assert served.passthrough("m") is not None
    with pytest.raises(e.InvalidRequest) as caught:
        served.request("m")
    assert caught.value.param == param


# --- answers -----------------------------------------------------------------------------------------------------


REPLY = Reply(
    text="Hello",
    reasoning="Hm.",
    tool_calls=[ToolCall("c1", "f", '{"x":1}'), ToolCall("", "g", "", 1)],
    finish_reason="tool_calls",
    usage=Usage(9, 3, reported=True),
    latency=1.5,
)


def answer(request: ServedRequest, reply: Reply) -> Any:
    return json.loads(INGRESS.encode(request, reply, "mine", AT).body)


def test_a_whole_answer() -> None:
    assert answer(decode(Operation.CHAT, CHAT), REPLY) == {
        "model": "mine",
        "created_at": STAMP,
        "message": {
            "role": "assistant",
            "content": "Hello",
            "thinking": "Hm.",
            "tool_calls": [
                {"id": "c1", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}},
                {"function": {"index": 1, "name": "g", "arguments": {}}},
            ],
        },
        "done": True,
        "done_reason": "stop",
        "total_duration": 1_500_000_000,
        "prompt_eval_count": 9,
        "eval_count": 3,
    }


def test_what_nobody_measured_or_counted_is_not_said() -> None:
    made = answer(decode(Operation.COMPLETION, {"model": "m", "prompt": "a"}), Reply(text="b", finish_reason="length"))
    assert made == {"model": "mine", "created_at": STAMP, "response": "b", "done": True, "done_reason": "length"}


def test_a_refusal_is_said() -> None:
    assert answer(decode(Operation.CHAT, CHAT), Reply(refusal="No."))["message"]["content"] == "No."


def test_vectors() -> None:
    reply = Reply(vectors=[[0.5, 1.0]], usage=Usage(2, reported=True))
    new = decode(Operation.EMBED, {"model": "m", "input": "a"})
    assert answer(new, reply) == {"model": "mine", "embeddings": [[0.5, 1.0]], "prompt_eval_count": 2}
    old = decode(Operation.EMBED, {"model": "m", "prompt": "a"}, "/api/embeddings")
    assert answer(old, reply) == {"embedding": [0.5, 1.0]}
    with pytest.raises(e.UnsupportedOperation):
        INGRESS.writer(new, "mine", "r", AT)


def test_arguments_that_are_no_object_cannot_be_said() -> None:
    with pytest.raises(e.ProtocolError, match="'f'"):
        answer(decode(Operation.CHAT, CHAT), Reply(tool_calls=[ToolCall("c", "f", "[1")]))


CHUNKS = [
    Chunk(),
    Chunk(reasoning="Hm."),
    Chunk("Hel"),
    Chunk("lo"),
    Chunk(tool_calls=[ToolCall("c1", "f", '{"x"')]),
    Chunk(tool_calls=[ToolCall("c2", "g", "", 1), ToolCall(arguments=":1}")]),
    Chunk(finish_reason="tool_calls"),
    Chunk(usage=Usage(9, 3, reported=True)),
]


def test_a_stream_is_what_ollamas_clients_read() -> None:
    writer = INGRESS.writer(decode(Operation.CHAT, CHAT), "mine", "r", AT)
    data = writer.encode(CHUNKS[:3]) + writer.encode(CHUNKS[3:]) + writer.end()
    lines = [json.loads(line) for line in data.splitlines()]
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    assert {(line["model"], line["created_at"]) for line in lines} == {("mine", STAMP)}
    made = decoder()
    reply = whole(made.feed(data))
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello", "Hm.", "tool_calls")
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("c1", "f", '{"x":1}'),
        ("c2", "g", "{}"),
    ]
    assert reply.usage == Usage(9, 3, reported=True)


def test_a_generated_stream() -> None:
    served = decode(Operation.COMPLETION, {"model": "m", "prompt": "a"})
    writer = INGRESS.writer(served, "mine", "r", AT)
    lines = [json.loads(line) for line in (writer.encode(CHUNKS[:4]) + writer.end()).splitlines()]
    assert [(line["response"], line.get("thinking")) for line in lines] == [
        ("", "Hm."),
        ("Hel", None),
        ("lo", None),
        ("", None),
    ]
    assert "prompt_eval_count" not in lines[-1]


def test_errors() -> None:
    refused = INGRESS.error(e.RateLimited("Rate limit: slow down", status=429))
    assert (refused.status, refused.retry_after, refused.final) == (429, 1.0, False)
    assert json.loads(refused.body) == {"error": "Rate limit: slow down"}
    assert INGRESS.error(e.MissingCredential("no key")).final
    assert json.loads(INGRESS.failure(404, "Nothing here.", "not_found").body) == {"error": "Nothing here."}
    line = INGRESS.error_event(e.ServerError("it failed"), Operation.CHAT)
    assert (json.loads(line), line[-1:]) == ({"error": "it failed"}, b"\n")


def test_models() -> None:
    raw = {"size": 5, "digest": "d", "details": {"family": "x"}, "capabilities": ["completion"]}
    known = ModelInfo("ollama/llama3", created=AT, raw=raw)
    listed, bare = json.loads(INGRESS.models([known, ModelInfo("gpt-4o", "openai")]))["models"]
    assert (listed["name"], listed["model"], listed["modified_at"]) == ("ollama/llama3", "ollama/llama3", STAMP)
    assert (listed["size"], listed["digest"], listed["details"]) == (5, "d", {"family": "x"})
    assert (bare["size"], bare["digest"], bare["details"]["family"]) == (0, "", "")
    shown = json.loads(INGRESS.model(known))
    assert (shown["capabilities"], shown["details"], shown["model_info"]) == (["completion"], {"family": "x"}, {})
