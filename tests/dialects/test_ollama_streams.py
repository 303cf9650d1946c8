"""Ollama's streams: JSON lines, split anywhere, cut, spoilt, forwarded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py import errors as e
from ipfs_accelerate_py.dialects.base import StreamDecoder
from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Call, Chunk, Reply

from .support import chat, completion, embed, raw
from .test_ollama_answers import END, HEAD, message, read

CALLS = [{"function": {"name": "f", "arguments": {"x": 1}}}, {"function": {"name": "g", "arguments": {}}}]


def line(content: str = "", **fields: Any) -> dict[str, Any]:
    return {**HEAD, "message": {"role": "assistant", "content": content, **fields}, "done": False}


def lines(*events: Any) -> bytes:
    return b"".join(
        event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode() + b"\n"
        for event in events
    )


WHOLE = lines(
    line(thinking="Hm, "),
    line(thinking="é."),
    line("Hel"),
    line("lo 世界😀"),
    line(tool_calls=CALLS[:1]),
    line(tool_calls=CALLS[1:]),
    message(),
)


def decoder(call: Call | None = None) -> StreamDecoder:
    return OllamaDialect().stream_decoder(call or chat(stream=True))


def play(data: bytes, call: Call | None = None, step: int = 0) -> tuple[list[Chunk], StreamDecoder]:
    made = decoder(call)
    found: list[Chunk] = []
    for at in range(0, len(data), step or len(data)):
        found += made.feed(data[at : at + (step or len(data))])
    found += made.end()
    return found, made


def whole(chunks: list[Chunk]) -> Reply:
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    return collector.reply()


def test_a_stream_adds_up_to_the_unary_answer() -> None:
    chunks, made = play(WHOLE)
    reply = whole(chunks)
    unary = read(chat(stream=True), message(content="Hello 世界😀", thinking="Hm, é.", tool_calls=CALLS))
    for name in ("text", "reasoning", "tool_calls", "finish_reason", "usage", "model"):
        assert getattr(reply, name) == getattr(unary, name), name
    assert (made.complete, made.finished, made.skipped) == (True, True, 0)
    assert (made.usage, made.finish_reason, made.model) == (unary.usage, "tool_calls", "llama3")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_bytes_may_be_split_anywhere(step: int) -> None:
    assert play(WHOLE, step=step)[0] == play(WHOLE)[0]
    assert play(WHOLE.replace(b"\n", b"\r\n"), step=step)[0] == play(WHOLE)[0]


def test_a_stream_cut_at_any_byte_is_never_complete() -> None:
    end = WHOLE.rindex(b"\n")
    for at in range(end):
        made = decoder()
        made.feed(WHOLE[:at])
        with pytest.raises((e.StreamCut, e.ProtocolError)):
            made.end()
    assert play(WHOLE[:end])[0] == play(WHOLE)[0]  # the last line needs no end


def test_a_generated_text() -> None:
    data = lines(
        {**HEAD, "thinking": "Hm.", "response": ""}, {**HEAD, "response": "Once"}, {**HEAD, "response": "", **END}
    )
    chunks, made = play(data, completion(stream=True))
    reply = whole(chunks)
    assert (reply.text, reply.reasoning, reply.finish_reason, reply.usage.input_tokens) == ("Once", "Hm.", "stop", 9)
    assert made.finished


def test_content_is_seen_with_the_first_piece_of_it() -> None:
    made = decoder()
    made.feed(lines(line(), {**HEAD, "status": "loading"}))
    assert not made.content_seen
    made.feed(lines(line(thinking="H")))
    assert made.content_seen
    assert not made.complete


def test_a_load_says_so() -> None:
    chunks, _ = play(lines({**message(), "done_reason": "load"}))
    assert whole(chunks).finish_reason == "load"


def test_unknown_fields_and_lines_are_kept() -> None:
    chunks, _ = play(lines({**HEAD, "news": 1}, {**line("a"), "x": 2}, message(), line("after the end")))
    assert [chunk.raw.get("news") for chunk in chunks] == [1, None, None]
    assert whole(chunks).text == "a"


@pytest.mark.parametrize("bad", [b"{oops\n", b'["a"]\n', b"5\n", b"\xff\n"])
def test_a_line_that_cannot_be_read_and_holds_no_content_is_counted(bad: bytes) -> None:
    chunks, made = play(lines(line("a"), bad, line("b"), message()))
    assert (whole(chunks).text, made.skipped) == ("ab", 1)


@pytest.mark.parametrize(
    "bad",
    [
        b'{"message":{"content":"b\n',
        b'{"response":\n',
        lines({**HEAD, "message": {"content": 5}}),
        lines({**HEAD, "message": "b"}),
        lines(line(tool_calls=["f"])),
    ],
)
def test_a_missing_piece_is_an_error(bad: bytes) -> None:
    with pytest.raises(e.ProtocolError):
        play(lines(line("a"), bad, line("c"), message()))


def test_an_error_in_band_comes_after_what_was_before_it() -> None:
    made = decoder()
    chunks = made.feed(lines(line("a"), {"error": "the model has crashed"}, message()))
    assert whole(chunks).text == "a"
    assert isinstance(made.error, e.ServerError)
    with pytest.raises(e.ServerError, match="crashed"):
        made.end()
    with pytest.raises(e.ModelNotFound):
        decoder().feed(lines({"error": "model 'x' not found"}))


def test_a_forwarded_stream_is_verbatim() -> None:
    made = decoder()
    bad = b"{oops\n"
    data = lines(line("a"), bad, {**line("b"), "x": 2}, message())
    passed = b"".join(piece for at in range(0, len(data), 5) for piece in made.forward(data[at : at + 5]))
    assert passed == data.replace(bad, b"")
    assert made.end() == []
    assert (made.usage.total_tokens, made.skipped) == (12, 1)


def test_embeddings_do_not_stream() -> None:
    with pytest.raises(e.UnsupportedOperation):
        decoder(embed("a"))
    call = embed("a")
    call.stream = True
    with pytest.raises(e.UnsupportedOperation):
        OllamaDialect().encode(call)


# --- lines of its own --------------------------------------------------------------------------------------------


def test_the_statuses_of_a_pull() -> None:
    data = lines(
        {"status": "pulling manifest"}, {"status": "pulling 0", "total": 2, "completed": 1}, {"status": "success"}
    )
    for step in (1, 0):
        chunks, made = play(data, raw(), step)
        assert [chunk.raw["status"] for chunk in chunks] == ["pulling manifest", "pulling 0", "success"]
        assert made.finished
    with pytest.raises(e.StreamCut):
        play(data[: data.rindex(b'{"status"')], raw())
    with pytest.raises(e.ModelNotFound):
        play(lines({"error": "pull model manifest: file does not exist"}), raw())
    with pytest.raises(e.StreamCut):
        decoder(raw()).end()


def test_lines_of_any_other_kind_end_with_the_body() -> None:
    chunks, made = play(lines({"a": 1}, b"7\n", b"{oops\n") + b"[2]", raw())
    assert [chunk.data for chunk in chunks] == [b'{"a": 1}', b"7", b"[2]"]
    assert (made.finished, made.skipped) == (True, 1)
    with pytest.raises(e.StreamCut):
        play(lines({"done": False, "response": "a"}), raw())
