"""Streams that are forwarded as they are, and read on the way."""

from __future__ import annotations

import pytest

from ipfs_accelerate_py.dialects.base import StreamDecoder
from ipfs_accelerate_py.errors import StreamCut

from .support import (
    WHOLE,
    chunk,
    decoder,
    play,
    sse,
    text_of,
)

# --- forwarding --------------------------------------------------------------------------------------------------


def forward(data: bytes, pieces: int, *, hide_usage: bool = False) -> tuple[bytes, StreamDecoder]:
    made = decoder()
    out = b""
    for at in range(0, len(data), pieces):
        out += b"".join(made.forward(data[at : at + pieces], hide_usage))
    return out + b"".join(made.end()), made


@pytest.mark.parametrize("pieces", [1, 5, 64, 10_000])
def test_forwarded_bytes_are_the_same_bytes_and_are_read_on_the_way(pieces: int) -> None:
    data = WHOLE.replace(b"\n\ndata", b"\n\n: keep-alive\n\ndata", 1)
    out, made = forward(data, pieces)
    assert out == data
    assert made.usage.total_tokens == 11
    assert made.finish_reason == "stop"


@pytest.mark.parametrize("pieces", [1, 40, 10_000])
def test_usage_that_nobody_asked_for_is_left_out_and_still_read(pieces: int) -> None:
    out, made = forward(WHOLE, pieces, hide_usage=True)
    assert b"prompt_tokens" not in out
    assert out.endswith(b"data: [DONE]\n\n")
    assert made.usage.total_tokens == 11
    again, _ = play(out)
    assert text_of(again) == "Hello é世界😀"


def test_a_terminator_that_was_left_out_is_added() -> None:
    out, _ = forward(WHOLE.removesuffix(b"data: [DONE]\n\n"), 10_000)
    assert out == WHOLE


def test_a_forwarded_stream_that_is_cut_gets_no_terminator() -> None:
    made = decoder()
    made.forward(sse(chunk("a"), done=False), False)
    with pytest.raises(StreamCut):
        made.end()


def test_unreadable_events_are_not_forwarded() -> None:
    out, made = forward(sse(chunk("a"), "{not json", chunk("b"), chunk(finish="stop")), 10_000)
    assert b"{not json" not in out
    assert made.skipped == 1
    again, _ = play(out)
    assert text_of(again) == "ab"
