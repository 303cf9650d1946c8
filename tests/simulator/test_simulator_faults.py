"""Each fault, as it is seen on the socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
import zlib
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest

from ipfs_accelerate_py.simulator import FAULTS, Fault, Simulator

from .raw import CHAT, STREAM, RawClient, Time, ask, ask_in_vain, request, until

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(tokens=20) as simulator:
        yield simulator


# --- statuses ----------------------------------------------------------------------------------------------------


async def test_script_is_played_in_order_and_then_all_is_well(sim: Simulator) -> None:
    sim.script(Fault.status(429, retry_after=2), Fault.ok(), "503")
    assert [(await ask(sim)).status for _ in range(5)] == [429, 200, 503, 200, 200]
    assert sim.counts == {"429": 1, "200": 3, "503": 1}
    assert [one.fault for one in sim.requests] == ["status:code=429,retry_after=2", None, "status:code=503", None, None]


async def test_status_has_the_providers_error_body_with_nulls(sim: Simulator) -> None:
    sim.script(Fault.status(500), Fault.status(400, error_code="bad", message="No.", param="n", type="t"))
    assert (await ask(sim)).json == {
        "error": {
            "message": "The server had an error while processing your request.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
    }
    assert (await ask(sim)).json["error"] == {"message": "No.", "type": "t", "param": "n", "code": "bad"}


async def test_status_tells_when_to_retry_in_every_way_there_is(sim: Simulator) -> None:
    sim.script(
        Fault.status(429, retry_after=2),
        Fault.status(429, retry_after=0.5, retry_after_ms=250),
        Fault.status(503, should_retry=False),
        Fault.status(429, retry_after=5, http_date=True),
        Fault.status(429, headers=(("x-ratelimit-reset-requests", "6m0s"),)),
    )
    assert (await ask(sim)).headers["retry-after"] == "2"
    got = await ask(sim)
    assert (got.headers["retry-after"], got.headers["retry-after-ms"]) == ("0.5", "250")
    assert (await ask(sim)).headers["x-should-retry"] == "false"
    wait = parsedate_to_datetime((await ask(sim)).headers["retry-after"]).timestamp() - time.time()
    assert 4.9 < wait <= 6
    assert (await ask(sim)).headers["x-ratelimit-reset-requests"] == "6m0s"


async def test_status_with_a_body_of_another_kind(sim: Simulator) -> None:
    sim.script(Fault.status(502, body="<html>Bad Gateway</html>"), Fault.status(503, body="upstream gone"))
    got = await ask(sim)
    assert (got.status, got.headers["content-type"], got.body) == (
        502,
        "text/html",
        b"<html>bad gateway</html>".replace(b"bad gateway", b"Bad Gateway"),
    )
    got = await ask(sim)
    assert (got.headers["content-type"], got.body) == ("text/plain", b"upstream gone")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("context_length_exceeded", 400),
        ("content_policy_violation", 400),
        ("model_not_found", 404),
        ("insufficient_quota", 429),
    ],
)
async def test_named_errors_carry_their_code(sim: Simulator, name: str, status: int) -> None:
    sim.script(name)
    got = await ask(sim)
    assert (got.status, got.json["error"]["code"]) == (status, name)


# --- bodies ------------------------------------------------------------------------------------------------------


async def test_html_with_status_200(sim: Simulator) -> None:
    sim.script("html")
    got = await ask(sim, STREAM)
    assert (got.status, got.headers["content-type"]) == (200, "text/html")
    assert got.body.startswith(b"<!DOCTYPE html>")


async def test_json_that_is_no_object_and_an_error_with_status_200(sim: Simulator) -> None:
    sim.script("not_object", "error_200")
    got = await ask(sim)
    assert (got.status, got.json) == (200, ["ok"])
    got = await ask(sim)
    assert (got.status, list(got.json)) == (200, ["error"])


async def test_redirect(sim: Simulator) -> None:
    sim.script(Fault.redirect(to="http://127.0.0.1:1/x", code=308))
    got = await ask(sim)
    assert (got.status, got.headers["location"], got.body) == (308, "http://127.0.0.1:1/x", b"")


@pytest.mark.parametrize("fault", [Fault.big_headers(), Fault.big_headers(line=1000)])
async def test_big_headers_are_as_big_as_they_say(sim: Simulator, fault: Fault) -> None:
    plain = await ask(sim)
    sim.script(fault)
    got = await ask(sim)
    assert got.status == 200
    grown = len(got.raw) - len(plain.raw)
    assert grown == 64 * 1024


async def test_oversized_with_and_without_a_length(sim: Simulator) -> None:
    sim.script(Fault.oversized(size=300_000), Fault.oversized(size=300_000, chunked=True))
    declared = await ask(sim)
    assert declared.headers["content-length"] == "300000"
    undeclared = await ask(sim)
    assert "content-length" not in undeclared.headers
    assert len(declared.body) == len(undeclared.body) == 300_000
    assert declared.json["object"] == undeclared.json["object"] == "chat.completion"


async def test_unknown_fields_are_everywhere_and_nothing_else_changes(sim: Simulator) -> None:
    sim.script("unknown_fields", "unknown_fields")
    answer = (await ask(sim)).json
    assert answer["x_unknown"] == answer["choices"][0]["message"]["x_unknown"] == {"nested": [1, None, "?"]}
    stream = await ask(sim, STREAM)
    assert stream.events[1]["choices"][0]["delta"]["x_unknown"]
    assert stream.events[-1] == "[DONE]"
    assert "".join(stream.tokens) == answer["choices"][0]["message"]["content"]


async def test_gzip_unary_and_streaming(sim: Simulator) -> None:
    plain, plain_stream = await ask(sim), await ask(sim, STREAM)
    sim.always("gzip")
    got = await ask(sim)
    assert got.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(got.body))["choices"] == plain.json["choices"]
    async with RawClient(sim) as client:
        await client.send(request(STREAM))
        got = await client.receive()
    text = gzip.decompress(got.body)
    assert text.count(b"data: ") == plain_stream.body.count(b"data: ")
    # Each event can be read as soon as it comes.
    first = zlib.decompressobj(wbits=31).decompress(got.body[: len(got.body) // 2])
    assert first.count(b"\n\n") > 3


async def test_gzip_bomb_expands_and_is_good_gzip(sim: Simulator) -> None:
    sim.script(Fault.gzip_bomb(size=5 << 20))
    got = await ask(sim)
    assert len(got.body) < 50_000
    whole = gzip.decompress(got.body)  # checks length and checksum
    assert len(whole) > 5 << 20
    assert json.loads(whole)["object"] == "chat.completion"


async def test_gzip_bomb_stops_when_the_client_hangs_up(sim: Simulator) -> None:
    sim.script(Fault.gzip_bomb(size=1 << 40))
    got = await ask(sim, most=200_000)
    assert len(got.raw) >= 200_000
    await until(lambda: sim.in_flight == 0)
    assert sim.requests[0].aborted_by_client


# --- before the answer -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "end"), [("reset", "rst"), ("close", "fin")])
async def test_no_byte_of_an_answer(sim: Simulator, fault: str, end: str) -> None:
    sim.script(fault)
    got = await ask(sim)
    assert (got.raw, got.end) == (b"", end)
    assert (sim.requests[0].status, sim.requests[0].aborted_by_client) == (0, False)
    assert (await ask(sim)).status == 200


async def test_hang_never_answers_and_ends_with_the_client(sim: Simulator) -> None:
    sim.script("hang")
    await ask_in_vain(sim, CHAT)
    await until(lambda: sim.in_flight == 0)
    assert sim.requests[0].aborted_by_client
    assert sim.requests[0].t_end is not None


async def test_stall_sends_the_headers_and_then_nothing(sim: Simulator) -> None:
    sim.script("stall")
    got = await ask_in_vain(sim, STREAM, lambda got: got.status == 200)
    assert got.body == b""


async def test_waits_go_by_the_injected_clock() -> None:
    now = Time()
    async with Simulator(clock=now, sleep=now.sleep, latency=3.0, chunk_interval=0.5, tokens=4) as sim:
        sim.script(Fault.stall(seconds=20) + Fault.latency(7.0) + Fault.silence(after=2, seconds=11))
        got = await ask(sim, STREAM)
        assert got.end == "whole"
        # The simulator's latency, the fault's, the stall, and between the tokens either their interval or the silence.
        assert now.slept == [3.0, 7.0, 20.0, 0.5, 11.0, 0.5, 0.5]


async def test_malformed_http(sim: Simulator) -> None:
    kinds = ["status_line", "header", "lengths", "chunk", "garbage"]
    sim.script(*(Fault.malformed(kind) for kind in kinds))
    raws = [(await ask(sim, to_end=True)).raw for _ in kinds]
    assert raws[0].startswith(b"HTTP/1.1 OK 200")
    assert b"content-type application/json\r\n" in raws[1]
    assert raws[2].count(b"content-length") == 2
    assert b"\r\n\r\nzz\r\n" in raws[3]
    assert not raws[4].startswith(b"HTTP")


@pytest.mark.parametrize("fault", ["endless_chunk", "endless_line"])
@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_lines_without_end_last_as_long_as_the_client(sim: Simulator, fault: str, body: object) -> None:
    sim.script(fault)
    got = await ask(sim, body, most=500_000)
    assert b"x" * 1000 in got.raw
    await until(lambda: sim.in_flight == 0)
    assert sim.requests[0].aborted_by_client


async def test_endless_line_comes_after_its_tokens(sim: Simulator) -> None:
    sim.script(Fault.endless_line(after=3))
    got = await ask(sim, STREAM, most=300_000)
    assert got.raw.count(b'"delta":{"content":') == 3
    *_, line = got.raw.rpartition(b"data: ")
    assert line.startswith(b'{"')
    assert b"\n\n" not in line


async def test_drip_comes_byte_by_byte() -> None:
    now = Time()
    async with Simulator(clock=now, sleep=now.sleep) as sim:
        sim.script(Fault.drip(size=10, interval=0.1))
        got = await ask(sim)
        assert got.json["object"] == "chat.completion"
        # The head and the body are dripped apart from each other.
        assert len(now.slept) == -(-len(got.raw) // 10) or len(now.slept) == -(-len(got.raw) // 10) + 1
        assert now.slept == pytest.approx([0.1] * len(now.slept))


# --- in the middle of a stream -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("rst", "end"), [(False, "fin"), (True, "rst")])
async def test_cut_after_k_tokens(sim: Simulator, rst: bool, end: str) -> None:
    whole = await ask(sim, STREAM)
    sim.script(Fault.cut(after=7, rst=rst))
    got = await ask(sim, STREAM)
    assert got.end == end
    assert got.tokens == whole.tokens[:7]
    assert b"[DONE]" not in got.body
    assert not got.raw.endswith(b"0\r\n\r\n")
    assert sim.requests[1].streamed_chunks == 8  # with the role
    assert not sim.requests[1].aborted_by_client


async def test_cut_before_the_first_token_and_after_the_last(sim: Simulator) -> None:
    sim.script(Fault.cut(after=0), Fault.cut(after=1000))
    got = await ask(sim, STREAM)
    assert (got.status, got.body, got.end) == (200, b"", "fin")
    got = await ask(sim, STREAM)
    assert (len(got.tokens), got.end) == (20, "fin")
    assert b"[DONE]" not in got.body


@pytest.mark.parametrize(("rst", "end"), [(False, "fin"), (True, "rst")])
async def test_cut_of_a_unary_answer(sim: Simulator, rst: bool, end: str) -> None:
    sim.script(Fault.cut(rst=rst))
    got = await ask(sim)
    assert got.end == end
    assert len(got.body) == int(got.headers["content-length"]) // 2


async def test_silence_in_mid_stream(sim: Simulator) -> None:
    sim.always(Fault.silence(after=5))
    await ask_in_vain(sim, STREAM, lambda got: len(got.tokens) == 5)
    await until(lambda: sim.in_flight == 0)
    await ask_in_vain(sim, CHAT, lambda got: len(got.body) == int(got.headers["content-length"]) // 2)


async def test_invalid_json_as_an_event_more(sim: Simulator) -> None:
    whole = await ask(sim, STREAM)
    sim.script(Fault.bad_json(at=3))
    got = await ask(sim, STREAM)
    assert got.tokens == whole.tokens
    strange = [index for index, event in enumerate(got.events) if isinstance(event, str) and event != "[DONE]"]
    assert strange == [4]  # after the role and three tokens
    assert got.end == "whole"


async def test_invalid_json_in_place_of_content(sim: Simulator) -> None:
    whole = await ask(sim, STREAM)
    sim.script(Fault.bad_json(at=3, replace=True), Fault.bad_json())
    got = await ask(sim, STREAM)
    assert got.tokens == whole.tokens[:3] + whole.tokens[4:]
    got = await ask(sim)
    assert got.end == "whole"
    with pytest.raises(ValueError):
        json.loads(got.body)


async def test_no_done(sim: Simulator) -> None:
    sim.script("no_done", "no_done:hold")
    got = await ask(sim, {**STREAM, "stream_options": {"include_usage": True}})
    assert (len(got.tokens), got.end) == (20, "whole")
    assert got.events[-1]["usage"]["completion_tokens"] == 20
    await until(lambda: sim.in_flight == 0)
    got = await ask_in_vain(sim, STREAM, lambda got: b'"finish_reason":"stop"' in got.body)
    assert (len(got.tokens), b"[DONE]" in got.body) == (20, False)


async def test_error_in_band(sim: Simulator) -> None:
    sim.script(Fault.error_event(at=4, message="Out."), Fault.error_event(at=4, ends=False))
    got = await ask(sim, STREAM)
    assert (len(got.tokens), got.end) == (4, "whole")
    assert got.events[-1] == {"error": {"message": "Out.", "type": "server_error", "param": None, "code": None}}
    got = await ask(sim, STREAM)
    assert (len(got.tokens), got.events[-1]) == (20, "[DONE]")


async def test_error_in_band_of_responses_is_an_event_of_their_kind(sim: Simulator) -> None:
    sim.script(Fault.error_event(at=2))
    got = await ask(sim, {"model": "gpt-4o", "input": "Hi", "stream": True}, "/v1/responses")
    assert got.events[-1]["type"] == "error"
    assert [event["sequence_number"] for event in got.events] == list(range(len(got.events)))
    assert got.body.endswith(b"\n\n")
    assert b"event: error\n" in got.body


@pytest.mark.parametrize("body", [CHAT, STREAM])
@pytest.mark.parametrize("reply", [None, "plain text only"])
async def test_cut_inside_a_character(body: object, reply: str | None) -> None:
    async with Simulator(reply=reply) as sim:
        sim.script("utf8_cut", "utf8_cut:complete")
        got = await ask(sim, body)
        assert got.end == "fin"
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            got.body.decode()
        got = await ask(sim, body)
        assert got.end == "whole"
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            got.body.decode()


# --- framing -----------------------------------------------------------------------------------------------------


def _decode_sse(data: bytes) -> list[tuple[str, str]]:
    """A decoder written from the HTML standard, for whole bodies: (event type, data) of each event."""
    text = data.decode("utf-8")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events: list[tuple[str, str]] = []
    lines: list[str] = []
    name = ""
    for line in text.split("\n"):
        if not line:
            if lines:
                events.append((name, "\n".join(lines)))
            lines, name = [], ""
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            lines.append(value)
        elif key == "event":
            name = value
    return events


@pytest.mark.parametrize("newline", ["lf", "cr", "crlf", "mixed"])
@pytest.mark.parametrize("seed", range(5))
async def test_messy_streams_say_the_same(sim: Simulator, newline: str, seed: int) -> None:
    body = {"model": "gpt-4o", "input": "Hi", "stream": True}
    plain = await ask(sim, body, "/v1/responses")
    sim.script(Fault.messy(newline=newline, seed=seed))
    messy = await ask(sim, body, "/v1/responses")
    assert messy.body.startswith(b"\xef\xbb\xbf")
    assert b": keep-alive" in messy.body
    assert (b"\r" in messy.body) == (newline != "lf")
    assert (b"\n" in messy.body) == (newline != "cr")

    def said(data: bytes) -> list[tuple[str, str | None]]:
        events = [(name, json.loads(text)) for name, text in _decode_sse(data)]
        return [(name, event.get("delta")) for name, event in events]

    assert said(messy.body) == said(plain.body)


async def test_split_sends_every_piece_by_itself(sim: Simulator) -> None:
    whole = await ask(sim, {**STREAM, "max_tokens": 2})
    sim.script(Fault.split(), Fault.split(size=0, seed=3), Fault.split(size=7))
    async with RawClient(sim) as client:
        for _ in range(3):
            await client.send(request({**STREAM, "max_tokens": 2}))
            got = await client.receive()
            assert got.tokens == whole.tokens
            assert len(client.pieces) > 20
        assert max(len(piece) for piece in client.pieces[1:]) < 100


# --- down, always, random ----------------------------------------------------------------------------------------


async def test_down_refuses_and_comes_up_again_by_itself() -> None:
    now = Time()
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        now.slept.append(seconds)
        await asleep.wait()

    async with Simulator(clock=now, sleep=sleep) as sim, RawClient(sim) as idle:
        await idle.send(request())
        await idle.receive()
        sim.script(Fault.down(seconds=60))
        assert (await ask(sim)).end == "rst"
        assert (await idle.receive()).end == "rst"
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await ask(sim)
        assert now.slept == [60]
        asleep.set()
        await until(lambda: sim._recovery is None)
        assert (await ask(sim)).status == 200


async def test_down_until_told(sim: Simulator) -> None:
    port = sim.port
    sim.down()
    with pytest.raises(ConnectionRefusedError):
        await ask(sim)
    await sim.up()
    assert (await ask(sim)).status == 200
    assert sim.port == port


async def test_always_where_a_condition_holds(sim: Simulator) -> None:
    sim.always(Fault.status(401), when=lambda one: one.key == sim.key_name("dead"))
    assert (await ask(sim, authorization="Bearer dead")).status == 401
    assert (await ask(sim, authorization="Bearer alive")).status == 200
    sim.clear()
    assert (await ask(sim, authorization="Bearer dead")).status == 200


async def test_several_faults_at_once(sim: Simulator) -> None:
    sim.always(Fault.unknown_fields(), Fault.cut(after=2))
    got = await ask(sim, STREAM)
    assert (len(got.tokens), got.end) == (2, "fin")
    assert "x_unknown" in got.events[0]
    assert sim.requests[0].fault == "unknown_fields+cut:after=2"


async def test_random_faults_are_the_same_for_the_same_seed() -> None:
    async def run(seed: int) -> list[int]:
        async with Simulator() as sim, RawClient(sim) as client:
            sim.random(0.5, ["500", "503"], seed=seed)
            statuses = []
            for _ in range(40):
                await client.send(request())
                statuses.append((await client.receive()).status)
            return statuses

    first = await run(1)
    assert first == await run(1) != await run(2)
    assert set(first) == {200, 500, 503}
    assert 8 <= first.count(200) <= 32


@pytest.mark.parametrize("name", sorted(FAULTS))
@pytest.mark.parametrize("body", [CHAT, STREAM, {"model": "e", "input": "x"}])
async def test_after_any_fault_the_next_request_is_well(name: str, body: dict[str, object]) -> None:
    """And nothing is left behind: no request, task or connection."""
    now = Time()
    path = "/v1/embeddings" if "input" in body else "/v1/chat/completions"
    async with Simulator(clock=now, sleep=now.sleep, dimensions=8, tokens=3) as sim:
        sim.script(name)
        async with RawClient(sim) as client:
            await client.send(request(body, path))
            await until(lambda: sim.requests)
            await client.receive(quiet=0.04, most=100_000)
        if name == "down":
            await sim.up()
        got = await ask(sim, body, path)
        assert (got.status, got.end) == (200, "whole")
        await until(lambda: sim.in_flight == 0 and sim.open_connections == 0 and not sim._tasks)
        assert sum(sim.counts[code] for code in sim.counts if code != "aborted") == 2


async def test_nothing_is_left_behind_by_any_mixture_of_faults_and_clients() -> None:
    rng = random.Random(7)
    names = [name for name in FAULTS if name not in ("down", "drip", "split")]  # tried alone
    async with Simulator(tokens=8, concurrency_per_key=50) as sim:
        sim.random(0.7, [*names, "cut:after=3+gzip", "bad_json:at=2+messy+unknown_fields"], seed=3)

        async def call() -> None:
            async with RawClient(sim) as client:
                await client.send(request(rng.choice((CHAT, STREAM))))
                await client.receive(most=rng.choice((1, 500, 50_000)), quiet=0.02)

        for _ in range(6):
            await asyncio.gather(*(call() for _ in range(40)))
        await until(lambda: sim.in_flight == 0 and sim.open_connections == 0 and not sim._tasks)
        assert len(sim.requests) == 240
        assert all(one.t_end is not None for one in sim.requests)
        sim.clear()
        assert (await ask(sim)).status == 200
