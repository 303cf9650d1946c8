"""What the vocabulary adds to OpenAI's messages: read where servers send it, and kept from OpenAI, which refuses it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.dialects.base import WireRequest
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import RateLimited, UnsupportedOperation
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Call, Operation, RawRequest, Usage

from .support import chat, chunk, message, play, raw, read, sse

SIGNED = {"type": "thinking", "thinking": "Hm, so", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "AA"}
CALLED = {
    "id": "c1",
    "type": "function",
    "function": {"name": "f", "arguments": "{}"},
    "extra_content": {"google": {"thought_signature": "dGhvdWdodA=="}},
}

# --- what is read ------------------------------------------------------------------------------------------------


def test_signatures_and_signed_reasoning_are_read() -> None:
    found = read(chat(), message(content="Hi", tool_calls=[CALLED], thinking_blocks=[SIGNED, HIDDEN]))
    assert found.tool_calls[0].signature == "dGhvdWdodA=="
    assert found.thinking_blocks == [SIGNED, HIDDEN]


@pytest.mark.parametrize("extra", [None, {}, {"google": None}, {"google": {"thought_signature": 3}}, "x", {"other": 1}])
def test_other_things_in_their_place_are_nothing(extra: Any) -> None:
    odd = {**CALLED, "extra_content": extra}
    assert read(chat(), message(tool_calls=[odd])).tool_calls[0].signature == ""
    chunks, _ = play(sse(chunk(delta={"tool_calls": [{"index": 0, **odd}]}), chunk(finish="tool_calls")))
    assert chunks[0].tool_calls[0].signature == ""


def test_they_are_read_from_streams() -> None:
    pieces = [
        {"tool_calls": [{"index": 0, **CALLED, "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ]
    events = [chunk(delta=piece) for piece in pieces]
    collector = Collector()
    for each in play(sse(*events, chunk(finish="tool_calls")))[0]:
        collector.add(each)
    (call,) = collector.reply().tool_calls
    assert (call.signature, call.arguments) == ("dGhvdWdodA==", "{}")


@pytest.mark.parametrize(
    "pieces",
    [
        [[SIGNED, HIDDEN]],
        [
            [{"type": "thinking", "thinking": "Hm, "}],
            [{"type": "thinking", "thinking": "so", "signature": None}],
            [{"type": "thinking", "thinking": "", "signature": "c2ln"}, HIDDEN],
        ],
        [[{"type": "thinking", "thinking": "Hm, "}], [SIGNED], [HIDDEN]],
    ],
    ids=["whole", "in pieces", "in pieces and then whole"],
)
def test_a_signed_block_is_given_when_it_is_whole(pieces: list[Any]) -> None:
    events = [chunk(delta={"thinking_blocks": blocks}) for blocks in pieces]
    chunks, _ = play(sse(*events, chunk("Hi"), chunk(finish="stop")))
    assert [block for each in chunks for block in each.thinking_blocks] == [SIGNED, HIDDEN]


# --- what is sent ------------------------------------------------------------------------------------------------

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALLED], "thinking_blocks": [SIGNED]},
    {"role": "tool", "tool_call_id": "c1", "content": "no", "is_error": True},
]
PLAIN: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": "Hello"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "no"},
]
TOOL = {"type": "function", "function": {"name": "f"}}


def encoded(call: Call, backend: str = "openai", url: str | None = None) -> WireRequest:
    spec = find_backend(backend)
    return spec.dialect(url or spec.base_url, {}).encode(call)


@pytest.mark.parametrize("backend", ["openai", "groq"])
def test_the_vendors_are_sent_what_they_know_and_the_rest_is_named(backend: str) -> None:
    wire = encoded(chat(TALK, tools=[{**TOOL, "cache_control": {"type": "ephemeral"}}]), backend)
    body = json.loads(wire.body or b"")
    assert body["messages"] == PLAIN
    assert body["tools"] == [TOOL]
    assert set(wire.ignored) == {"cache_control", "extra_content", "thinking_blocks", "is_error"}


@pytest.mark.parametrize(("backend", "url"), [("openai", "http://proxy/v1"), ("llvm", None)])
def test_others_are_sent_all_of_it(backend: str, url: str | None) -> None:
    wire = encoded(chat(TALK), backend, url)
    assert json.loads(wire.body or b"")["messages"] == TALK
    assert wire.ignored == ()


def test_nothing_of_the_callers_is_changed() -> None:
    before = json.dumps(TALK)
    encoded(chat(TALK))
    assert json.dumps(TALK) == before


def test_a_plain_talk_is_sent_as_it_is() -> None:
    wire = encoded(chat(PLAIN, tools=[TOOL]))
    assert (json.loads(wire.body or b"")["messages"], wire.ignored) == (PLAIN, ())


def test_content_that_openai_cannot_be_given_is_refused() -> None:
    video = [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}]}]
    with pytest.raises(UnsupportedOperation, match="video_url"):
        encoded(chat(video))
    encoded(chat(video), "llvm")


# --- any path ----------------------------------------------------------------------------------------------------


def test_bytes_are_sent_under_their_type() -> None:
    request = RawRequest("/files", b"\x00\x01", "PUT", content_type="audio/wav")
    wire = OpenAIDialect().encode(Call(operation=Operation.RAW, request=request, request_id="r"))
    assert (wire.method, wire.body, wire.headers) == ("PUT", b"\x00\x01", {"Content-Type": "audio/wav"})


@pytest.mark.parametrize("kind", ["audio/wav", "text/plain; charset=utf-8", "application/octet-stream"])
def test_what_is_no_json_comes_as_it_is(kind: str) -> None:
    found = OpenAIDialect().decode(raw(), b"\x00 1 hello", {"content-type": kind})
    assert (found.body, found.content_type, found.raw) == (b"\x00 1 hello", kind, None)


def test_json_under_another_type_is_still_json() -> None:
    assert OpenAIDialect().decode(raw(), b'{"a": 1}', {"content-type": "text/plain"}).raw == {"a": 1}


def any_stream() -> Call:
    call = raw()
    call.stream = True
    return call


def test_events_of_any_path_come_one_by_one() -> None:
    whole = (
        b'event: image.partial\ndata: {"type": "image.partial", "b64_json": "AA"}\n\n'
        b'data: {"type": "image.completed", "usage": {"input_tokens": 1, "output_tokens": 2}}\n\n'
    )
    for pieces in (0, 1):
        chunks, decoder = play(whole, any_stream(), pieces)
        assert [each.event for each in chunks] == ["image.partial", "image.completed"]
        assert chunks[0].raw["b64_json"] == "AA"
        assert decoder.usage == Usage(1, 2, reported=True)
        assert decoder.finished


def test_an_error_among_them_is_raised() -> None:
    with pytest.raises(RateLimited):
        play(sse({"error": {"message": "slow down", "type": "rate_limit_error"}}), any_stream())
