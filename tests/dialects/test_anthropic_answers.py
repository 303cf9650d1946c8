"""Answers in Anthropic's format: messages, counts, models, and whatever else comes in their place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.anthropic.dialect import AnthropicDialect
from ipfs_accelerate_py.errors import AccelerateError, ContextLengthExceeded, ProtocolError, ServerError
from ipfs_accelerate_py.types import Call, Operation, Passthrough, RawRequest, Reply, Usage

from .anthropic_support import REDACTED, THINKING, chat, counting, listing, message, read
from .support import places, replaced
from .test_openai_fuzz import json_values

CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
CITED = {"type": "text", "text": "lo", "citations": [{"type": "char_location", "cited_text": "a"}]}
SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "a"}}
WHOLE = message(THINKING, REDACTED, "Hel", CITED, SEARCH, CALL, {**CALL, "id": "toolu_2"}, stop_reason="tool_use")


def test_a_message() -> None:
    reply = read(WHOLE)
    assert (reply.id, reply.model, reply.text) == ("msg_1", "claude-haiku-4-5-20251001", "Hello")
    assert (reply.reasoning, reply.thinking_blocks) == ("Hm. So.", [THINKING, REDACTED])
    assert [(call.id, call.name, call.arguments, call.index) for call in reply.tool_calls] == [
        ("toolu_1", "f", '{"x":1}', 0),
        ("toolu_2", "f", '{"x":1}', 1),
    ]
    assert reply.finish_reason == "tool_calls"
    assert reply.raw["content"][3]["citations"]  # what has no place of its own is still there


def test_counts_in_classes_that_do_not_overlap() -> None:
    used = read(message("Hi")).usage
    assert used == Usage(59, 7, cached_tokens=30, cache_write_tokens=20, reasoning_tokens=4, reported=True)
    assert used.classes() == {
        "input": 9,
        "cached": 30,
        "cache_write": 20,
        "input_audio": 0,
        "output": 3,
        "reasoning": 4,
        "output_audio": 0,
        "output_image": 0,
        "cache_write_1h": 0,
    }
    assert sum(used.classes().values()) == used.total_tokens
    assert read({**message("Hi"), "usage": None}).usage == Usage()
    assert read({**message("Hi"), "usage": {"input_tokens": 3, "output_tokens": 2}}).usage == Usage(3, 2, reported=True)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("something_new", "something_new"),
        (None, None),
    ],
)
def test_reasons_of_the_end(reason: str | None, finish: str | None) -> None:
    assert read(message("Hi", stop_reason=reason)).finish_reason == finish


def test_a_refusal_is_explained() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "No."}
    assert read(message(stop_reason="refusal", stop_details=details)).refusal == "No."
    assert read(message(stop_reason="refusal", stop_details=None)).refusal == ""


def test_a_count_and_the_models() -> None:
    assert read({"input_tokens": 12}, counting()).usage == Usage(12, reported=True)
    entry = {"type": "model", "id": "claude-x", "created_at": "2025-02-19T00:00:00Z", "display_name": "X"}
    page = {"data": [entry, {"id": "y", "created_at": "then"}], "has_more": True, "last_id": "y"}
    reply = read(page, listing())
    assert [(model.id, model.owner, model.created) for model in reply.models] == [
        ("claude-x", "anthropic", 1739923200),
        ("y", "anthropic", 0),
    ]
    assert reply.models[0].raw == entry
    assert reply.raw["has_more"]


@pytest.mark.parametrize(
    ("call", "answer", "why"),
    [
        (chat(), b"<html>", "not JSON"),
        (chat(), b"[]", "not a JSON object"),
        (chat(), {"choices": []}, "content"),
        (chat(), message({"type": "text", "text": 5}), "text"),
        (chat(), message({"type": "text"}), "text"),
        (chat(), message({"type": "tool_use", "id": "a", "name": "f"}), "input"),
        (chat(), {**message(), "content": "Hi"}, "list"),
        (counting(), {"input_tokens": "many"}, "number"),
        (listing(), {"data": [{}]}, "id"),
    ],
)
def test_what_is_no_answer_is_an_error_of_ours(call: Call, answer: Any, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        read(answer, call)


def test_an_error_with_status_200() -> None:
    with pytest.raises(ContextLengthExceeded):
        read({"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}})
    with pytest.raises(ServerError):
        read({"error": {"message": "Oh no"}})


# --- forwarded and raw -------------------------------------------------------------------------------------------


def forwarded(answer: Any, call: Call | None = None) -> Reply:
    call = call or chat()
    call.passthrough = Passthrough("anthropic", b"{}")
    return read(answer, call)


def test_a_forwarded_answer_is_read_for_its_counts_only() -> None:
    body = json.dumps(WHOLE).encode()
    reply = forwarded(body)
    assert (reply.body, reply.model, reply.usage) == (body, "claude-haiku-4-5-20251001", read(WHOLE).usage)
    assert (reply.text, reply.raw) == ("", None)
    assert forwarded({"input_tokens": 7}, counting()).usage == Usage(7, reported=True)


def test_a_forwarded_answer_that_is_none() -> None:
    with pytest.raises(ServerError):
        forwarded({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    for answer in (b"<html>", b"[]", {"id": "x"}):
        with pytest.raises(ProtocolError):
            forwarded(answer)


def test_raw_answers() -> None:
    call = Call(operation=Operation.RAW, request=RawRequest("/files"), request_id="r")
    reply = read(message("Hi"), call)
    assert (reply.raw["id"], reply.usage.input_tokens) == ("msg_1", 59)
    assert read([1], call).raw == [1]
    assert read(b"", call) == Reply()
    page = AnthropicDialect().decode(call, b"%PDF", {"content-type": "application/pdf"})
    assert (page.body, page.content_type, page.raw) == (b"%PDF", "application/pdf", None)


# --- whatever comes ----------------------------------------------------------------------------------------------

ANSWERS: list[tuple[Call, Any]] = [
    (chat(), WHOLE),
    (counting(), {"input_tokens": 12}),
    (listing(), {"data": [{"id": "a", "created_at": "2025-02-19T00:00:00Z"}]}),
]
IN_ANSWERS = [(call, answer, path) for call, answer in ANSWERS for path in places(answer)]


@given(json_values, st.sampled_from(IN_ANSWERS))
def test_whatever_json_comes_the_caller_gets_an_answer_or_an_error_of_ours(
    value: Any, place: tuple[Call, Any, tuple[Any, ...]]
) -> None:
    call, answer, path = place
    try:
        reply = read(replaced(answer, path, value), call)
    except AccelerateError:
        return
    assert isinstance(reply.id + reply.model + reply.text + reply.reasoning + reply.refusal, str)
    assert reply.finish_reason is None or isinstance(reply.finish_reason, str)
    assert all(isinstance(each.id + each.name + each.arguments, str) for each in reply.tool_calls)
    assert all(isinstance(each, dict) for each in reply.thinking_blocks)
    assert sum(reply.usage.classes().values()) == reply.usage.total_tokens >= 0
