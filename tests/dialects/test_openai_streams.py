"""Streaming answers: OpenAI's own, those of servers that take liberties, and those that are not whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import AccelerateError, ProtocolError, RateLimited, ServerError, StreamCut
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Usage

from .support import (
    USAGE,
    WHOLE,
    chat,
    chunk,
    completion,
    decoder,
    play,
    sse,
    text_of,
)


@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_a_whole_answer(pieces: int) -> None:
    chunks, made = play(WHOLE, pieces=pieces)
    assert text_of(chunks) == "Hello é世界😀"
    assert (made.model, made.finish_reason, made.complete, made.finished) == ("m", "stop", True, True)
    assert made.usage == Usage(9, 2, cached_tokens=4, reported=True)
    assert chunks[-1].usage == made.usage
    assert [each.finish_reason for each in chunks if each.finish_reason] == ["stop"]
    assert chunks[1].raw["choices"][0]["delta"]["content"] == "Hel"


def test_cut_anywhere_before_its_end_it_is_never_whole() -> None:
    for end in range(len(WHOLE) - len("data: [DONE]\n\n")):
        made = decoder()
        made.feed(WHOLE[:end])
        received = WHOLE[: max(0, WHOLE[:end].rfind(b"\n\n"))]
        if b'"finish_reason": "stop"' in received:
            made.end()
            assert made.finish_reason == "stop"
        else:
            with pytest.raises(StreamCut):
                made.end()
            assert not made.complete


def test_without_its_terminator_it_is_whole_all_the_same() -> None:
    """Fault 11, and transformers serve: the usage rides on the chunk with the finish_reason, and then nothing."""
    chunks, made = play(sse(chunk("Hi"), chunk(finish="stop", usage=USAGE), done=False))
    assert text_of(chunks) == "Hi"
    assert made.usage.total_tokens == 11
    assert made.complete
    assert not made.finished or made.end() == []


def test_content_is_seen_with_the_first_piece_of_any_kind() -> None:
    for delta in (
        {"content": "a"},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0}]},
    ):
        made = decoder()
        made.feed(sse(chunk(delta={"role": "assistant", "content": ""}), done=False))
        assert not made.content_seen
        made.feed(sse(chunk(delta=delta), done=False))
        assert made.content_seen


def test_tool_calls_in_pieces() -> None:
    deltas: list[dict[str, Any]] = [
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]},
        {"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "g", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
    ]
    chunks, _ = play(sse(*[chunk(delta=delta) for delta in deltas], chunk(finish="tool_calls")))
    collector = Collector()
    for each in chunks:
        collector.add(each)
    reply = collector.reply()
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("call_1", "f", '{"x":1}'),
        ("call_2", "g", "{}"),
    ]
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "calls",
    [
        [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "b", "function": {"name": "g"}}],
        [{"index": None, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}, {"id": "b", "index": 1}],
    ],
    ids=["whole, no index, arguments as an object", "null index"],
)
def test_tool_calls_of_servers_that_take_liberties(calls: list[Any]) -> None:
    chunks, _ = play(sse(chunk(delta={"tool_calls": calls}), chunk(finish="tool_calls")))
    found = [call for each in chunks for call in each.tool_calls]
    assert [(call.index, call.id) for call in found] == [(0, "a"), (1, "b")]
    assert json.loads(found[0].arguments) == {"x": 1}


def test_tool_calls_without_an_index_are_not_run_together() -> None:
    """Two whole calls in one delta, well-formed but for the index: their arguments must not be joined."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"y":2}'}},
    ]
    chunks, _ = play(sse(chunk(delta={"tool_calls": calls}), chunk(finish="tool_calls")))
    collector = Collector()
    for each in chunks:
        collector.add(each)
    assert [(call.id, call.arguments) for call in collector.reply().tool_calls] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_reasoning_refusals_and_log_probabilities() -> None:
    odd = chunk("a")
    odd["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1.0}]}
    chunks, _ = play(
        sse(chunk(delta={"reasoning_content": "hm"}), chunk(delta={"refusal": "no"}), odd, chunk(finish="stop"))
    )
    assert "".join(each.reasoning for each in chunks) == "hm"
    assert "".join(each.refusal for each in chunks) == "no"
    assert chunks[2].raw["choices"][0]["logprobs"]["content"][0]["logprob"] == -1.0


def test_plain_completions() -> None:
    events = [{"choices": [{"index": 0, "text": text}], "model": "m"} for text in ("Once", " upon")]
    end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": USAGE}
    chunks, made = play(sse(*events, end, done=False), completion(stream=True))
    assert text_of(chunks) == "Once upon"
    assert made.finish_reason == "length"
    assert made.usage.output_tokens == 2


# --- liberties ---------------------------------------------------------------------------------------------------


def test_an_empty_finish_reason_is_none() -> None:
    """Several servers send ``"finish_reason": ""`` with every chunk: a cut after the first is still a cut."""
    made = decoder()
    made.feed(sse(chunk("a", finish=""), done=False))
    assert not made.complete
    made.feed(sse(chunk("b", finish=""), done=False))
    with pytest.raises(StreamCut):
        made.end()


def test_a_finish_reason_said_twice_ends_one_choice_and_not_two() -> None:
    made = decoder(chat(stream=True, n=2))
    made.feed(sse(chunk("a"), chunk("b", index=1), chunk(finish="stop"), chunk(finish="stop"), done=False))
    assert not made.complete
    with pytest.raises(StreamCut):
        made.end()


def test_all_choices_must_end() -> None:
    made = decoder(chat(stream=True, n=3))
    made.feed(sse(*[chunk(finish="stop", index=index) for index in range(2)], done=False))
    assert not made.complete
    made.feed(sse(chunk(finish="length", index=2), done=False))
    assert made.complete
    assert made.finish_reason == "stop"


def test_several_choices_in_one_chunk() -> None:
    both = chunk("a")
    both["choices"].append({"index": 1, "delta": {"content": "b"}, "finish_reason": None})
    chunks, _ = play(sse(both, chunk(finish="stop")))
    assert [(each.index, each.text) for each in chunks[:2]] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"delta": {"content": [{"type": "text", "text": "a"}]}}]},
        {"choices": [{"delta": {"content": "a"}, "index": 0.0}]},
        {"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 3.0, "completion_tokens": 1.0}},
        {"choices": [{"delta": {"content": "a"}}], "model": None, "created": "now"},
        {"choices": [{"delta": {"content": "a"}}], "error": None},
        {"choices": [{"delta": {"content": "a"}, "finish_reason": None}], "usage": None, "x": {"y": 1}},
    ],
)
def test_shapes_that_are_not_the_specifications_are_read(odd: dict[str, Any]) -> None:
    chunks, made = play(sse(odd, chunk("b"), chunk(finish="stop")))
    assert text_of(chunks) == "ab"
    assert made.skipped == 0


