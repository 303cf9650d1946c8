"""Unary answers: OpenAI's own, and those of servers that take liberties."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import ProtocolError, RateLimited, ServerError
from ipfs_accelerate_py.types import Passthrough, Usage

from .support import chat, completion, embed, message, models, raw, read, response

# --- chat --------------------------------------------------------------------------------------------------------


def test_a_plain_answer() -> None:
    answer = message(content="Hi", refusal=None)
    reply = read(chat(), answer)
    assert (reply.id, reply.model, reply.text, reply.finish_reason) == ("chatcmpl-1", "gpt-4o-2024", "Hi", "stop")
    assert reply.usage == Usage(9, 3, reported=True)
    assert reply.tool_calls == []
    assert reply.raw == answer


def test_every_part_of_the_usage() -> None:
    answer = message(content="Hi")
    answer["usage"] = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 2},
    }
    assert read(chat(), answer).usage == Usage(100, 50, 60, 30, 5, 2, reported=True)


def test_no_usage_is_said_to_be_none() -> None:
    answer = message(content="Hi")
    nothing: list[dict[str, Any]] = [{}, {"usage": None}, {"usage": []}]
    for odd in nothing:
        rest = {name: value for name, value in answer.items() if name != "usage"}
        assert read(chat(), {**rest, **odd}).usage == Usage()


def test_tool_calls() -> None:
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "free text"}},
        {"id": "call_3", "function": {"name": "h", "arguments": {"y": 2}}},
    ]
    reply = read(chat(), message(content=None, tool_calls=calls))
    assert reply.text == ""
    assert [(c.id, c.name, c.arguments, c.index, c.type) for c in reply.tool_calls] == [
        ("call_1", "f", '{"x": 1}', 0, "function"),
        ("call_2", "g", "free text", 1, "custom"),
        ("call_3", "h", '{"y":2}', 2, "function"),
    ]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_under_either_name(name: str) -> None:
    assert read(chat(), message(content="4", **{name: "2+2"})).reasoning == "2+2"


def test_refusals_log_probabilities_and_unknown_fields_are_there() -> None:
    answer = message(content=None, refusal="I cannot", audio={"id": "a", "data": "AAAA"}, odd=[1])
    answer["choices"][0]["logprobs"] = {"content": [{"token": "Hi", "logprob": -0.1}]}
    answer["x_groq"] = {"id": "r"}
    reply = read(chat(), answer)
    assert reply.refusal == "I cannot"
    assert reply.raw["choices"][0]["logprobs"]["content"][0]["logprob"] == -0.1
    assert reply.raw["choices"][0]["message"]["audio"]["data"] == "AAAA"
    assert reply.raw["x_groq"] == {"id": "r"}


def test_content_as_a_list_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert read(chat(), message(content=parts)).text == "Hello"


def test_absent_fields_are_no_matter() -> None:
    """transformers serve leaves out what is null."""
    reply = read(chat(), {"choices": [{"message": {"content": "Hi"}}]})
    assert (reply.text, reply.model, reply.finish_reason, reply.id) == ("Hi", "", None, "")


def test_counts_as_floats_are_counts() -> None:
    answer = message(content="Hi")
    answer["usage"] = {"prompt_tokens": 9.0, "completion_tokens": 3.0, "prompt_tokens_details": None}
    usage = read(chat(), answer).usage
    assert usage == Usage(9, 3, reported=True)
    assert isinstance(usage.input_tokens, int)


def test_odd_counts_do_not_cost_the_answer() -> None:
    answer = message(content="Hi")
    wrong: list[Any] = [{"prompt_tokens": "many"}, {"prompt_tokens": {"a": 1}}, "lots", {"prompt_tokens": []}]
    for odd in wrong:
        answer["usage"] = odd
        assert read(chat(), answer).text == "Hi"


def test_a_forwarded_call_keeps_the_bytes() -> None:
    call = chat()
    call.passthrough = Passthrough("openai", b"{}")
    body = json.dumps(message(content="Hi"), indent=3).encode()
    reply = OpenAIDialect().decode(call, body, {})
    assert reply.body == body
    assert reply.usage.total_tokens == 12


# --- what is not an answer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b'["ok"]',
        b'"ok"',
        b"null",
        b"true",
        b"{",
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b"[" * 100_000,
        b"{}",
        b'{"choices": []}',
        b'{"choices": null}',
        b'{"choices": [{}]}',
        b'{"choices": [null]}',
        b'{"choices": {"message": 1}}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": "Hi"}]}',
        b'{"choices": [{"message": {"content": "Hi", "tool_calls": [1]}}]}',
    ],
)
def test_what_is_not_an_answer_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(chat(), body)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"error": {"message": "boom", "type": "server_error", "code": None}}, ServerError),
        ({"error": "boom"}, ServerError),
        ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, RateLimited),
        ({"error": {"message": "slow down", "code": 429}}, RateLimited),
    ],
)
def test_an_error_with_status_200_is_an_error(answer: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"boom|slow down"):
        read(chat(), answer)


# --- completions, responses --------------------------------------------------------------------------------------


def test_completions() -> None:
    answer = {"id": "cmpl-1", "model": "m", "choices": [{"text": " upon", "finish_reason": "length"}]}
    reply = read(completion(), answer)
    assert (reply.text, reply.finish_reason, reply.id) == (" upon", "length", "cmpl-1")


def test_responses() -> None:
    answer = {
        "id": "resp_1",
        "status": "completed",
        "model": "gpt-4o",
        "error": None,
        "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "think"}]},
            {
                "type": "message",
                "content": [{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}],
            },
            {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
            {"type": "web_search_call", "id": "ws_1"},
        ],
        "usage": {
            "input_tokens": 9,
            "output_tokens": 4,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
    }
    reply = read(response(), answer)
    assert (reply.text, reply.reasoning, reply.refusal) == ("Hello", "think", "no")
    assert reply.finish_reason == "tool_calls"
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [("call_1", "f", "{}")]
    assert reply.usage == Usage(9, 4, cached_tokens=2, reasoning_tokens=1, reported=True)


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"status": "completed"}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": None}, "length"),
    ],
)
def test_the_end_of_a_response_in_the_words_of_chat(fields: dict[str, Any], finish: str) -> None:
    assert read(response(), {"output": [], **fields}).finish_reason == finish


def test_a_failed_response_is_an_error() -> None:
    """200, ``status: failed``, and the reason in ``error``: that is no answer."""
    answer = {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "server_error", "message": "The model failed."},
        "output": [],
    }
    with pytest.raises(ServerError, match="The model failed"):
        read(response(), answer)


# --- embeddings, models ------------------------------------------------------------------------------------------


def test_vectors_as_floats_in_order_of_their_index() -> None:
    answer = {
        "model": "m",
        "data": [{"index": 1, "embedding": [3.0, 4.0]}, {"index": 0, "embedding": [1.0, 2.0]}],
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    reply = read(embed("a", "b"), answer)
    assert reply.vectors == [[1.0, 2.0], [3.0, 4.0]]
    assert reply.usage == Usage(4, 0, reported=True)


def test_vectors_as_base64() -> None:
    packed = base64.b64encode(struct.pack("<3f", 1.0, -2.5, 0.125)).decode()
    assert read(embed("a"), {"data": [{"embedding": packed}]}).vectors == [[1.0, -2.5, 0.125]]


@pytest.mark.parametrize("bad", ["!!!", base64.b64encode(b"12345").decode(), None, 5, {"a": 1}, ["x"], [None]])
def test_what_is_no_vector_is_refused(bad: Any) -> None:
    with pytest.raises(ProtocolError):
        read(embed("a"), {"data": [{"index": 0, "embedding": bad}]})


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0]}],
        [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}],
        [{"index": number, "embedding": [1.0]} for number in range(3)],
    ],
    ids=["none", "fewer", "twice the same", "more"],
)
def test_one_vector_for_each_input_or_an_error(data: list[Any]) -> None:
    """Vectors are matched to inputs by position: one that is missing would shift all that follow."""
    with pytest.raises(ProtocolError):
        read(embed("a", "b"), {"data": data})


def test_token_ids_are_one_input() -> None:
    reply = read(embed([1, 2, 3], [4]), {"data": [{"index": i, "embedding": [float(i)]} for i in range(2)]})
    assert reply.vectors == [[0.0], [1.0]]


def test_models_with_odd_records() -> None:
    answer = {
        "object": "list",
        "data": [
            {"id": "a", "object": "model", "created": 1700000000, "owned_by": "openai"},
            {"id": "b", "created": 1700000000.5, "owned_by": None, "max_model_len": 4096},
            {"id": "c"},
        ],
    }
    found = read(models(), answer).models
    assert [(model.id, model.owner, model.created) for model in found] == [
        ("a", "openai", 1700000000),
        ("b", "", 1700000000),
        ("c", "", 0),
    ]
    assert found[1].raw["max_model_len"] == 4096


def test_raw_answers_are_any_json() -> None:
    assert read(raw(), [1, 2]).raw == [1, 2]
    assert read(raw(), {"usage": {"prompt_tokens": 3}}).usage.input_tokens == 3
    assert read(raw(), {"usage": {"input_tokens": 3, "output_tokens": 1}}).usage.total_tokens == 4
    assert read(raw(), "text").raw == "text"


def test_a_raw_request_may_be_answered_with_nothing() -> None:
    """DELETE and many others: 204, and no body."""
    assert read(raw("/models/x", None, "DELETE"), b"").raw is None
