"""Google's streams: whole, in pieces, cut, blocked, and with what nobody understands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.base import StreamDecoder
from ipfs_accelerate_py.errors import (
    BackendError,
    ContentFiltered,
    ProtocolError,
    RateLimited,
    StreamCut,
    UnsupportedOperation,
)
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Call, Chunk, Operation, RawRequest, Reply, Usage

from .gemini_support import DIALECT, answer, call, chat, embed, sse

WHOLE = sse(
    answer(
        {"text": "hm", "thought": True}, finish=None, usageMetadata={"promptTokenCount": 4, "thoughtsTokenCount": 1}
    ),
    answer({"text": "Hel"}, finish=None),
    answer({"text": "lo é世界😀"}, finish=None),
    answer({"functionCall": {"id": "a", "name": "f", "args": {"x": "é"}}, "thoughtSignature": "c2ln"}, finish=None),
    answer({"functionCall": {"name": "g", "args": {}}}, finish=None),
    answer(
        {"text": ""},
        usageMetadata={"promptTokenCount": 4, "candidatesTokenCount": 3, "thoughtsTokenCount": 1, "totalTokenCount": 8},
    ),
)


def play(data: bytes, made: Call | None = None, pieces: int = 0) -> tuple[list[Chunk], StreamDecoder]:
    decoder = DIALECT.stream_decoder(made or chat(stream=True))
    found: list[Chunk] = []
    step = pieces or max(1, len(data))
    for at in range(0, len(data), step):
        found += decoder.feed(data[at : at + step])
    found += decoder.end()
    return found, decoder


def collected(chunks: list[Chunk]) -> Reply:
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    return collector.reply()


@pytest.mark.parametrize("pieces", [0, 1, 7])
def test_a_whole_stream(pieces: int) -> None:
    chunks, decoder = play(WHOLE, pieces=pieces)
    reply = collected(chunks)
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello é世界😀", "hm", "tool_calls")
    assert [(each.name, each.arguments, each.signature) for each in reply.tool_calls] == [
        ("f", '{"x":"é"}', "c2ln"),
        ("g", "{}", ""),
    ]
    assert reply.tool_calls[0].id == "a"
    assert reply.usage == decoder.usage == Usage(4, 4, reasoning_tokens=1, reported=True)
    assert (decoder.model, decoder.complete, decoder.finished) == ("gemini-2.5-flash", True, True)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_calls"]
    assert chunks[1].raw["candidates"][0]["content"]["parts"] == [{"text": "Hel"}]


def test_cut_anywhere_before_its_end_it_is_never_whole() -> None:
    last = WHOLE.rfind(b"data: ")
    for end in range(0, len(WHOLE) - 2, 3):
        decoder = DIALECT.stream_decoder(chat(stream=True))
        decoder.feed(WHOLE[:end])
        if decoder.complete:
            assert end > last
            continue
        with pytest.raises(StreamCut):
            decoder.end()


def test_content_is_seen_with_the_first_piece_of_any_kind() -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    for part in ({"text": "a"}, {"text": "a", "thought": True}, {"functionCall": {"name": "f"}}, image):
        decoder = DIALECT.stream_decoder(chat(stream=True))
        decoder.feed(sse({"usageMetadata": {"promptTokenCount": 1}}, answer({"text": ""}, finish=None)))
        assert not decoder.content_seen
        decoder.feed(sse(answer(part, finish=None)))
        assert decoder.content_seen


def test_several_candidates() -> None:
    def event(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": index, "content": {"parts": [{"text": text}]}}
        return {"candidates": [{**candidate, "finishReason": finish} if finish else candidate]}

    events = [event(0, "a"), event(1, "b", "STOP"), event(0, "c", "MAX_TOKENS")]
    chunks, decoder = play(sse(*events), chat(stream=True, n=2))
    assert [(chunk.index, chunk.text) for chunk in chunks] == [(0, "a"), (1, "b"), (0, "c")]
    assert collected(chunks).finish_reason == "length"
    assert decoder.complete
    with pytest.raises(StreamCut):
        play(sse(*events[:2]), chat(stream=True, generation_config={"candidate_count": 2}))
    play(sse(event(0, "a", "STOP")), chat(stream=True, n=2))  # fewer may come than were asked for


def test_counts_that_come_after_the_end() -> None:
    chunks, decoder = play(sse(answer({"text": "x"}), {"usageMetadata": {"promptTokenCount": 7}}))
    assert collected(chunks).usage.input_tokens == decoder.usage.input_tokens == 7


def test_a_blocked_prompt() -> None:
    with pytest.raises(ContentFiltered, match="SAFETY"):
        play(sse({"promptFeedback": {"blockReason": "SAFETY"}}))


@pytest.mark.parametrize("listed", [False, True])
def test_an_error_in_band(listed: bool) -> None:
    error: Any = {"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}
    data = sse(answer({"text": "a"}, finish=None), [error] if listed else error)
    decoder = DIALECT.stream_decoder(chat(stream=True))
    assert decoder.feed(data)[0].text == "a"
    assert isinstance(decoder.error, RateLimited)
    with pytest.raises(RateLimited):
        decoder.end()


def test_events_that_cannot_be_read() -> None:
    end = sse(answer({"text": "x"}))
    chunks, decoder = play(b"data: {nonsense\n\ndata: 5\n\n: ping\n\n" + end)
    assert (collected(chunks).text, decoder.skipped) == ("x", 2)
    with pytest.raises(ProtocolError, match="not whole"):
        play(b'data: {"candidates": [{"content": {"parts": [{"te\n\n' + end)
    for odd in ({"candidates": 5}, {"candidates": [5]}, answer({"text": 5}), answer({"functionCall": "x"})):
        with pytest.raises(BackendError):
            play(sse(odd) + end)


def test_what_nobody_knows_does_no_harm() -> None:
    event = answer({"text": "x", "new": {"a": 1}}, {"hologram": {}}, new=[1])
    event["candidates"][0]["new"] = {}
    chunks, _ = play(sse({"new": True}, event))
    assert collected(chunks).text == "x"


def test_a_forwarded_stream_is_verbatim() -> None:
    decoder = DIALECT.stream_decoder(chat(stream=True))
    out = b"".join(part for at in range(0, len(WHOLE), 11) for part in decoder.forward(WHOLE[at : at + 11]))
    assert out + b"".join(decoder.end()) == WHOLE
    assert decoder.usage.total_tokens == 8


def test_raw_streams_and_none() -> None:
    made = call(Operation.RAW, RawRequest("/x"), stream=True)
    chunks, decoder = play(sse({"a": 1}, {"usageMetadata": {"promptTokenCount": 2}}), made)
    assert (next(json.loads(chunk.data) for chunk in chunks), decoder.usage.input_tokens) == ({"a": 1}, 2)
    with pytest.raises(RateLimited):
        play(sse({"error": {"code": 429, "message": "x"}}), made)
    with pytest.raises(UnsupportedOperation):
        DIALECT.stream_decoder(embed("a"))
