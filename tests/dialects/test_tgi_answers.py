"""TGI's answers, its streams, and its errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py import errors
from ipfs_accelerate_py.errors import BackendError, ProtocolError, StreamCut
from ipfs_accelerate_py.types import Usage

from .hf_support import HOSTED, TGI, chat, complete, count, events, last, play, read, refused, token
from .support import models, places, replaced, sse

DETAILS = {
    "finish_reason": "eos_token",
    "generated_tokens": 3,
    "seed": 1,
    "prefill": [],
    "tokens": [{"id": 1, "text": "a", "logprob": -0.1, "special": False}],
}
COUNTS = {"x-prompt-tokens": "7", "x-generated-tokens": "3"}


# --- whole answers -----------------------------------------------------------------------------------------------


def test_a_completion_in_any_of_its_shapes() -> None:
    answer = {"generated_text": " upon", "details": DETAILS, "brand_new": 1}
    for shape in (answer, [answer]):
        reply = read(complete(), shape, headers=COUNTS)
        assert (reply.text, reply.finish_reason, reply.model) == (" upon", "stop", "o/m")
        assert reply.usage == Usage(7, 3, reported=True)
        assert reply.raw == shape
    assert not read(complete(), [{"generated_text": ""}], HOSTED).usage.reported


def test_the_prompts_tokens_are_in_the_prefill_where_no_header_has_them() -> None:
    prefill = [{"id": 1, "text": "a", "logprob": None}, {"id": 2, "text": "b", "logprob": -1}]
    reply = read(complete(), {"generated_text": "x", "details": {**DETAILS, "prefill": prefill}})
    assert reply.usage == Usage(2, 3, reported=True)
    odd = {"x-prompt-tokens": "many", "x-generated-tokens": "9" * 40}
    assert read(complete(), {"generated_text": "x", "details": DETAILS}, headers=odd).usage == Usage(
        0, 3, reported=True
    )


@pytest.mark.parametrize(
    ("reason", "word"), [("eos_token", "stop"), ("stop_sequence", "stop"), ("length", "length"), ("new", "new")]
)
def test_reasons_to_end_in_the_words_of_chat(reason: str, word: str) -> None:
    answer = {"generated_text": "", "details": {**DETAILS, "finish_reason": reason}}
    assert read(complete(), answer).finish_reason == word
    message = {"message": {"role": "assistant", "content": "x"}, "finish_reason": reason, "index": 0}
    assert read(chat(), {"choices": [message], "model": "m"}).finish_reason == word


def test_counts_and_models() -> None:
    assert read(count(), {"tokenize_response": [{}, {}], "templated_text": "ab"}).usage.input_tokens == 2
    one = {"id": "m", "object": "model", "created": 5, "owned_by": "o"}
    for shape in (one, {"object": "list", "data": [one]}):
        (model,) = read(models(), shape).models
        assert (model.id, model.owner, model.created, model.raw) == ("m", "o", 5, one)


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"5", b'{"a": 1}', b'[{"generated_text": {"x": 1}}]', b'"x"']
)
def test_what_is_no_completion_is_a_protocol_error(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(complete(), answer)


def test_an_error_that_came_with_200() -> None:
    with pytest.raises(errors.RateLimited, match=r"^Rate limit: Model is overloaded"):
        read(complete(), {"error": "Model is overloaded", "error_type": "overloaded"})
    with pytest.raises(errors.ServerError):
        read(chat(), {"error": "Request failed during generation", "error_type": "generation"})


# --- streams -----------------------------------------------------------------------------------------------------

WHOLE = events(
    token("Hel", 1),
    token("lo é世界😀", 2),
    last("</s>", 3, "Hello é世界😀", "eos_token", token={"id": 2, "text": "</s>", "logprob": None, "special": True}),
)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 64])
def test_tokens_are_chunks_and_special_ones_are_no_text(size: int) -> None:
    chunks, decoder = play(WHOLE, size=size)
    assert [chunk.text for chunk in chunks] == ["Hel", "lo é世界😀", ""]
    assert (decoder.finish_reason, decoder.usage) == ("stop", Usage(3, 3, reported=True))
    assert decoder.complete
    assert decoder.finished
    assert chunks[-1].usage == decoder.usage
    assert chunks[0].raw["token"]["logprob"] == -0.5


def test_a_stream_without_details_is_complete_all_the_same() -> None:
    chunks, decoder = play(events(token("a", 1), token("b", 2, generated_text="ab"), "[DONE]"))
    assert "".join(chunk.text for chunk in chunks) == "ab"
    assert (decoder.finish_reason, decoder.usage.reported) == (None, False)


@pytest.mark.parametrize(
    "data", [b"", events(token("a", 1)), events("[DONE]"), events(token("a", 1), "[DONE]"), WHOLE[:-20]]
)
def test_a_stream_that_breaks_off_is_never_whole(data: bytes) -> None:
    with pytest.raises(StreamCut):
        play(data)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded", errors.RateLimited),
        ("validation", errors.InvalidRequest),
        ("generation", errors.ServerError),
        ("incomplete_generation", errors.ServerError),
        ("something new", errors.ServerError),
    ],
)
def test_errors_in_band(kind: str, expected: type[BackendError]) -> None:
    with pytest.raises(expected) as caught:
        play(events({"error": "No.", "error_type": kind}))
    assert type(caught.value) is expected
    assert (caught.value.type, caught.value.body) == (kind, {"error": "No.", "error_type": kind})


def test_a_prompt_that_is_too_long_is_told_in_band_too() -> None:
    said = "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 9000 `inputs` tokens and 20 `max_new_tokens`"
    with pytest.raises(errors.ContextLengthExceeded):
        play(events({"error": f"Input validation error: {said}", "error_type": "validation"}))


def test_an_error_after_content_comes_after_it() -> None:
    decoder = TGI.stream_decoder(complete(stream=True))
    data = events(token("a", 1), {"error": "Request failed during generation", "error_type": "generation"})
    assert [chunk.text for chunk in decoder.feed(data)] == ["a"]
    assert isinstance(decoder.error, errors.ServerError)
    with pytest.raises(errors.ServerError):
        decoder.end()


def test_unreadable_events_are_skipped_unless_a_token_is_missed() -> None:
    chunks, decoder = play(events(token("a", 1), "{not json", "5", token("b", 2), last("c", 3, "abc")))
    assert ("".join(chunk.text for chunk in chunks), decoder.skipped) == ("abc", 2)
    with pytest.raises(ProtocolError):
        play(events(token("a", 1), '{"index":2,"token":{"te', last("c", 3, "abc")))
    with pytest.raises(ProtocolError, match="token 2 is missing"):  # told by its number alone
        play(events(token("a", 1), "{not json", last("c", 3, "abc")))


def test_unknown_events_and_fields_are_kept_in_their_data() -> None:
    chunks, _ = play(events({"brand": "new"}, last("a", 1, "a", brand="new")))
    assert [chunk.raw.get("brand") for chunk in chunks] == ["new", "new"]


@given(st.data())
def test_whatever_an_event_holds_it_is_read_or_a_typed_error(data: st.DataObject) -> None:
    event = last("a", 1, "a")
    where = data.draw(st.sampled_from(sorted(places(event), key=str)))
    value = data.draw(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=3))
    with contextlib.suppress(BackendError):
        play(events(json.dumps(replaced(event, where, value))))


def chunk(content: Any = "x", finish: Any = None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": content}
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_chat_streams_end_for_openais_reasons_and_fail_for_tgis() -> None:
    call = chat(stream=True)
    usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    chunks, decoder = play(sse(chunk("Hi"), chunk("", "eos_token"), {"choices": [], "usage": usage}), call)
    assert [each.text for each in chunks] == ["Hi", "", ""]
    assert (chunks[1].finish_reason, decoder.finish_reason) == ("stop", "stop")
    assert decoder.usage == Usage(2, 1, reported=True)
    said = {
        "message": "Input validation error: `inputs` must have less than 10 tokens. Given: 20",
        "http_status_code": 422,
    }
    with pytest.raises(errors.ContextLengthExceeded):
        play(events({"error": said}), call)
    with pytest.raises(errors.RateLimited):
        play(events({"error": "Model is overloaded", "error_type": "overloaded"}), call)
    forwarding = TGI.stream_decoder(call)
    with pytest.raises(errors.RateLimited):
        forwarding.forward(events({"error": "Model is overloaded", "error_type": "overloaded"}))
    whole = sse(chunk("Hi"), chunk("", "stop_sequence"))
    forwarding = TGI.stream_decoder(call)
    assert b"".join(forwarding.forward(whole)) == whole
    assert forwarding.finish_reason == "stop"


CALLED = {"index": 0, "id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize("calls", [[CALLED], CALLED], ids=["a list", "before 3.1"])
def test_an_answer_that_calls_a_tool_ends_for_that(calls: Any) -> None:
    choice = {"index": 0, "delta": {"role": "assistant", "tool_calls": calls}, "finish_reason": None}
    chunks, decoder = play(sse({"model": "m", "choices": [choice]}, chunk(None, "eos_token")), chat(stream=True))
    assert [(call.name, call.arguments) for each in chunks for call in each.tool_calls] == [("f", "{}")]
    assert (chunks[-1].finish_reason, decoder.finish_reason) == ("tool_calls", "tool_calls")
    function = {"name": "f", "arguments": {"x": 1}}
    message = {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}
    usage = {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "eos_token"}], "usage": usage}
    reply = read(chat(), whole, headers=COUNTS)
    assert (reply.finish_reason, reply.tool_calls[0].arguments) == ("tool_calls", '{"x":1}')
    assert reply.usage == Usage(7, 3, reported=True)


def test_a_native_stream_is_forwarded_as_it_is() -> None:
    decoder = TGI.stream_decoder(complete(stream=True))
    assert b"".join(decoder.forward(WHOLE)) == WHOLE
    assert (decoder.usage.output_tokens, decoder.complete, decoder.end()) == (3, True, [])


# --- errors ------------------------------------------------------------------------------------------------------

TOO_LONG = "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000"


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (401, b"", errors.AuthenticationError),
        (403, {"error": "Forbidden"}, errors.AuthenticationError),
        (402, {"error": "You have exceeded your monthly included credits"}, errors.QuotaExhausted),
        (404, {"error": "Model o/m does not exist"}, errors.ModelNotFound),
        (404, b"Not Found", errors.InvalidRequest),
        (404, {"error": "No fast tokenizer available", "error_type": "validation"}, errors.InvalidRequest),
        (410, {"error": "The requested model is deprecated"}, errors.ModelNotFound),
        (400, {"error": {"message": "no such model", "code": "model_not_supported"}}, errors.ModelNotFound),
        (400, {"error": ["Error in `parameters.x`: no"], "warnings": []}, errors.InvalidRequest),
        (
            413,
            {"error": "batch size 33 > maximum allowed batch size 32", "error_type": "Validation"},
            errors.InvalidRequest,
        ),
        (413, {"error": TOO_LONG, "error_type": "Validation"}, errors.ContextLengthExceeded),
        (422, {"error": TOO_LONG, "error_type": "validation"}, errors.ContextLengthExceeded),
        (422, {"error": "Template error", "error_type": "template_error"}, errors.InvalidRequest),
        (
            422,
            b"Failed to deserialize the JSON body into the target type: missing field `inputs`",
            errors.InvalidRequest,
        ),
        (424, {"error": "Request failed during generation", "error_type": "generation"}, errors.ServerError),
        (
            424,
            {"error": "Backend error: model is not a re-ranker model", "error_type": "Backend"},
            errors.InvalidRequest,
        ),
        (429, {"error": "Model is overloaded", "error_type": "overloaded"}, errors.RateLimited),
        (429, {"message": "no permits available", "code": 429, "type": "Overloaded"}, errors.RateLimited),
        (500, {"error": "Incomplete generation", "error_type": "incomplete_generation"}, errors.ServerError),
        (503, {"error": "unhealthy", "error_type": "healthcheck"}, errors.ServerError),
        (504, b"<html>Gateway Timeout</html>", errors.ServerError),
    ],
)
def test_every_status(status: int, said: Any, expected: type[BackendError]) -> None:
    error = refused(status, said, {"x-request-id": "id-1"})
    assert type(error) is expected
    assert (error.status, error.request_id) == (status, "id-1")
    if expected is errors.ServerError:
        assert error.retryable
        assert error.outage
    first = {errors.AuthenticationError: "Authentication error", errors.RateLimited: "Rate limit"}.get(expected)
    assert first is None or str(error).startswith(first)


def test_a_model_that_is_loading_is_waited_for_and_no_outage() -> None:
    said = {"error": "Model o/m is currently loading", "estimated_time": 20.5}
    error = refused(503, said)
    assert (type(error), error.retryable, error.outage, error.retry_after) == (errors.ServerError, True, False, 20.5)
    assert refused(503, said, {"retry-after": "3"}).retry_after == 3
    assert refused(503, {"error": "x", "estimated_time": "soon"}).retry_after is None


def test_what_the_service_says_of_retrying_holds_for_translated_errors() -> None:
    said = {"error": "Request failed during generation", "error_type": "generation"}
    error = refused(424, said, {"x-should-retry": "false", "retry-after-ms": "1500"})
    assert (error.retryable, error.retry_after, error.type, error.body) == (False, 1.5, "generation", said)
