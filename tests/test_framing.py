"""Framing: the SSE decoder against the standard, and both decoders against splits and limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from httpx_sse._decoders import SSEDecoder as HttpxDecoder
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.framing import JSONLinesDecoder, SSEDecoder, SSEvent

BOM = b"\xef\xbb\xbf"

# Every rule of the standard once, and every trap we know of, in one body. The last event is not terminated.
NASTY = (
    BOM
    + b": a comment first\r\n"
    + b"data: one\n\n"
    + b"data:one\r\r"
    + b"data: \xe2\x82\xac caf\xc3\xa9 \xf0\x9f\x98\x80\r\n\r\n"
    + b"data:  two spaces\ndata\ndata:\rdata: x:y\r\n\n"
    + b"\n\r\n\r\r\n"
    + b"event: ping\n\n"
    + b"event: first\nevent: named\r\ndata: {}\n\r"
    + b"id: 7\ndata: has id\n\n"
    + b"data: still id 7\n\n"
    + b"id: bad\0id\ndata: keeps 7\n\n"
    + b"id\ndata: id cleared\n\n"
    + b"retry: 1500\n\nretry: 12\ndata: waits\n\nretry: 1x\nretry: -3\nretry:\ndata: no retry\n\n"
    + b": keep-alive\n\n"
    + b"Data: wrong case\n data: leading space\nunknown: field\nunknown\n\n"
    + b"data: \xef\xbb\xbf\n\n"
    + BOM
    + b"data: not a field\n\n"
    + b"event: message\xff\xfe\ndata: \xff\x00\xfe\n\n"
    + b"data: a\ndata: b\n\n"
    + b"event: x\ndata: 1\n\nevent: y\ndata: 2\n\nevent: z\ndata: 3\n: end\n\n"
    + b"data: [DONE]\r\n\r\n"
    + b"event: cut\ndata: never seen\n"
)
NASTY_EVENTS = [
    SSEvent(b"one"),
    SSEvent(b"one"),
    SSEvent("€ café 😀".encode()),
    SSEvent(b" two spaces\n\n\nx:y"),
    SSEvent(b"{}", "named"),
    SSEvent(b"has id", "", "7"),
    SSEvent(b"still id 7", "", "7"),
    SSEvent(b"keeps 7", "", "7"),
    SSEvent(b"id cleared"),
    SSEvent(b"waits", retry=12),
    SSEvent(b"no retry"),
    SSEvent(BOM),
    SSEvent(b"\xff\x00\xfe", "message\ufffd\ufffd"),
    SSEvent(b"a\nb"),
    SSEvent(b"1", "x"),
    SSEvent(b"2", "y"),
    SSEvent(b"3", "z"),
    SSEvent(b"[DONE]"),
]


def reference(body: bytes) -> list[SSEvent]:
    """The standard's algorithm, read aloud, over the whole body as text. Surrogates stand for undecodable bytes."""
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    events: list[SSEvent] = []
    data = event_type = last_id = ""
    retry: int | None = None
    lines = re.split("\r\n|\n|\r", text)
    for line in lines[:-1]:  # what follows the last line end is not a line
        if line == "":
            if data != "":
                payload = data.removesuffix("\n").encode("utf-8", "surrogateescape")
                events.append(SSEvent(payload, _replace(event_type), _replace(last_id), retry))
            data = event_type = ""
            retry = None
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data += value + "\n"
            elif name == "event":
                event_type = value
            elif name == "id" and "\0" not in value:
                last_id = value
            elif name == "retry" and re.fullmatch("[0-9]+", value):
                retry = int(value)
    return events


