"""The serving half of the dialect: errors, replies and chunks as OpenAI's own client reads them."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ipfs_accelerate_py import errors
from ipfs_accelerate_py.dialects.openai.answers import encode_embeddings, encode_reply
from ipfs_accelerate_py.dialects.openai.ingress import OpenAIIngress
from ipfs_accelerate_py.dialects.openai.writer import DONE, StreamEncoder
from ipfs_accelerate_py.gateway.incoming import retry_after_headers
from ipfs_accelerate_py.types import Chunk, Operation, Reply, ToolCall, Usage

INGRESS = OpenAIIngress()


def error_object(error: errors.AccelerateError) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(INGRESS.error(error).body)["error"]
    return found


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidRequest("no", status=400, code="odd"), 400, "odd"),
        (errors.InvalidRequest("no", status=422), 422, "invalid_request_error"),
        (errors.ContextLengthExceeded("no", status=400), 400, "context_length_exceeded"),
        (errors.ModelNotFound("no", status=404), 404, "model_not_found"),
        (errors.AuthenticationError("no", status=401), 401, "authentication_error"),
        (errors.AuthenticationError("no", status=403), 403, "authentication_error"),
        (errors.QuotaExhausted("no", status=429), 429, "insufficient_quota"),
        (errors.RateLimited("no", status=429), 429, "rate_limit_exceeded"),
        (errors.RateLimited("no"), 429, "rate_limit_exceeded"),
        (errors.QueueFull("no"), 429, "queue_full"),
        (errors.QueueTimeout("no"), 503, "queue_timeout"),
        (errors.CircuitOpen("no", retry_after=7), 503, "circuit_open"),
        (errors.ReadTimeout("no"), 504, "read_timeout"),
        (errors.ReadTimeout("no", status=200), 504, "read_timeout"),
        (errors.ServerError("no", status=500), 502, "server_error"),
        (errors.ServerError("no", status=503), 502, "server_error"),
        (errors.ConnectFailed("no"), 502, "connect_failed"),
        (errors.StreamCut("no", status=200), 502, "stream_cut"),
        (errors.ProtocolError("no", status=200), 502, "protocol_error"),
        (errors.MissingCredential("no"), 500, "missing_credential"),
        (errors.ConfigurationError("no"), 500, "configuration_error"),
        (errors.MissingExtra("no"), 501, "missing_extra"),
        (errors.UnsupportedOperation("no"), 400, "unsupported_operation"),
        (errors.RuntimeUnavailable("no"), 503, "runtime_unavailable"),
    ],
)
def test_the_status_says_whose_fault_it_is(error: errors.AccelerateError, status: int, code: str) -> None:
    answer = INGRESS.error(error)
    assert (answer.status, answer.code) == (status, code)
    assert error_object(error).keys() == {"message", "type", "param", "code"}
    assert error_object(error)["code"] == code


def test_what_the_provider_said_of_its_error_is_kept() -> None:
    error = errors.InvalidRequest("Bad tool.", status=400, type="odd_type", param="tools[0]", code="bad_tool")
    assert error_object(error) == {
        "message": "Bad tool.",
        "type": "odd_type",
        "param": "tools[0]",
        "code": "bad_tool",
    }


def test_nothing_is_null_and_not_a_word() -> None:
    assert error_object(errors.AccelerateError("odd")) == {
        "message": "odd",
        "type": "server_error",
        "param": None,
        "code": None,
    }


def test_a_limit_always_says_when_to_come_back() -> None:
    assert INGRESS.error(errors.RateLimited("no", status=429)).retry_after == 1.0
    assert INGRESS.error(errors.RateLimited("no", status=429, retry_after=2.5)).retry_after == 2.5
    assert retry_after_headers(2.5) == [(b"retry-after", b"3"), (b"retry-after-ms", b"2500")]
    assert retry_after_headers(0.0)[0] == (b"retry-after", b"1")
    assert retry_after_headers(float("inf"))[0] == (b"retry-after", b"86400")


def test_only_the_operators_faults_are_final() -> None:
    """OpenAI's client repeats every 5xx by itself, which cannot help where a key is missing."""
    assert INGRESS.error(errors.MissingCredential("no")).final
    assert not INGRESS.error(errors.CircuitOpen("no")).final
    assert not INGRESS.error(errors.ServerError("no", status=500)).final


def test_an_error_in_band() -> None:
    error = errors.StreamCut("It broke.")
    assert json.loads(INGRESS.error_event(error, Operation.CHAT).removeprefix(b"data: ")) == {
        "error": {"message": "It broke.", "type": "server_error", "param": None, "code": "stream_cut"}
    }
    name, data = INGRESS.error_event(error, Operation.RESPONSE).split(b"\n")[:2]
    assert name == b"event: error"
    assert json.loads(data.removeprefix(b"data: "))["type"] == "error"


