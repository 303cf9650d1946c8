"""Streaming answers in Anthropic's format: whole ones, and those that are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.anthropic.dialect import AnthropicDialect
from ipfs_accelerate_py.errors import (
    AccelerateError,
    ProtocolError,
    RateLimited,
    ServerError,
    StreamCut,
    UnsupportedOperation,
)
from ipfs_accelerate_py.framing import SSEDecoder
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Call, Chunk, Operation, RawRequest, Reply, Usage

from .anthropic_support import (
    PING,
    REDACTED,
    THINKING,
    WHOLE,
    block,
    counting,
    decoder,
    ending,
    events,
    play,
    start,
    text,
    thought,
    tool,
)
from .support import places, replaced
from .test_openai_fuzz import json_values


def collected(chunks: list[Chunk]) -> Reply:
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    return collector.reply()


@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_a_whole_answer(pieces: int) -> None:
    chunks, made = play(WHOLE, pieces)
    reply = collected(chunks)
    assert reply.text == "Hello é世界😀"
    assert (reply.reasoning, reply.thinking_blocks) == ("Hm. So.", [THINKING, REDACTED])
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("toolu_1", "f", '{"x":1}'),
        ("toolu_2", "g", "{}"),
    ]
    assert (made.model, made.finish_reason, reply.finish_reason) == (
        "claude-haiku-4-5-20251001",
        "tool_calls",
        "tool_calls",
    )
    assert (made.complete, made.finished, made.skipped) == (True, True, 0)
    counts = Usage(59, 7, cached_tokens=30, cache_write_tokens=20, reasoning_tokens=4, reported=True)
    assert made.usage == reply.usage == counts
    assert all(chunk.raw["type"] == chunk.event for chunk in chunks)


def test_cut_anywhere_before_its_end_it_is_never_whole() -> None:
    reason = WHOLE.index(b'"stop_reason": "tool_use"')
    known = WHOLE.index(b"\n\n", reason) + 2
    for end in range(len(WHOLE)):
        made = decoder()
        made.feed(WHOLE[:end])
        if end >= known:
            made.end()
            assert made.finish_reason == "tool_calls"
        else:
            with pytest.raises(StreamCut):
                made.end()


def test_counts_of_the_end_take_the_place_of_those_of_the_beginning() -> None:
    _, made = play(events(start(), *text(0, "Hi"), *ending(input_tokens=11, cache_read_input_tokens=None)))
    assert (made.usage.input_tokens, made.usage.cached_tokens, made.usage.output_tokens) == (61, 30, 7)
    begun = decoder()
    begun.feed(events(start()))
    assert begun.usage.input_tokens == 59  # known, should the caller leave before the end


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ([start()], False),
        ([start(), PING], False),
        ([start(), {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}], False),
        ([start(), *text(0, "a")], True),
        ([start(), *thought(0, "a")], True),
        ([start(), *block(0, REDACTED)], True),
        ([start(), *tool(0, "t", "f")], True),
    ],
)
def test_content_is_seen_with_the_first_piece_of_any_kind(given: list[dict[str, Any]], seen: bool) -> None:
    made = decoder()
    made.feed(events(*given))
    assert made.content_seen is seen


def test_reasoning_that_is_not_shown_is_signed_all_the_same() -> None:
    chunks, _ = play(events(start(), *thought(0, signature="abc"), *text(1, "Hi"), *ending()))
    assert collected(chunks).thinking_blocks == [{"type": "thinking", "thinking": "", "signature": "abc"}]


def test_input_that_comes_with_its_start() -> None:
    given = {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}}
    chunks, _ = play(events(start(), *block(0, given), *ending("tool_use")))
    assert [call.arguments for call in collected(chunks).tool_calls] == ['{"x":1}']


def test_a_refusal_is_explained() -> None:
    end = ending("refusal")
    end[0]["delta"]["stop_details"] = {"type": "refusal", "explanation": "No."}
    reply = collected(play(events(start(), *end))[0])
    assert (reply.refusal, reply.finish_reason) == ("No.", "content_filter")


def test_what_is_not_known_yet_is_passed_over() -> None:
    given = [
        start(),
        {"type": "something_new", "index": 0},
        *block(0, {"type": "server_tool_use", "id": "s"}, {"type": "input_json_delta", "partial_json": "{}"}),
        *block(1, {"type": "web_search_tool_result", "content": []}),
        *block(2, {"type": "text", "text": "H"}, {"type": "citations_delta", "citation": {}}, {"type": "new_delta"}),
        *ending(),
    ]
    chunks, made = play(events(*given))
    reply = collected(chunks)
    assert (reply.text, reply.tool_calls, made.skipped) == ("H", [], 0)
    assert any("citation" in chunk.raw.get("delta", {}) for chunk in chunks)


# --- broken ones -------------------------------------------------------------------------------------------------


def error(kind: str, message: str = "Overloaded") -> bytes:
    return events({"type": "error", "error": {"type": kind, "message": message}})


def test_an_error_in_band() -> None:
    with pytest.raises(ServerError, match="Overloaded") as caught:
        play(events(start()) + error("overloaded_error"))
    assert (caught.value.status, caught.value.type, caught.value.outage) == (529, "overloaded_error", True)
    made = decoder()
    assert made.feed(events(start(), *text(0, "Hi")) + error("rate_limit_error"))
    assert isinstance(made.error, RateLimited)
    with pytest.raises(RateLimited):
        made.end()
    with pytest.raises(ServerError, match="No name"):
        decoder().feed(b'data: {"type":"error","error":{"message":"No name"}}\n\n')


def test_an_unreadable_event_is_skipped_unless_it_held_a_piece_of_the_answer() -> None:
    chunks, made = play(events(start()) + b"event: ping\ndata: {oh\n\ndata: 5\n\n" + events(*text(0, "Hi"), *ending()))
    assert (collected(chunks).text, made.skipped) == ("Hi", 2)
    with pytest.raises(ProtocolError, match="not whole"):
        decoder().feed(b'data: {"type":"content_block_delta","delta":{"text":"H\n\n')
    with pytest.raises(ProtocolError, match="neither text"):
        play(events(start(), *text(0, "Hi")).replace(b'"Hi"', b"5"))


def test_without_its_terminator_it_is_whole_all_the_same() -> None:
    _, made = play(events(start(), *text(0, "Hi"), ending()[0]))
    assert (made.complete, made.finished, made.finish_reason) == (True, True, "stop")
    with pytest.raises(StreamCut):
        play(events({"type": "message_stop"}))
    with pytest.raises(StreamCut):
        play(b"")


def test_counting_has_no_stream() -> None:
    with pytest.raises(UnsupportedOperation):
        AnthropicDialect().stream_decoder(counting())


# --- forwarded and raw -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 7, 10_000])
def test_a_forwarded_stream_is_the_same_bytes(pieces: int) -> None:
    made = decoder()
    out = b""
    for at in range(0, len(WHOLE), pieces):
        out += b"".join(made.forward(WHOLE[at : at + pieces]))
    assert out + b"".join(made.end()) == WHOLE
    assert (made.finish_reason, made.usage.output_tokens, made.content_seen) == ("tool_calls", 7, True)


def test_a_forwarded_stream_is_given_the_terminator_that_it_lacks() -> None:
    made = decoder()
    made.forward(events(start(), *text(0, "Hi"), ending()[0]))
    assert SSEDecoder().feed(b"".join(made.end()))[0].event == "message_stop"


def test_a_raw_stream_is_its_events_or_lines() -> None:
    call = Call(operation=Operation.RAW, request=RawRequest("/x"), request_id="r", stream=True)
    for data, names in (
        (WHOLE, ["message_start", "ping"]),
        (b'{"a": 1}\n{"a": 2}', ["", ""]),
        (b'\xef\xbb\xbfdata: {"a": 1}\n\ndata: {"a": 2}\n\ndata: [DONE]\n\n', ["", ""]),
    ):
        made = AnthropicDialect().stream_decoder(call)
        chunks: list[Chunk] = []
        for at in range(len(data)):
            chunks += made.feed(data[at : at + 1])
        chunks += made.end()
        assert [chunk.event for chunk in chunks][:2] == names
        assert all(chunk.raw for chunk in chunks)
        assert made.finished


# --- whatever comes ----------------------------------------------------------------------------------------------

EVENTS: list[dict[str, Any]] = [json.loads(event.data) for event in SSEDecoder().feed(WHOLE)]


@given(json_values, st.sampled_from(list(places(EVENTS))))
def test_whatever_an_event_holds_the_caller_gets_chunks_or_an_error_of_ours(value: Any, path: tuple[Any, ...]) -> None:
    spoilt = replaced(EVENTS, path, value)
    data = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in spoilt)
    try:
        chunks, made = play(data)
    except AccelerateError:
        return
    assert made.complete
    assert isinstance(made.model, str)
    assert sum(made.usage.classes().values()) == made.usage.total_tokens >= 0
    reply = collected(chunks)
    assert isinstance(reply.text + reply.reasoning + reply.refusal + reply.model, str)
    assert all(isinstance(call.id + call.name + call.arguments, str) for call in reply.tool_calls)