def _replace(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def pieces(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def decode(reads: Sequence[bytes]) -> list[SSEvent]:
    decoder = SSEDecoder()
    return [event for read in reads for event in decoder.feed(read)]


def body_to_last_blank_line(body: bytes) -> bytes:
    end = line = 0
    for newline in re.finditer(rb"\r\n|\n|\r", body):
        if newline.start() == line:
            end = newline.end()
        line = newline.end()
    return body[:end]


LINE_END = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
CUTS = st.lists(st.integers(0, 400), max_size=12)
PAYLOAD = st.one_of(
    st.sampled_from([b"", b" ", b'{"a": 1}', b"[DONE]", "é€😀".encode(), BOM, b"\xff", b"data: x", b":", b"\0"]),
    st.binary(max_size=12).map(lambda raw: raw.translate(None, b"\r\n")),
)
FIELD = st.one_of(
    PAYLOAD.map(lambda value: b"data: " + value),
    PAYLOAD.map(lambda value: b"data:" + value),
    PAYLOAD.map(lambda value: b"event: " + value),
    PAYLOAD.map(lambda value: b"id: " + value),
    PAYLOAD.map(lambda value: b":" + value),
    st.sampled_from([b"data", b"event", b"id", b"retry", b"retry: 250", b"retry: 2s", b"datax: 1", b" data: 1"]),
    PAYLOAD,
)


@st.composite
def bodies(draw: st.DrawFn, field: st.SearchStrategy[bytes] = FIELD) -> bytes:
    body = draw(st.sampled_from([b"", b"", BOM]))
    uniform = draw(st.one_of(st.none(), LINE_END))  # real servers keep to one line end; broken proxies mix them

    def end() -> bytes:
        return uniform if uniform is not None else draw(LINE_END)

    for block in draw(st.lists(st.lists(field, max_size=4), max_size=6)):
        for line in block:
            body += line + end()
        body += end()
    return body + draw(st.sampled_from([b"", b"", b"data: cut", b"data: cut\n", b"\r", b"\n", b": c\n"]))


@given(bodies(), CUTS)
def test_any_split_decodes_as_the_standard_says(body: bytes, cuts: list[int]) -> None:
    expected = reference(body)
    assert decode([body]) == expected
    assert decode(pieces(body, cuts)) == expected


# The shapes of real providers, many to a read: these take the fast ways through the decoder.
PLAIN = st.lists(st.sampled_from([b'data: {"a": 1}', b"data: [DONE]", b"data: ", b"data:x", b": ping"]), max_size=1)
NAMED = st.sampled_from([b"event: delta", b"event: ", b"data: {}", b"data: {}", b"data: x\ndata: y", b"id: 3"])


@given(st.lists(PLAIN, max_size=12), CUTS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_runs_of_plain_events(blocks: list[list[bytes]], cuts: list[int], end: bytes) -> None:
    body = b"".join(b"".join(line + end for line in block) + end for block in blocks)
    assert decode([b": start\n\n", *pieces(body, cuts)]) == reference(body)


@given(st.lists(st.lists(NAMED, max_size=3), max_size=8), CUTS)
def test_runs_of_named_events(blocks: list[list[bytes]], cuts: list[int]) -> None:
    body = b"".join(b"".join(line + b"\n" for line in block) + b"\n" for block in blocks)
    assert decode([b"\n", *pieces(body, cuts)]) == reference(body)


# httpx-sse resets nothing on, and dispatches, blocks without data; it knows no BOM. Elsewhere it follows the standard.
AGREED = st.tuples(
    st.sampled_from([b"", b"event: delta\n", b"event: ping\n: note\n"]),
    st.sampled_from([b"", b"id: 9\n", b"id: \xc3\xa9\n", b"retry: 40\n"]),
    st.lists(
        st.sampled_from([b"data: {}", b"data:x", "data: é😀".encode(), b"data", b"data:  y"]), min_size=1, max_size=3
    ),
)


@given(st.lists(AGREED, max_size=8), st.sampled_from([b"\n", b"\r\n"]), CUTS)
def test_agrees_with_httpx_sse(blocks: list[tuple[bytes, bytes, list[bytes]]], end: bytes, cuts: list[int]) -> None:
    body = b"".join(kind + extra + b"\n".join(data) + b"\n\n" for kind, extra, data in blocks).replace(b"\n", end)
    other = HttpxDecoder()
    found = [event for line in body.decode().split(end.decode())[:-1] if (event := other.decode(line)) is not None]
    expected = [(event.data, event.event, event.id, event.retry) for event in found]
    mine = decode(pieces(body, cuts))
    assert [(event.data.decode(), event.event or "message", event.id, event.retry) for event in mine] == expected


def test_reference_reads_the_nasty_body_as_we_wrote_it_down() -> None:
    assert reference(NASTY) == NASTY_EVENTS


def test_nasty_body_cut_in_two_at_every_byte() -> None:
    for cut in range(len(NASTY) + 1):
        assert decode([NASTY[:cut], NASTY[cut:]]) == NASTY_EVENTS, cut


def test_nasty_body_byte_by_byte() -> None:
    decoder = SSEDecoder()
    events = [event for byte in NASTY for event in decoder.feed(bytes([byte]))]
    assert events == NASTY_EVENTS
    assert decoder.pending
    assert decoder.retry == 12


@given(bodies(), CUTS)
def test_split_passes_on_every_complete_byte_and_decodes_like_feed(body: bytes, cuts: list[int]) -> None:
    decoder = SSEDecoder()
    results = [decoder.split(read) for read in pieces(body, cuts)]
    assert b"".join(raw for raw, _ in results) == body_to_last_blank_line(body)
    assert [event for _, events in results for event in events] == reference(body)
    # What is passed on stands by itself: the reader behind us sees the same events.
    assert reference(b"".join(raw for raw, _ in results)) == reference(body)


def test_split_passes_an_event_on_in_the_read_that_completes_it() -> None:
    decoder = SSEDecoder()
    assert decoder.split(b": hi\n\ndata: a\n\nda") == (b": hi\n\ndata: a\n\n", [SSEvent(b"a")])
    assert decoder.split(b"ta: b\n") == (b"", [])
    assert decoder.split(b"\n") == (b"data: b\n\n", [SSEvent(b"b")])
    assert decoder.split(b"data: c\n\ndata: d\n\n") == (b"data: c\n\ndata: d\n\n", [SSEvent(b"c"), SSEvent(b"d")])


def test_an_event_ended_by_cr_does_not_wait_for_the_lf_that_may_follow() -> None:
    decoder = SSEDecoder()
    assert decoder.split(b"data: a\r\n\r") == (b"data: a\r\n\r", [SSEvent(b"a")])
    assert not decoder.pending
    assert decoder.split(b"\n") == (b"\n", [])
    assert not decoder.pending
    assert decoder.feed(b"data: b\r\n\r\n") == [SSEvent(b"b")]


@pytest.mark.parametrize(
    ("body", "pending"),
    [
        (b"", False),
        (BOM, False),
        (b"data: a\n\n", False),
        (b"data: a\r\n\r", False),
        (b"data: a\n\n\n", False),
        (b"data: a\n\n: keep-alive\n", False),
        (b"data: a\n\n: keep-al", False),
        (b"data: a\n", True),
        (b"data: a\n\ndata: b", True),
        (b"data: a\n\nd", True),
        (b"event: x\n", True),
        (b": c\nevent: x\r\n", True),
    ],
)
def test_pending_tells_a_body_that_broke_off_in_mid_event(body: bytes, pending: bool) -> None:
    for reads in ([body], pieces(body, range(len(body)))):
        decoder = SSEDecoder()
        for read in reads:
            decoder.feed(read)
        assert decoder.pending is pending
        decoder.flush()
        assert not decoder.pending


def test_flush_discards_the_unterminated_event() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"data: a\n\nid: 4\ndata: lost\n") == [SSEvent(b"a")]
    decoder.flush()
    assert decoder.feed(b"\n\ndata: b\n\n") == [SSEvent(b"b")]


def test_a_retry_of_endless_digits_is_ignored_and_leading_zeros_are_not() -> None:
    decoder = SSEDecoder()
    [event] = decoder.feed(b"retry: " + b"9" * 5000 + b"\ndata: a\n\n")
    assert event.retry is None
    [event] = decoder.feed(b"retry: " + b"0" * 5000 + b"70\ndata: a\n\n")
    assert event.retry == 70
    [event] = decoder.feed(b"retry: 0\ndata: a\n\n")
    assert event.retry == 0


# --- limits ---------------------------------------------------------------------------------------------------------


def accepts(body: bytes, reads: Sequence[bytes], max_line: int, max_event: int) -> bool:
    decoder = SSEDecoder(max_line=max_line, max_event=max_event)
    try:
        found = [event for read in reads for event in decoder.feed(read)]
    except ProtocolError:
        return False
    assert found == reference(body)
    return True


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_longest_line_allowed_passes_and_one_byte_more_does_not(end: bytes) -> None:
    for length, fits in ((40, True), (41, False)):
        body = b"data: a" + end * 2 + b"data: " + b"x" * (length - 6) + end * 2 + b"data: b" + end * 2
        for reads in ([body], pieces(body, range(len(body))), pieces(body, [30]), pieces(body, [12, 14, 50])):
            assert accepts(body, reads, 40, 1000) is fits


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_longest_event_allowed_passes_and_one_byte_more_does_not(end: bytes) -> None:
    block = b"data: 123" + end + b": comment" + end + b"data: 45" + end
    for limit, fits in ((len(block), True), (len(block) - 1, False)):
        body = b"data: a" + end * 3 + block + end + b"data: b" + end * 2
        for reads in ([body], pieces(body, range(len(body))), pieces(body, [20]), pieces(body, [9, 11, 30])):
            assert accepts(body, reads, 20, limit) is fits


@given(bodies(), CUTS, st.integers(8, 40), st.integers(8, 80))
def test_limits_do_not_depend_on_the_reads(body: bytes, cuts: list[int], max_line: int, max_event: int) -> None:
    byte_by_byte = accepts(body, pieces(body, range(len(body))), max_line, max_event)
    assert accepts(body, [body], max_line, max_event) is byte_by_byte
    assert accepts(body, pieces(body, cuts), max_line, max_event) is byte_by_byte


def test_a_line_and_a_comment_flood_that_never_end_are_cut_off_at_the_default_limits() -> None:
    for read, fits, message in (
        (b"x" * 65536, 16, "line of more than 1048576 bytes"),
        (b": ping\n" * 8192, 146, "event of more than 8388608 bytes"),
    ):
        decoder = SSEDecoder()
        for _ in range(fits):
            decoder.feed(read)
        with pytest.raises(ProtocolError, match=message):
            decoder.feed(read)


def test_many_small_events_in_one_large_read_are_within_the_limits() -> None:
    body = b"data: x\n\n" * 1000
    assert len(SSEDecoder(max_line=16, max_event=16).feed(body)) == 1000


@pytest.mark.parametrize("limits", [{"max_line": 0}, {"max_event": 0}, {"max_line": -1}])
def test_a_limit_below_one_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        SSEDecoder(**limits)


# --- JSON lines -----------------------------------------------------------------------------------------------------


def decode_lines(reads: Sequence[bytes], max_line: int = 1000) -> list[bytes]:
    decoder = JSONLinesDecoder(max_line=max_line)
    lines = [line for read in reads for line in decoder.feed(read)]
    return lines + decoder.flush()


@given(st.lists(st.tuples(PAYLOAD, st.sampled_from([b"\n", b"\r\n"])), max_size=10), PAYLOAD, CUTS)
def test_json_lines_any_split(lines: list[tuple[bytes, bytes]], last: bytes, cuts: list[int]) -> None:
    body = b"".join(line + end for line, end in lines) + last
    expected = [text for line in [line for line, _ in lines] + [last] if (text := line.strip(b" \t\r"))]
    assert decode_lines([body]) == expected
    assert decode_lines(pieces(body, cuts)) == expected


def test_json_lines_blank_lines_and_an_unterminated_last_line() -> None:
    decoder = JSONLinesDecoder()
    assert decoder.feed(b'{"a":1}\r\n\n \t\r\n{"b":2}\n{"c"') == [b'{"a":1}', b'{"b":2}']
    assert decoder.pending
    assert decoder.feed(b":3}") == []
    assert decoder.flush() == [b'{"c":3}']
    assert not decoder.pending
    assert decoder.flush() == []
    assert decoder.feed(b"\r") == []
    assert not decoder.pending


def test_json_lines_limit_does_not_depend_on_the_reads() -> None:
    for length, fits in ((20, True), (21, False)):
        body = b"{}\n" * 9 + b"x" * length + b"\n{}\n"
        for reads in ([body], pieces(body, range(len(body))), pieces(body, [30, 40])):
            if fits:
                assert len(decode_lines(reads, 20)) == 11
            else:
                with pytest.raises(ProtocolError, match="line of more than 20 bytes"):
                    decode_lines(reads, 20)


def test_json_lines_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        JSONLinesDecoder(max_line=0)
