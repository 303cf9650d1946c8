"""Answers and errors of OPEA's services."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.opea.dialect import OpeaDialect
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ContextLengthExceeded,
    InvalidRequest,
    ProtocolError,
    RateLimited,
    ServerError,
)
from ipfs_accelerate_py.types import Call, Reply

from .test_opea_requests import chat, rerank

ZEROS = {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}


def read(call: Call, answer: Any, **headers: str) -> Reply:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return OpeaDialect().decode(call, body, {name.replace("_", "-"): value for name, value in headers.items()})


def answered(text: str, model: str = "chatqna", usage: Any = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "audio": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "metadata": None}],
        "usage": ZEROS if usage is None else usage,
    }


def test_counts_of_zero_are_no_counts() -> None:
    reply = read(chat(), answered("Hi"))
    assert (reply.text, reply.model, reply.finish_reason) == ("Hi", "chatqna", "stop")
    assert reply.usage.reported is False
    assert reply.raw["usage"] == ZEROS
    counted = read(chat(service="chat/completions"), answered("Hi", usage={"prompt_tokens": 3, "completion_tokens": 1}))
    assert (counted.usage.reported, counted.usage.total_tokens) == (True, 4)


def test_answers_of_the_services_behind_a_megaservice_are_read() -> None:
    assert read(chat(service="docsum"), {"text": "Short", "prompt": "Long"}).text == "Short"


def test_an_answer_that_streams_although_nobody_asked_is_put_together() -> None:
    """The code translation service has no way to be told not to."""
    body = b"data: b'func'\n\ndata: b' main'\n\ndata: [DONE]\n\n"
    reply = read(chat(service="codetrans"), body, content_type="text/event-stream; charset=utf-8")
    assert (reply.text, reply.finish_reason) == ("func main", "stop")
    with pytest.raises(BackendError, match="model behind"):
        read(chat(), b"data: [DONE]\n\n", content_type="text/event-stream")


def test_a_megaservice_that_has_no_answer_and_says_so_as_text_has_failed() -> None:
    with pytest.raises(ServerError, match="Response Error"):
        read(chat(service="codegen"), answered("Response Error", "codegen"))
    assert read(chat(), answered("Response Error")).text == "Response Error"  # the user's own words, perhaps


@pytest.mark.parametrize(
    "body", [b"Internal Server Error", b"[1]", b'"text"', b"{}", b'{"choices": []}', b'{"choices": 7}']
)
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(BackendError):
        read(chat(), body)


def test_places_of_ranked_documents_are_found_by_their_texts() -> None:
    ranked = {"reranked_docs": [{"text": "b", "score": 0.2}, {"text": "a", "score": 0.9}, {"text": "b", "score": None}]}
    reply = read(rerank("b", {"text": "a"}, "b"), ranked)
    assert [(one.index, one.score) for one in reply.ranking] == [(1, 0.9), (0, 0.2), (2, 0.0)]
    assert reply.ranking[0].document == {"text": "a"}
    assert [
        one.document
        for one in read(
            rerank("b", "a", return_documents=False), ranked | {"reranked_docs": ranked["reranked_docs"][:1]}
        ).ranking
    ] == [None]
    for wrong in ({}, {"reranked_docs": [{"text": "c"}]}, {"reranked_docs": [{"text": "a"}, {"text": "a"}]}):
        with pytest.raises(ProtocolError):
            read(rerank("b", "a"), wrong)


MISSING = {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required", "input": {}}]}
CONTEXT = {"error": {"message": "maximum context length is 8192", "code": "context_length_exceeded"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (500, b"Internal Server Error", ServerError, "Internal Server Error"),
        (503, b'{"detail":"busy"}', ServerError, "busy"),
        (422, json.dumps(MISSING).encode(), InvalidRequest, "messages: Field required"),
        (400, b'{"detail":"Must provide either a file or a string list."}', InvalidRequest, "Must provide"),
        (404, b'{"detail":"Not Found"}', InvalidRequest, "Not Found"),
        (401, b'{"detail":"no"}', AuthenticationError, "Authentication error"),
        (403, b'{"detail":"Not authenticated"}', AuthenticationError, "Authentication error"),
        (429, b'{"detail":"slow down"}', RateLimited, "Rate limit"),
        (400, json.dumps(CONTEXT).encode(), ContextLengthExceeded, "8192"),
    ],
)
def test_errors(status: int, body: bytes, kind: type[BackendError], words: str) -> None:
    error = OpeaDialect().error(status, {"retry-after": "2", "x-request-id": "r1"}, body)
    assert type(error) is kind
    assert words in str(error)
    assert (error.status, error.retry_after, error.request_id) == (status, 2.0, "r1")
    if status == 422:
        assert (error.param, error.body) == ("messages", MISSING)
