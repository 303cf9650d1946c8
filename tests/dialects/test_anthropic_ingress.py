"""The serving half of Anthropic's format: requests into the vocabulary, and answers back out of it."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types import ModelInfo as TheirModel
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ipfs_accelerate_py.dialects.anthropic.ingress import AnthropicIngress
from ipfs_accelerate_py.dialects.serving import ServedRequest
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AuthenticationError,
    CircuitOpen,
    InvalidRequest,
    ProtocolError,
    QueueFull,
    QuotaExhausted,
    RateLimited,
    ServerError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.framing import SSEDecoder
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    CountRequest,
    ModelInfo,
    Operation,
    Reply,
    ToolCall,
    Usage,
)

from .anthropic_support import REDACTED, THINKING, WHOLE, play, read, sent
from .support import places, replaced
from .test_anthropic_streams import collected
from .test_openai_fuzz import json_values

INGRESS = AnthropicIngress()
MARK = {"type": "ephemeral"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
#: Everything that the vocabulary has a word for.
BODY: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 4000,
    "temperature": 0.5,
    "top_k": 3,
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "system": [{"type": "text", "text": "Be brief"}, {"type": "text", "text": "Please", "cache_control": MARK}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See", "cache_control": MARK},
                {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVA="}},
                {"type": "document", "source": PDF, "title": "T", "context": "C", "citations": {"enabled": True}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
                {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}, "cache_control": MARK},
                {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                THINKING,
                REDACTED,
                {"type": "text", "text": "Let me see"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "t2", "name": "f", "input": {}, "cache_control": MARK},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "one", "is_error": True},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "content": [
                        {"type": "text", "text": "two"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVA="}},
                    ],
                    "cache_control": MARK,
                },
                {"type": "text", "text": "Well?"},
            ],
        },
        {"role": "assistant", "content": "Hm"},
    ],
    "tools": [
        {"name": "f", "description": "Does it", "input_schema": SCHEMA, "cache_control": MARK},
        {"name": "g", "input_schema": SCHEMA, "strict": True},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
}
PLAIN = {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}


def decode(body: Any, operation: Operation = Operation.CHAT) -> ServedRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return INGRESS.decode(operation, data, "application/json", {}, stream=None)


def chat_request(body: Any) -> ChatRequest:
    made = decode(body).request("target")
    assert isinstance(made, ChatRequest)
    return made


# --- requests ----------------------------------------------------------------------------------------------------


def test_there_and_back_nothing_is_lost() -> None:
    made = chat_request(BODY)
    call = Call(operation=Operation.CHAT, request=made, request_id="r")
    assert sent(call) == {**BODY, "model": "target"}


def test_in_the_words_of_the_vocabulary() -> None:
    made = chat_request(BODY)
    assert made.model == "target"
    assert [each["role"] for each in made.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "assistant",
    ]
    _, user, assistant, first, second, last, _ = made.messages
    assert user["content"][2]["image_url"] == {"url": "data:image/png;base64,iVA="}
    assert user["content"][3]["file"] == {"file_data": "data:application/pdf;base64,JVBE", "filename": "T"}
    assert assistant["content"] == "Let me see"
    assert (assistant["reasoning_content"], assistant["thinking_blocks"]) == ("Hm. So.", [THINKING, REDACTED])
    assert assistant["tool_calls"][0] == {
        "id": "t1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"x":1}'},
    }
    assert (first["tool_call_id"], first["content"], first["is_error"]) == ("t1", "one", True)
    assert [part["type"] for part in second["content"]] == ["text", "image_url"]
    assert last["content"] == "Well?"
    assert made.options["stop"] == ["END"]
    assert made.options["user"] == "u"
    assert made.options["parallel_tool_calls"] is False
    assert made.options["tools"][1]["function"] == {"name": "g", "parameters": SCHEMA, "strict": True}
    assert made.options["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("choice", "made"),
    [
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: dict[str, Any], made: Any) -> None:
    assert chat_request({**PLAIN, "tools": BODY["tools"], "tool_choice": choice}).options["tool_choice"] == made


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "minimal"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 30_000}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "xhigh"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, None),
    ],
)
def test_reasoning(fields: dict[str, Any], effort: str | None) -> None:
    assert chat_request({**PLAIN, **fields}).options.get("reasoning_effort") == effort


def test_reasoning_that_nobody_signed_is_text_and_no_more() -> None:
    unsigned = {"type": "thinking", "thinking": "Hm", "signature": ""}
    history = [*PLAIN["messages"], {"role": "assistant", "content": [unsigned, {"type": "text", "text": "Yes"}]}]  # type: ignore[misc]
    made = chat_request({**PLAIN, "messages": history}).messages[1]
    assert made == {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"}


def test_hints_are_left_out() -> None:
    assert chat_request({**PLAIN, "cache_control": MARK, "speed": "fast", "stream": True, "top_p": None}).options == {
        "max_tokens": 5
    }


def user(*blocks: Any) -> dict[str, Any]:
    return {**PLAIN, "messages": [{"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**PLAIN, "container": "c"}, "container"),
        ({**PLAIN, "x_new": 1}, "x_new"),
        ({**PLAIN, "output_config": {"new": 1}}, "output_config.new"),
        ({**PLAIN, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
        ({**PLAIN, "tools": [{**BODY["tools"][0], "input_examples": [{}]}]}, "tools.0.input_examples"),
        (user({"type": "search_result", "source": "s"}), "messages.0.content.0"),
        (user({"type": "image", "source": {"type": "file", "file_id": "f"}}), "messages.0.content.0.source"),
        (user({"type": "document", "source": {"type": "content", "content": "a"}}), "messages.0.content.0.source"),
    ],
)
def test_what_another_format_cannot_say_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    request = decode(body)
    with pytest.raises(InvalidRequest, match=param) as caught:
        request.request("m")
    assert (caught.value.param, caught.value.status) == (param, 400)
    passed = request.passthrough("m")  # a target of the same format knows it
    assert passed is not None
    assert json.loads(passed.body) == {**body, "model": "m"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({**PLAIN, "model": ""}, "model"),
        ({name: PLAIN[name] for name in ("model", "messages")}, "max_tokens"),
        ({**PLAIN, "max_tokens": "5"}, "max_tokens"),
        ({**PLAIN, "messages": []}, "messages"),
        ({**PLAIN, "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({**PLAIN, "messages": [{"role": "user"}]}, "messages[0].content"),
        ({**PLAIN, "messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({**PLAIN, "stream": "yes"}, "stream"),
        ({**PLAIN, "api_key": "sk-1"}, "api_key"),
        ([], None),
        (b"{", None),
        (b'{"a": "\xff"}', None),
    ],
)
def test_wrong_bodies_are_refused_with_the_field(body: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        user({"type": "text"}),
        user({"type": "image"}),
        user({"type": "tool_result"}),
        user({"type": "tool_result", "tool_use_id": "t", "content": [5]}),
        {**PLAIN, "messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f"}]}]},
        {**PLAIN, "tools": [{"name": "f"}]},
        {**PLAIN, "tools": BODY["tools"], "tool_choice": {"type": "maybe"}},
        {**PLAIN, "output_config": {"format": {"type": "json_schema"}}},
    ],
)
def test_wrong_blocks_are_refused_when_they_are_translated(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        decode(body).request("m")


def test_the_summary_beside_a_passed_body() -> None:
    request = decode({**PLAIN, "stream": True})
    assert (request.stream, request.model, request.operation) == (True, "claude-x", Operation.CHAT)
    assert request.summary("m") == ChatRequest("m", [], {"max_tokens": 5})


def test_counting() -> None:
    body = {name: PLAIN[name] for name in ("model", "messages")}
    request = decode({**body, "tools": BODY["tools"]}, Operation.COUNT)
    made = request.request("m")
    assert isinstance(made, CountRequest)
    assert (made.messages, len(made.options["tools"])) == (PLAIN["messages"], 2)
    assert request.summary("m") == CountRequest("m", [])
    answer = INGRESS.encode(request, Reply(usage=Usage(12, reported=True)), "m", 0)
    assert json.loads(answer.body) == {"input_tokens": 12}
    with pytest.raises(UnsupportedOperation):
        INGRESS.writer(request, "m", "req_1", 0)
    with pytest.raises(InvalidRequest):
        decode(PLAIN, Operation.EMBED)


@given(json_values, st.sampled_from(list(places(BODY))))
def test_whatever_a_body_holds_it_is_translated_or_refused(value: Any, path: tuple[Any, ...]) -> None:
    with contextlib.suppress(InvalidRequest):
        decode(replaced(BODY, path, value)).request("m")


# --- answers -----------------------------------------------------------------------------------------------------

REPLY = Reply(
    id="chatcmpl-1",
    request_id="req_abc",
    text="Hello",
    reasoning="Hm. So.",
    thinking_blocks=[THINKING, REDACTED],
    tool_calls=[ToolCall("toolu_1", "f", '{"x":1}'), ToolCall("", "g", "", 1)],
    finish_reason="tool_calls",
    usage=Usage(59, 7, cached_tokens=30, cache_write_tokens=20, reasoning_tokens=4, reported=True),
)


def answer(reply: Reply) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(INGRESS.encode(decode(PLAIN), reply, "claude-x", 0).body)
    TypeAdapter(Message).validate_python(made)
    return made


def test_an_answer() -> None:
    made = answer(REPLY)
    assert (made["id"], made["model"], made["stop_reason"]) == ("msg_abc", "claude-x", "tool_use")
    assert made["content"] == [
        THINKING,
        REDACTED,
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "toolu_abc_1", "name": "g", "input": {}},
    ]
    back = read(made)
    assert (back.text, back.usage, back.finish_reason) == (REPLY.text, REPLY.usage, REPLY.finish_reason)


def test_answers_of_other_providers() -> None:
    made = answer(Reply(reasoning="Hm", refusal="No.", finish_reason="content_filter"))
    assert [block["type"] for block in made["content"]] == ["thinking", "text"]
    assert made["stop_reason"] == "refusal"
    assert answer(Reply(text="a", finish_reason="length"))["stop_reason"] == "max_tokens"
    assert answer(Reply(text="a"))["stop_reason"] == "end_turn"
    with pytest.raises(ProtocolError, match="'f'"):
        answer(Reply(tool_calls=[ToolCall("a", "f", "{oh")]))


# --- streams -----------------------------------------------------------------------------------------------------


def written(*batches: list[Chunk]) -> bytes:
    writer = INGRESS.writer(decode({**PLAIN, "stream": True}), "claude-x", "req_abc", 0)
    data = b"".join([writer.encode(batch) for batch in batches]) + writer.end()
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in SSEDecoder().feed(data):
        assert json.loads(event.data)["type"] == event.event
        adapter.validate_json(event.data)
    return data


def test_a_stream_there_and_back() -> None:
    chunks, made = play(WHOLE)
    again, other = play(written(*[[chunk] for chunk in chunks]))
    first, second = collected(chunks), collected(again)
    for name in ("text", "reasoning", "thinking_blocks", "tool_calls", "finish_reason", "usage"):
        assert getattr(first, name) == getattr(second, name), name
    assert other.usage == made.usage


def blocks_of(data: bytes) -> list[str]:
    """The kinds of the blocks, each ended before the next begins."""
    kinds: list[str] = []
    is_open = False
    for event in SSEDecoder().feed(data):
        raw = json.loads(event.data)
        if event.event == "content_block_start":
            assert not is_open
            assert raw["index"] == len(kinds)
            kinds.append(raw["content_block"]["type"])
            is_open = True
        elif event.event == "content_block_stop":
            is_open = False
        elif event.event == "content_block_delta":
            assert is_open
    assert not is_open
    return kinds


def test_blocks_follow_one_another() -> None:
    data = written(
        [Chunk(reasoning="a"), Chunk(reasoning="b"), Chunk(text="c"), Chunk(index=1, text="not this one")],
        [Chunk(text="d", tool_calls=[ToolCall("t", "f", "{}")]), Chunk(refusal="No", finish_reason="stop")],
        [Chunk(usage=Usage(3, 4, reported=True))],
    )
    assert blocks_of(data) == ["thinking", "text", "tool_use", "text"]
    reply = collected(play(data)[0])
    assert (reply.text, reply.reasoning, reply.usage) == ("cdNo", "ab", Usage(3, 4, reported=True))


def test_calls_whose_pieces_come_mixed_are_put_in_order() -> None:
    pieces = [
        ToolCall("a", "f", "", 0),
        ToolCall("b", "g", "", 1),
        ToolCall("", "", '{"x":', 0),
        ToolCall("", "", '{"y":', 1),
        ToolCall("", "", "1}", 0),
        ToolCall("", "", "2}", 1),
        ToolCall("c", "h", '{"z":3}', 2),
    ]
    data = written([Chunk(tool_calls=[piece]) for piece in pieces], [Chunk(finish_reason="tool_calls")])
    assert blocks_of(data) == ["tool_use"] * 3
    calls = collected(play(data)[0]).tool_calls
    assert {(call.id, call.name, call.arguments) for call in calls} == {
        ("a", "f", '{"x":1}'),
        ("b", "g", '{"y":2}'),
        ("c", "h", '{"z":3}'),
    }
    with pytest.raises(ProtocolError):
        written([Chunk(tool_calls=[ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}", 1), ToolCall("", "", "x", 0)])])


def test_an_empty_stream_is_a_whole_message() -> None:
    reply = collected(play(written([Chunk(finish_reason="length")]))[0])
    assert (reply.text, reply.finish_reason) == ("", "length")
    assert play(written())[1].finish_reason == "stop"


# --- errors and models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequest("No", status=400), 400, "invalid_request_error"),
        (AuthenticationError("No", status=401), 401, "authentication_error"),
        (AuthenticationError("No", status=403), 403, "permission_error"),
        (QuotaExhausted("No", status=402), 402, "billing_error"),
        (InvalidRequest("No", status=404), 404, "not_found_error"),
        (InvalidRequest("No", status=413), 413, "request_too_large"),
        (RateLimited("No", status=429, type="requests"), 429, "rate_limit_error"),
        (QueueFull("No"), 429, "rate_limit_error"),
        (CircuitOpen("No"), 503, "overloaded_error"),
        (ServerError("No", status=529, type="overloaded_error"), 502, "api_error"),
        (UnsupportedOperation("No"), 400, "invalid_request_error"),
        (AccelerateError("No"), 500, "api_error"),
    ],
)
def test_errors(error: AccelerateError, status: int, kind: str) -> None:
    made = INGRESS.error(error)
    assert made.status == status
    assert json.loads(made.body) == {"type": "error", "error": {"type": kind, "message": "No"}, "request_id": None}
    [event] = SSEDecoder().feed(INGRESS.error_event(error, Operation.CHAT))
    assert (event.event, json.loads(event.data)) == ("error", json.loads(made.body))
    assert (made.retry_after is not None) is (status == 429)


def test_an_error_of_none_of_the_trees() -> None:
    made = INGRESS.failure(404, "Not Found", "not_found")
    assert (made.status, json.loads(made.body)["error"]["type"]) == (404, "not_found_error")


def test_models() -> None:
    own = {"type": "model", "id": "claude-y", "display_name": "Y", "created_at": "2026-01-01T00:00:00Z"}
    made = json.loads(INGRESS.models([ModelInfo("a", created=1735689600), ModelInfo("b", raw=own)]))
    assert made == {
        "data": [
            {"type": "model", "id": "a", "display_name": "a", "created_at": "2025-01-01T00:00:00Z"},
            {**own, "id": "b"},
        ],
        "has_more": False,
        "first_id": "a",
        "last_id": "b",
    }
    assert json.loads(INGRESS.model(ModelInfo("a")))["created_at"] == "1970-01-01T00:00:00Z"
    assert TheirModel.construct(**made["data"][0]).id == "a"
    assert json.loads(INGRESS.models([]))["first_id"] is None