# --- other formats than OpenAI's ---------------------------------------------------------------------------------


def test_a_reply_as_a_chat_completion() -> None:
    reply = Reply(
        text="It is 3.",
        reasoning="1 + 2",
        tool_calls=[ToolCall("call_1", "add", '{"a": 1}')],
        finish_reason="tool_calls",
        usage=Usage(7, 5, cached_tokens=2, reasoning_tokens=3, reported=True),
    )
    raw = encode_reply(Operation.CHAT, reply, "alias", "chatcmpl-1", 1_700_000_000)
    done = ChatCompletion.model_validate_json(raw, strict=True)
    [choice] = done.choices
    assert (done.id, done.model, done.created) == ("chatcmpl-1", "alias", 1_700_000_000)
    assert (choice.message.content, choice.finish_reason) == ("It is 3.", "tool_calls")
    calls: list[Any] = choice.message.tool_calls or []
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [("call_1", "add", '{"a": 1}')]
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (7, 5, 12)
    assert json.loads(raw)["choices"][0]["message"]["reasoning_content"] == "1 + 2"


def test_counts_that_nobody_made_are_null() -> None:
    raw = encode_reply(Operation.COMPLETION, Reply(text="a"), "alias", "cmpl-1", 1)
    assert json.loads(raw)["usage"] is None


def test_chunks_as_a_stream() -> None:
    encoder = StreamEncoder(Operation.CHAT, "alias", "chatcmpl-1", 1_700_000_000, usage_wanted=True)
    raw = encoder.encode([Chunk(text="Hel"), Chunk(text="lo"), Chunk(usage=Usage(1, 2, reported=True))])
    raw += encoder.encode(
        [Chunk(tool_calls=[ToolCall("c", "f", "", 0)]), Chunk(tool_calls=[ToolCall("", "", "{}", 0)])]
    )
    raw += encoder.encode([Chunk(finish_reason="stop")])
    assert (raw + encoder.end()).endswith(DONE)
    events = [event.removeprefix(b"data: ") for event in (raw + encoder.end()).split(b"\n\n")[:-2]]
    chunks = [ChatCompletionChunk.model_validate_json(event, strict=True) for event in events]
    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices][:2] == ["Hel", "lo"]
    assert [chunk.choices[0].delta.role for chunk in chunks if chunk.choices].count("assistant") == 1
    pieces = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert [(piece.id, piece.function.name, piece.function.arguments) for piece in pieces if piece.function] == [
        ("c", "f", ""),
        (None, None, "{}"),
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert [(chunk.usage.prompt_tokens, chunk.usage.completion_tokens) for chunk in chunks if chunk.usage] == [(1, 2)]
    assert len({chunk.id for chunk in chunks}) == 1


def test_counts_that_were_not_asked_for_do_not_come() -> None:
    encoder = StreamEncoder(Operation.COMPLETION, "alias", "cmpl-1", 1, usage_wanted=False)
    raw = encoder.encode([Chunk(text="a", usage=Usage(1, 2, reported=True), finish_reason="stop")]) + encoder.end()
    assert b"usage" not in raw
    assert json.loads(raw.split(b"\n\n")[0].removeprefix(b"data: "))["choices"][0]["text"] == "a"


def test_vectors_as_numbers_and_as_base64() -> None:
    reply = Reply(vectors=[[0.5, -1.0], [0.25, 2.0]], usage=Usage(4, reported=True))
    plain = CreateEmbeddingResponse.model_validate_json(encode_embeddings(reply, "alias", False), strict=True)
    assert [item.embedding for item in plain.data] == reply.vectors
    assert [item.index for item in plain.data] == [0, 1]
    assert (plain.model, plain.usage.prompt_tokens, plain.usage.total_tokens) == ("alias", 4, 4)
    coded = json.loads(encode_embeddings(reply, "alias", True))["data"]
    assert [list(struct.unpack("<2f", base64.b64decode(item["embedding"]))) for item in coded] == reply.vectors


def test_what_cannot_be_told_in_this_format_is_refused() -> None:
    with pytest.raises(errors.UnsupportedOperation):
        encode_reply(Operation.RESPONSE, Reply(), "alias", "", 0)
    with pytest.raises(errors.UnsupportedOperation):
        StreamEncoder(Operation.RESPONSE, "alias", "", 0, usage_wanted=False)
