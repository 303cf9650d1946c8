"""Streams of the Responses API: named events, and what completes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.errors import AccelerateError, ServerError, StreamCut
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Usage

from .support import (
    COMPLETED,
    EVENTS,
    decoder,
    play,
    response,
    sse,
)


@pytest.mark.parametrize("named", [True, False])
def test_a_response_as_events(named: bool) -> None:
    events = [*EVENTS, COMPLETED]
    data = b"".join(
        (f"event: {event['type']}\n" if named else "").encode() + b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    )
    chunks, made = play(data, response(stream=True))
    collector = Collector()
    for each in chunks:
        collector.add(each)
    reply = collector.reply()
    assert (reply.text, reply.reasoning, reply.finish_reason, reply.model) == (
        "Hello",
        "hm",
        "tool_calls",
        "gpt-4o-2024",
    )
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("c1", "f", '{"x":1}'),
        ("c2", "g", "{}"),
    ]
    assert made.usage == Usage(5, 6, reasoning_tokens=1, reported=True)
    assert [each.event for each in chunks] == [event["type"] for event in events]


def test_a_response_that_never_completes_is_not_whole() -> None:
    made = decoder(response(stream=True))
    made.feed(sse(*EVENTS, done=False))
    with pytest.raises(StreamCut):
        made.end()


def test_a_terminator_of_another_format_does_not_complete_a_response() -> None:
    """Proxies add ``[DONE]`` to whatever they forward, also to what was cut."""
    made = decoder(response(stream=True))
    with pytest.raises(AccelerateError):
        made.feed(sse(*EVENTS, done=True))
        made.end()


def test_responses_that_fail_or_are_incomplete() -> None:
    failed = {
        "type": "response.failed",
        "response": {"status": "failed", "error": {"code": "server_error", "message": "boom"}},
    }
    with pytest.raises(ServerError, match="boom"):
        play(sse(*EVENTS, failed, done=False), response(stream=True))
    with pytest.raises(ServerError, match="boom"):
        play(sse({"type": "error", "code": "server_error", "message": "boom"}, done=False), response(stream=True))
    cut = {
        "type": "response.incomplete",
        "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    }
    _, made = play(sse(*EVENTS, cut, done=False), response(stream=True))
    assert made.finish_reason == "length"


def test_events_nobody_knows_are_passed_on() -> None:
    unknown: list[dict[str, Any]] = [
        {"type": "response.new_thing.delta", "delta": {"a": 1}, "item_id": "x"},
        {"type": "response.mcp_call.failed", "error": None, "item_id": "x"},
        {"type": "keepalive"},
    ]
    chunks, made = play(sse(*EVENTS, *unknown, COMPLETED, done=False), response(stream=True))
    assert [each.event for each in chunks][-4:-1] == [event["type"] for event in unknown]
    assert all(each.text == "" for each in chunks[-4:-1])
    assert made.skipped == 0
