"""Whatever JSON comes, wherever in an answer, event or error: the caller gets an answer or an error of ours."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.errors import AccelerateError, BackendError
from ipfs_accelerate_py.types import Call

from .support import (
    COMPLETED,
    EVENTS,
    USAGE,
    chat,
    chunk,
    completion,
    embed,
    message,
    models,
    places,
    play,
    read,
    replaced,
    response,
    sse,
)
from .test_openai_errors import refused

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 500)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "type", "message", "code"]), inner)
    ),
    max_leaves=8,
)


ANSWERS: list[tuple[Call, Any]] = [
    (
        chat(),
        message(
            content="Hi", tool_calls=[{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        ),
    ),
    (chat(), message(content=[{"type": "text", "text": "Hi"}], reasoning_content="hm", refusal=None)),
    (completion(), {"id": "a", "model": "m", "choices": [{"text": "Hi", "finish_reason": "stop"}]}),
    (
        response(),
        {
            "id": "a",
            "status": "completed",
            "model": "m",
            "output": [
                {
                    "type": "message",
                    "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "no"}],
                },
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
            "usage": {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}},
        },
    ),
    (embed("a"), {"model": "m", "data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}),
    (models(), {"data": [{"id": "a", "created": 1, "owned_by": "me"}]}),
]
IN_ANSWERS = [(call, answer, path) for call, answer in ANSWERS for path in places(answer)]


@given(json_values, st.sampled_from(IN_ANSWERS))
def test_whatever_json_comes_the_caller_gets_an_answer_or_an_error_of_ours(
    value: Any, place: tuple[Call, Any, tuple[Any, ...]]
) -> None:
    call, answer, path = place
    try:
        reply = read(call, replaced(answer, path, value))
    except AccelerateError:
        return
    assert isinstance(reply.id, str)
    assert isinstance(reply.text, str)
    assert isinstance(reply.reasoning, str)
    assert isinstance(reply.refusal, str)
    assert isinstance(reply.model, str)
    assert reply.finish_reason is None or isinstance(reply.finish_reason, str)
    assert all(isinstance(c.id + c.name + c.arguments, str) for c in reply.tool_calls)
    assert all(isinstance(number, float | int) for vector in reply.vectors for number in vector)
    assert all(isinstance(model.id, str) for model in reply.models)
    assert reply.usage.total_tokens >= 0


CHAT_EVENTS: list[dict[str, Any]] = [
    chunk(delta={"role": "assistant", "content": ""}),
    chunk("Hel", system_fingerprint=None),
    chunk(delta={"reasoning_content": "hm", "refusal": None}),
    chunk(
        delta={
            "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
        }
    ),
    chunk(finish="stop", usage=USAGE),
]
TEXT_EVENTS: list[dict[str, Any]] = [
    {"model": "m", "choices": [{"index": 0, "text": "Once", "finish_reason": None}]},
    {"model": "m", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}], "usage": USAGE},
]
STREAMS = [
    (chat(stream=True), CHAT_EVENTS),
    (completion(stream=True), TEXT_EVENTS),
    (response(stream=True), [*EVENTS, COMPLETED]),
]
IN_STREAMS = [(call, events, path) for call, events in STREAMS for path in places(events)]


@given(json_values, st.sampled_from(IN_STREAMS), st.booleans())
def test_whatever_an_event_holds_the_caller_gets_chunks_or_an_error_of_ours(
    value: Any, place: tuple[Call, list[Any], tuple[Any, ...]], done: bool
) -> None:
    call, events, path = place
    try:
        chunks, made = play(sse(*replaced(events, path, value), done=done), call)
    except AccelerateError:
        return
    assert made.complete
    assert isinstance(made.model, str)
    assert made.finish_reason is None or isinstance(made.finish_reason, str)
    assert made.usage.total_tokens >= 0
    for each in chunks:
        assert isinstance(each.text + each.reasoning + each.refusal + each.model + each.event, str)
        assert isinstance(each.index, int)
        assert each.finish_reason is None or isinstance(each.finish_reason, str)
        assert all(isinstance(tool.arguments + tool.name + tool.id, str) for tool in each.tool_calls)
        assert all(isinstance(tool.index, int) for tool in each.tool_calls)


@given(json_values, st.integers(100, 999))
def test_any_body_makes_an_error(value: Any, status: int) -> None:
    assert isinstance(refused(status, value), AccelerateError)


@given(st.dictionaries(st.sampled_from(["error", "message", "code", "type", "detail"]), json_values))
def test_any_object_makes_an_error(raw: dict[str, Any]) -> None:
    assert isinstance(error_from_body(raw), BackendError)