def test_details_of_the_usage_survive_a_shape_that_is_not_the_specifications() -> None:
    odd = {**chunk(), "choices": [], "usage": {**USAGE, "prompt_tokens": 9.0}}
    _, made = play(sse(chunk("a", finish="stop"), odd))
    assert made.usage == Usage(9, 2, cached_tokens=4, reported=True)


def test_events_that_hold_no_content_and_cannot_be_read_are_skipped_and_counted() -> None:
    chunks, made = play(sse(chunk("a"), "{not json", "42", '"hello"', "null", chunk("b"), chunk(finish="stop")))
    assert text_of(chunks) == "ab"
    assert made.skipped == 4


@pytest.mark.parametrize(
    "broken",
    [
        '{"choices":[{"delta":{"content":"b',
        '{"choices":[{"delta":{"content":"\x01"}}]}',
        '{"choices": 5, "delta": {"content": "b"}}',
        '{"choices":[{"delta":{"content":{"a":"b"}}}]}',
    ],
)
def test_a_piece_of_content_that_cannot_be_read_is_an_error_and_not_a_gap(broken: str) -> None:
    made = decoder()
    made.feed(sse(chunk("a"), done=False))
    with pytest.raises(ProtocolError):
        made.feed(sse(broken, chunk("c"), done=False))


def test_a_body_that_is_no_event_stream_is_not_an_empty_answer() -> None:
    for body in (b"", b"Internal Server Error", b'{"choices": []}', b"\n\n\n", b": only comments\n\n"):
        made = decoder()
        made.feed(body)
        with pytest.raises(AccelerateError):
            made.end()


def test_only_a_terminator_is_not_an_answer() -> None:
    """A model that failed behind a proxy: 200 and ``[DONE]``. Nothing was said, so nothing is complete."""
    made = decoder()
    with pytest.raises(AccelerateError):
        made.feed(sse())
        made.end()


# --- errors in band ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "boom", "type": "server_error"}}, ServerError),
        ({"error": "boom"}, ServerError),
        ({"error": {"message": "boom", "code": 429}}, RateLimited),
        ({"error": {"message": "boom", "code": "rate_limit_exceeded"}, "choices": []}, RateLimited),
        (
            {"choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"message": "boom"}},
            ServerError,
        ),
        ({"object": "error", "message": "boom", "code": 500}, ServerError),
    ],
)
def test_an_error_in_band_is_raised(event: dict[str, Any], kind: type[Exception]) -> None:
    made = decoder()
    made.feed(sse(chunk("a"), done=False))
    with pytest.raises(kind, match="boom"):
        made.feed(sse(event))


def test_an_event_named_error_is_one() -> None:
    with pytest.raises(ServerError, match="boom"):
        decoder().feed(b'event: error\ndata: {"message": "boom"}\n\n')


# --- any bytes ---------------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    try:
        play(data)
    except AccelerateError:
        return
    raise AssertionError("that was no whole answer")
