"""Ollama's whole answers and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py import errors as e
from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect
from ipfs_accelerate_py.types import Call, ChatRequest, Operation, Passthrough, Reply

from .support import chat, completion, embed, models, raw

HEAD = {"model": "llama3", "created_at": "2026-01-02T03:04:05Z"}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}


def read(call: Call, answer: Any, **headers: str) -> Reply:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return OllamaDialect().decode(call, body, {name.replace("_", "-"): value for name, value in headers.items()})


def message(**fields: Any) -> dict[str, Any]:
    return {**HEAD, "message": {"role": "assistant", "content": "", **fields}, **END}


def test_a_chat() -> None:
    answer = {**message(content="Hello", thinking="Hm.", new_field=1), "logprobs": [], "x": {}}
    reply = read(chat(), answer)
    assert (reply.text, reply.reasoning, reply.model, reply.finish_reason) == ("Hello", "Hm.", "llama3", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reported) == (9, 3, True)
    assert sum(reply.usage.classes().values()) == reply.usage.total_tokens
    assert reply.raw == answer


def test_images_in_an_answer() -> None:
    assert [image.data for image in read(chat(), message(content="Look", images=["aGk="])).images] == [b"hi"]
    with pytest.raises(e.ProtocolError, match="not base64"):
        read(chat(), message(images=["?"]))


def test_tool_calls_get_ids_that_are_always_the_same() -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"x": [1, "é"]}}},
        {"id": "own", "function": {"index": 1, "name": "g", "arguments": {}}},
        {"function": {"name": "f"}},
    ]
    first = read(chat(), message(tool_calls=calls))
    assert first.finish_reason == "tool_calls"
    assert [(call.name, call.arguments, call.index) for call in first.tool_calls] == [
        ("f", '{"x":[1,"é"]}', 0),
        ("g", "{}", 1),
        ("f", "{}", 2),
    ]
    ids = [call.id for call in first.tool_calls]
    assert ids[1] == "own"
    assert len(set(ids)) == 3
    assert [call.id for call in read(chat(), message(tool_calls=calls)).tool_calls] == ids
    another_turn = chat([{"role": "user", "content": "Hello"}, {"role": "user", "content": "Again"}])
    assert {call.id for call in read(another_turn, message(tool_calls=calls)).tool_calls} & set(ids) == {"own"}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("stop", "stop"), ("length", "length"), ("load", "load"), ("unload", "unload"), (None, "stop"), ("new", "new")],
)
def test_why_it_ended(reason: str | None, finish: str) -> None:
    assert read(chat(), {**message(content="x"), "done_reason": reason}).finish_reason == finish


def test_counts_may_be_missing() -> None:
    assert not read(chat(), {**HEAD, "message": {"content": "x"}, "done": True}).usage.reported
    reply = read(chat(), {**HEAD, "message": {"content": "x"}, "done": True, "eval_count": 2})
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reported) == (0, 2, True)


def test_a_completion() -> None:
    reply = read(completion(), {**HEAD, "response": "Once", "thinking": "Hm.", "context": [1], **END})
    assert (reply.text, reply.reasoning, reply.finish_reason, reply.usage.output_tokens) == ("Once", "Hm.", "stop", 3)


def test_embeddings_are_as_many_as_the_inputs() -> None:
    answer = {"model": "e", "embeddings": [[1, 0.5], [0.0, 1.0]], "prompt_eval_count": 4}
    reply = read(embed("a", "b"), answer)
    assert reply.vectors == [[1.0, 0.5], [0.0, 1.0]]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (4, 0)
    with pytest.raises(e.ProtocolError, match="1 inputs were sent"):
        read(embed("a"), answer)


def test_the_list_of_models() -> None:
    item = {"name": "llama3:latest", "modified_at": "2025-10-03T23:34:03.409490317-07:00", "size": 5}
    (model, old) = read(models(), {"models": [item, {"name": "x", "model": "y", "modified_at": "never"}]}).models
    assert (model.id, model.created, model.raw) == ("llama3:latest", 1759559643, item)
    assert (old.id, old.created) == ("y", 0)
    assert read(models(), {"models": None}).models == []


def test_requests_of_its_own() -> None:
    assert read(raw(), {"version": "1"}).raw == {"version": "1"}
    assert read(raw(), b"").raw is None
    running = read(raw("/"), b"Ollama is running", content_type="text/plain")
    assert (running.raw, running.body, running.content_type) == (None, b"Ollama is running", "text/plain")
    lines = b'{"status":"pulling manifest"}\n{"status":"success"}\n'
    assert read(raw(), lines, content_type="application/x-ndjson").raw[-1] == {"status": "success"}
    with pytest.raises(e.ModelNotFound):
        read(raw(), b'{"error":"pull model manifest: file does not exist"}\n', content_type="application/x-ndjson")
    with pytest.raises(e.StreamCut):
        read(raw(), lines[:30], content_type="application/x-ndjson")


def test_a_forwarded_answer() -> None:
    call = Call(
        operation=Operation.CHAT,
        request=ChatRequest("m", []),
        request_id="r",
        passthrough=Passthrough("ollama", b"{}"),
    )
    body = json.dumps(message(content="x")).encode()
    reply = OllamaDialect().decode(call, body, {})
    assert (reply.body, reply.model, reply.usage.total_tokens) == (body, "llama3", 12)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'"text"',
        {},
        {**HEAD, **END},
        message(content={"a": 1}),
        message(content="x", tool_calls=[5]),
        message(content="x", tool_calls={"function": {}}),
        {**HEAD, "message": "text", **END},
        {**message(content="Hel"), "done": False},
    ],
)
def test_what_cannot_be_read_is_an_error_and_no_gap(answer: Any) -> None:
    with pytest.raises(e.ProtocolError):
        read(chat(), answer)


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "json: cannot unmarshal string into Go struct field", e.InvalidRequest),
        (400, "the input length exceeds the context length", e.ContextLengthExceeded),
        (400, "registry.ollama.ai/library/x does not support tools", e.InvalidRequest),
        (401, "unauthorized", e.AuthenticationError),
        (403, "forbidden", e.AuthenticationError),
        (403, "this model requires a subscription, upgrade for access", e.QuotaExhausted),
        (402, "payment required", e.QuotaExhausted),
        (404, 'model "x" not found, try pulling it first', e.ModelNotFound),
        (404, "404 page not found", e.InvalidRequest),
        (413, "too large", e.InvalidRequest),
        (422, "cannot", e.InvalidRequest),
        (429, "too many requests", e.RateLimited),
        (429, "you have reached your hourly usage limit", e.QuotaExhausted),
        (500, "model requires more system memory (9 GiB) than is available", e.ServerError),
        (502, "bad gateway", e.ServerError),
        (503, "server busy, please try again.  maximum pending requests exceeded", e.ServerError),
        (302, "", e.ProtocolError),
    ],
)
def test_every_status_has_its_error(status: int, message: str, kind: type[e.BackendError]) -> None:
    error = OllamaDialect().error(status, {}, json.dumps({"error": message}).encode())
    assert type(error) is kind
    assert message in error.message
    assert error.status == status
    assert error.message.startswith(
        {e.AuthenticationError: "Authentication error", e.RateLimited: "Rate limit"}.get(kind, "")
    )


def test_what_headers_say_of_a_refusal() -> None:
    headers = {"retry-after": "7", "x-should-retry": "false", "x-request-id": "abc"}
    error = OllamaDialect().error(503, headers, b'{"error":"server busy"}')
    assert (error.retry_after, error.retryable, error.request_id) == (7.0, False, "abc")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"404 page not found", "404 page not found"),
        (b"", "(no body)"),
        (b"<html>oops</html>", "<html>oops</html>"),
        (b'{"error":{"message":"of a proxy"}}', "of a proxy"),
        (b'{"detail":"else"}', '"detail"'),
        (b"[1]", "[1]"),
    ],
)
def test_an_error_in_another_shape(body: bytes, words: str) -> None:
    assert words in OllamaDialect().error(400, {}, body).message


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("an error was encountered while running the model", e.ServerError),
        ("model 'x' not found", e.ModelNotFound),
        ("unauthorized", e.AuthenticationError),
        ("prompt too long; exceeded max context length by 4 tokens", e.ContextLengthExceeded),
    ],
)
def test_an_error_inside_a_200(message: str, kind: type[e.BackendError]) -> None:
    with pytest.raises(kind, match=message[:10]):
        read(chat(), {"error": message})
