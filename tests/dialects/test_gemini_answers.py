"""Google's whole answers and errors."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest

from ipfs_accelerate_py.errors import (
    AuthenticationError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from ipfs_accelerate_py.types import (
    ImageRequest,
    ModelsRequest,
    Operation,
    Passthrough,
    RawRequest,
    SpeechRequest,
    Usage,
)

from .gemini_support import DIALECT, answer, call, chat, count, embed, read
from .support import places, replaced

COUNTS = {
    "promptTokenCount": 10,
    "toolUsePromptTokenCount": 3,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 7,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 25,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}, {"modality": "AUDIO", "tokenCount": 2}],
    "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}],
}
RPC = "type.googleapis.com/google.rpc."


def test_a_whole_answer() -> None:
    reply = read(
        chat(),
        answer(
            {"text": "I think", "thought": True},
            {"text": "Hel"},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"text": "lo", "thoughtSignature": "c2ln"},
            usageMetadata=COUNTS,
        ),
    )
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello", "I think", "stop")
    assert (reply.id, reply.model) == ("x", "gemini-2.5-flash")
    assert reply.raw["candidates"][0]["content"]["parts"][2]["executableCode"]["code"] == "1"


def test_counts_sum_to_the_total_that_google_gives() -> None:
    usage = read(chat(), answer({"text": "x"}, usageMetadata=COUNTS)).usage
    assert usage == Usage(
        13,
        12,
        cached_tokens=4,
        reasoning_tokens=7,
        input_audio_tokens=2,
        output_audio_tokens=1,
        reported=True,
    )
    assert usage.total_tokens == sum(usage.classes().values()) == COUNTS["totalTokenCount"]
    inside = {"promptTokenCount": 10, "candidatesTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 19}
    usage = read(chat(), answer({"text": "x"}, usageMetadata=inside)).usage
    assert (usage.total_tokens, usage.reasoning_tokens, usage.classes()["output"]) == (19, 4, 5)
    assert not read(chat(), answer({"text": "x"})).usage.reported


def test_parallel_calls_with_and_without_ids() -> None:
    reply = read(
        chat(),
        answer(
            {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "g"}},
            {"functionCall": {"name": "g"}},
        ),
    )
    first, second, third = reply.tool_calls
    assert (first.id, first.name, json.loads(first.arguments), first.signature) == ("a", "f", {"x": 1}, "c2ln")
    assert [each.index for each in reply.tool_calls] == [0, 1, 2]
    assert (second.name, second.arguments, second.signature) == ("g", "{}", "")
    assert second.id
    assert second.id != third.id
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("word", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("SOMETHING_NEW", "SOMETHING_NEW"),
        ("FINISH_REASON_UNSPECIFIED", None),
    ],
)
def test_why_it_ended(word: str, finish: str | None) -> None:
    assert read(chat(), {"candidates": [{"finishReason": word}]}).finish_reason == finish


def test_a_blocked_prompt_is_an_error() -> None:
    with pytest.raises(ContentFiltered, match="PROHIBITED_CONTENT") as caught:
        read(chat(), {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {}})
    assert caught.value.code == "PROHIBITED_CONTENT"


def test_several_candidates_are_in_the_raw_answer() -> None:
    raw = answer({"text": "one"})
    raw["candidates"].insert(0, {"index": 1, "content": {"parts": [{"text": "two"}]}})
    reply = read(chat(n=2), raw)
    assert (reply.text, len(reply.raw["candidates"])) == ("one", 2)


def test_images_and_sound() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}}
    image = call(Operation.IMAGE, ImageRequest("m", "x"))
    assert [(each.data, each.media_type) for each in read(image, answer(part)).images] == [(b"\x89PNG", "image/png")]
    assert read(chat(), answer({"text": "Here"}, part)).images[0].data == b"\x89PNG"
    with pytest.raises(ProtocolError, match=r"no image.*sorry"):
        read(image, answer({"text": "sorry"}, finish="NO_IMAGE"))

    sound = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=16000", "data": "AAECAw=="}}
    reply = read(call(Operation.SPEAK, SpeechRequest("m", "x", {"response_format": "pcm"})), answer(sound))
    assert (reply.body, reply.content_type) == (b"\0\1\2\3", "audio/L16;codec=pcm;rate=16000")
    reply = read(call(Operation.SPEAK, SpeechRequest("m", "x")), answer(sound))
    assert reply.content_type == "audio/wav"

    import io
    import wave

    with wave.open(io.BytesIO(reply.body)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (16000, 1, 2)
        assert recording.readframes(9) == b"\0\1\2\3"
    with pytest.raises(ProtocolError, match="no recording"):
        read(call(Operation.SPEAK, SpeechRequest("m", "x")), answer({"text": "no"}))


def test_vectors_models_and_counts() -> None:
    assert read(embed("a", "b"), {"embeddings": [{"values": [1, 0.5]}, {"values": [0, 1]}]}).vectors == [
        [1, 0.5],
        [0, 1],
    ]
    with pytest.raises(ProtocolError, match="2 inputs"):
        read(embed("a", "b"), {"embeddings": [{"values": [1]}]})
    models = read(
        call(Operation.MODELS, ModelsRequest()), {"models": [{"name": "models/x", "displayName": "X"}]}
    ).models
    assert [(model.id, model.owner, model.raw["displayName"]) for model in models] == [("x", "google", "X")]
    usage = read(count([{"role": "user", "content": "x"}]), {"totalTokens": 9, "cachedContentTokenCount": 4}).usage
    assert usage == Usage(9, cached_tokens=4, reported=True)


def test_raw_answers() -> None:
    made = call(Operation.RAW, RawRequest("/x"))
    assert read(made, {"usageMetadata": {"promptTokenCount": 2}}).usage.input_tokens == 2
    reply = read(made, b"\x00\x01", **{"content-type": "video/mp4"})
    assert (reply.body, reply.content_type) == (b"\x00\x01", "video/mp4")


def test_a_forwarded_answer_keeps_its_bytes_and_is_counted() -> None:
    made = chat()
    made.passthrough = Passthrough("gemini", b"{}")
    body = json.dumps(answer({"text": "x"}, usageMetadata=COUNTS), indent=1).encode()
    reply = read(made, body)
    assert (reply.body, reply.usage.total_tokens, reply.raw) == (body, 25, None)


def test_what_is_no_answer_is_an_error_and_never_a_gap() -> None:
    raw: Any
    odd: Any
    for raw in ([1], {}, {"candidates": {}}, {"candidates": [1]}, b"<html>", b"", {"candidates": []}):
        with pytest.raises(ProtocolError):
            read(chat(), raw)
    whole = answer({"text": "x"}, {"functionCall": {"name": "f", "args": {}}}, usageMetadata=COUNTS)
    for path in places(whole):
        for odd in (None, 5, "x", [], {}, [None], True, -1):
            with contextlib.suppress(ProtocolError):
                read(chat(), replaced(whole, path, odd))


# --- errors ------------------------------------------------------------------------------------------------------


def error(status: int, message: str = "No.", word: str | None = None, *details: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = {"code": status, "message": message}
    if word:
        inner["status"] = word
    if details:
        inner["details"] = list(details)
    return {"error": inner}


def violation(name: str) -> dict[str, Any]:
    return {"@type": RPC + "QuotaFailure", "violations": [{"quotaMetric": "requests", "quotaId": name}]}


MINUTE, DAY = violation("GenerateRequestsPerMinutePerProject"), violation("GenerateRequestsPerDayPerProjectPerModel")
INVALID_KEY = {"@type": RPC + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (
            error(400, "API key not valid.", "INVALID_ARGUMENT", INVALID_KEY),
            AuthenticationError,
            "Authentication error",
        ),
        (error(400, "API key not valid. Please pass a valid API key."), AuthenticationError, "Authentication error"),
        (error(401, "x", "UNAUTHENTICATED"), AuthenticationError, "Authentication error"),
        (error(403, "x", "PERMISSION_DENIED"), AuthenticationError, "Authentication error"),
        (error(429, "x", "RESOURCE_EXHAUSTED"), RateLimited, "Rate limit"),
        (error(429, "Check your plan and billing", "RESOURCE_EXHAUSTED", MINUTE), RateLimited, "Rate limit"),
        (error(429, "x", "RESOURCE_EXHAUSTED", MINUTE, DAY), QuotaExhausted, "Quota exhausted"),
        (error(429, "Your prepayment credits are depleted."), QuotaExhausted, "Quota exhausted"),
        (
            error(
                400, "The input token count (9) exceeds the maximum number of tokens allowed (8).", "INVALID_ARGUMENT"
            ),
            ContextLengthExceeded,
            "The input token count",
        ),
        (error(400, "bad", "INVALID_ARGUMENT"), InvalidRequest, "bad"),
        (error(400, "not in your country", "FAILED_PRECONDITION"), InvalidRequest, "not in your"),
        (error(404, "models/x is not found for API version v1beta", "NOT_FOUND"), ModelNotFound, "models/x"),
        (error(404, "Requested entity was not found.", "NOT_FOUND"), InvalidRequest, "Requested"),
        (error(500, "x", "INTERNAL"), ServerError, "the upstream failed"),
        (error(503, "The model is overloaded.", "UNAVAILABLE"), ServerError, "the upstream failed"),
        (error(504, "x", "DEADLINE_EXCEEDED"), ServerError, "the upstream failed"),
        (error(499, "x", "CANCELLED"), ServerError, "x"),
    ],
)
def test_errors_whole_in_an_array_and_in_band(raw: dict[str, Any], kind: type[Any], words: str) -> None:
    status = raw["error"]["code"]
    for body in (json.dumps(raw), json.dumps([raw])):
        made = DIALECT.error(status, {}, body.encode())
        assert type(made) is kind
        assert made.message.startswith(words)
        assert made.status == status
        assert made.type == raw["error"].get("status")
    for whole in (raw, [raw]):
        with pytest.raises(kind) as caught:
            read(chat(), whole)
        assert caught.value.status == status


def test_what_an_error_says_beside_its_message() -> None:
    details = (
        {"@type": RPC + "RetryInfo", "retryDelay": "26.5s"},
        {"@type": RPC + "BadRequest", "fieldViolations": [{"field": "contents", "description": "x"}]},
        {"@type": RPC + "RequestInfo", "requestId": "abc"},
        MINUTE,
    )
    body = json.dumps(error(429, "x", "RESOURCE_EXHAUSTED", *details)).encode()
    made = DIALECT.error(429, {}, body)
    assert (made.retry_after, made.param, made.request_id, made.code) == (26.5, "contents", "abc", "RESOURCE_EXHAUSTED")
    made = DIALECT.error(429, {"retry-after": "3", "x-should-retry": "false"}, body)
    assert (made.retry_after, made.retryable) == (3, False)
    key = DIALECT.error(400, {}, json.dumps(error(400, "x", "INVALID_ARGUMENT", INVALID_KEY)).encode())
    assert (key.code, key.type) == ("API_KEY_INVALID", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"error": null}',
        b'{"error": "x"}',
        b'{"error": {"details": 5, "code": "x", "message": {}, "status": []}}',
        b'{"error": {"details": [5, {"@type": 1}, {"@type": "RetryInfo", "retryDelay": 5}, {"@type": "ErrorInfo"}]}}',
        b"\xff\xfe",
    ],
)
def test_errors_of_odd_shapes(body: bytes) -> None:
    made = DIALECT.error(503, {"content-type": "text/html; charset=x"}, body)
    assert type(made) is ServerError
    assert made.status == 503
    assert type(DIALECT.error(302, {}, body)) is ProtocolError
