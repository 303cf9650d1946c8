"""OPEA's streams: the repr of bytes, OpenAI's chunks, and what neither of them may hide."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.opea.dialect import OpeaDialect
from ipfs_accelerate_py.dialects.opea.stream import bytes_of
from ipfs_accelerate_py.errors import BackendError, ProtocolError, ServerError, StreamCut, UnsupportedOperation
from ipfs_accelerate_py.types import Chunk

from .support import chunk, embed
from .test_opea_requests import chat

DONE = b"data: [DONE]\n\n"


def pieces(*values: bytes) -> bytes:
    """Events as OPEA's generators write them."""
    return b"".join(f"data: {value!r}\n\n".encode() for value in values)


def chunks(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


def play(data: bytes, step: int = 0) -> tuple[list[Chunk], Any]:
    decoder = OpeaDialect().stream_decoder(chat(stream=True))
    found: list[Chunk] = []
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        found += decoder.feed(data[at : at + step])
    found += decoder.end()
    return found, decoder


def text_of(data: bytes, step: int = 0) -> str:
    return "".join(each.text for each in play(data, step)[0])


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_text_comes_as_the_repr_of_bytes_split_anywhere(step: int) -> None:
    words = ["Hel", "lo", " it's", ' "so"', "\n\tnaïve", " 世界 😀", "\\n", "b'x'"]
    assert text_of(pieces(*(word.encode() for word in words)) + DONE, step) == "".join(words)


@given(st.text(max_size=40), st.integers(1, 5))
def test_a_character_may_lie_in_two_events(text: str, size: int) -> None:
    text = "x" + text.replace("{", "(")
    data = text.encode("utf-8", "replace")
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    assert text_of(pieces(*cut) + DONE) == data.decode()


def test_the_end_is_said_as_the_service_says_it_of_whole_answers() -> None:
    found, decoder = play(pieces(b"", b"Hi") + DONE)
    assert [(each.text, each.finish_reason) for each in found] == [("Hi", None), ("", "stop")]
    assert (decoder.finish_reason, decoder.complete, decoder.finished) == ("stop", True, True)
    assert decoder.usage.reported is False
    assert found[0].raw == {}


def test_a_model_that_fails_is_an_error_and_not_an_empty_answer() -> None:
    for body in (DONE, pieces(b"") + DONE, pieces(b"", b"") + DONE):
        with pytest.raises(ServerError, match="model behind it has failed") as raised:
            play(body)
        assert (raised.value.retryable, raised.value.outage) == (True, True)


def test_a_stream_without_its_end_is_not_taken_for_whole() -> None:
    for body in (b"", pieces(b"Hi"), pieces(b"Hi") + b"data: [DO"):
        with pytest.raises(StreamCut):
            play(body)


def test_a_character_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="middle of a character"):
        play(pieces(b"Hi", "é".encode()[:1]) + DONE)
    with pytest.raises(ProtocolError, match="UTF-8"):
        play(pieces(b"Hi", b"\xff\xff") + DONE)


def test_text_that_was_only_put_between_quotes_is_read_as_it_is() -> None:
    """The orchestrator writes answers that did not come from a model that way, without escaping anything."""
    assert text_of("data: b'It's naïve'\n\n".encode() + DONE) == "It's naïve"


@pytest.mark.parametrize(
    "event",
    [
        b"b'broken",
        b"b'",
        b"b'a' b'c' + 1",
        b"__import__('os').system('true')",
        b"b'' if True else b''",
        b"hello",
        b"rb'x'",
        b"[1]",
    ],
)
def test_nothing_is_evaluated_and_what_cannot_be_read_is_no_gap(event: bytes) -> None:
    if event.startswith(b"b'") and event.endswith(b"'") and len(event) > 2:
        assert bytes_of(event) == event[2:-1]  # a text between quotes, as above
        return
    with pytest.raises(ProtocolError):
        play(pieces(b"Hi") + b"data: " + event + b"\n\n" + DONE)


def test_openai_s_chunks_are_read_too() -> None:
    data = chunks(chunk(delta={"role": "assistant", "content": ""}), chunk("Hel"), chunk("lo"), chunk(finish="length"))
    found, decoder = play(data + DONE)
    assert "".join(each.text for each in found) == "Hello"
    assert (decoder.finish_reason, decoder.model, decoder.usage.reported) == ("length", "m", False)
    # Complete by its finish reason; the terminator tells nothing new.
    assert "".join(each.text for each in play(data)[0]) == "Hello"
    zeros = {**chunk(), "choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}
    assert play(data + chunks(zeros) + DONE)[1].usage.reported is False
    counts = {**chunk(), "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}
    assert play(data + chunks(counts) + DONE)[1].usage.total_tokens == 3


def test_chunks_that_a_megaservice_could_not_read_are_read_here() -> None:
    """Its adapter passes on, as though it were text, the JSON of a chunk that it did not understand."""
    role = json.dumps(chunk(delta={"role": "assistant", "content": None})).encode()
    last = json.dumps(chunk(finish="length")).encode()
    found, decoder = play(pieces(role, b"Hi", last, b"") + DONE)
    assert ("".join(each.text for each in found), decoder.finish_reason) == ("Hi", "length")
    assert text_of(pieces(b'{"answer": 42}') + DONE) == '{"answer": 42}'  # an answer in JSON is an answer


@pytest.mark.parametrize(
    "body",
    [
        chunks({"error": {"message": "out of memory", "code": 500}}),
        pieces(b'{"error": {"message": "out of memory", "code": 500}}'),
        pieces(b'{"object": "error", "message": "out of memory", "code": 500}'),
    ],
)
def test_errors_in_band_are_raised_in_either_form(body: bytes) -> None:
    with pytest.raises(ServerError, match="out of memory"):
        play(body + DONE)
    decoder = OpeaDialect().stream_decoder(chat(stream=True))
    assert "".join(each.text for each in decoder.feed(pieces(b"Hi") + body + DONE)) == "Hi"
    assert isinstance(decoder.error, BackendError)


def test_an_event_that_holds_nothing_is_skipped_and_counted() -> None:
    found, decoder = play(pieces(b"Hi") + b'data: {"x":\n\n' + pieces(b" you") + DONE)
    assert ("".join(each.text for each in found), decoder.skipped) == ("Hi you", 1)


def test_what_does_not_stream_says_so() -> None:
    with pytest.raises(UnsupportedOperation, match="embed"):
        OpeaDialect().stream_decoder(embed("x"))
