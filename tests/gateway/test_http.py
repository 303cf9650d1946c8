"""What the gateway makes of HTTP that is wrong, too large, too slow or contradictory: a 4xx, and nobody is asked."""

from __future__ import annotations

import asyncio
import json

import pytest

from ipfs_accelerate_py.simulator import Fault

from .support import CHAT, STREAM, Setup, ask, connect, error_of, nothing_held, request, running, until

pytestmark = pytest.mark.virtual_time

BODY = json.dumps(CHAT).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
NEXT = b"GET /admin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


LONG_WORD = "w" * 2000 + " "


def sized(body: bytes = BODY) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


@pytest.mark.parametrize(
    ("name", "raw", "status"),
    [
        ("length and encoding", HEAD + sized() + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY), 400),
        ("encoding and length", HEAD + b"Transfer-Encoding: chunked\r\n" + sized() + b"\r\n" + chunked(BODY), 400),
        ("two lengths", HEAD + sized() + b"Content-Length: 1\r\n\r\n" + BODY, 400),
        ("one length twice", HEAD + sized() + sized() + b"\r\n" + BODY, 400),
        ("a list of lengths", HEAD + b"Content-Length: 5, 5\r\n\r\n" + BODY, 400),
        ("a signed length", HEAD + b"Content-Length: +5\r\n\r\n" + BODY, 400),
        ("a negative length", HEAD + b"Content-Length: -5\r\n\r\n" + BODY, 400),
        ("a length without end", HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
        ("encodings before chunked", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(BODY), 400),
        ("an unknown encoding", HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(BODY), 400),
        ("chunked twice", HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunked(BODY), 400),
        (
            "chunked in HTTP/1.0",
            HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
            400,
        ),
        ("a space before the colon", HEAD + b"Content-Length : 5\r\n\r\n" + BODY, 400),
        ("a folded header", HEAD + b"X-Odd: a\r\n b\r\n" + sized() + b"\r\n" + BODY, 400),
        ("a bare line feed", HEAD.replace(b"\r\n", b"\n") + b"\n", 400),
        ("a zero byte", HEAD + b"X-Odd: a\0b\r\n" + sized() + b"\r\n" + BODY, 400),
        ("no host", HEAD.replace(b"Host: 127.0.0.1\r\n", b"") + sized() + b"\r\n" + BODY, 400),
        ("two hosts", HEAD + b"Host: elsewhere\r\n" + sized() + b"\r\n" + BODY, 400),
        ("another version", HEAD.replace(b"1.1", b"2.0") + sized() + b"\r\n" + BODY, 505),
        ("no version", b"GET /health\r\n\r\n", 505),
        ("a tunnel", b"CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere\r\n\r\n", 405),
        ("an expectation", HEAD + b"Expect: miracles\r\n" + sized() + b"\r\n", 417),
        ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n", 400),
        ("a bad chunk", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY, 400),
        ("a large head", HEAD + b"X-Large: " + b"a" * 40_000 + b"\r\n" + sized() + b"\r\n" + BODY, 431),
        ("a long target", HEAD.replace(b"/v1", b"/" + b"v" * 40_000) + sized() + b"\r\n" + BODY, 431),
        ("many headers", HEAD + b"X-Many: a\r\n" * 4000 + sized() + b"\r\n" + BODY, 431),
    ],
)
async def test_contradictory_or_broken_requests(setup: Setup, name: str, raw: bytes, status: int) -> None:
    """Each is followed by a second request: none of them may be taken for two."""
    async with connect(setup.gateway) as client:
        await client.send(raw + NEXT)
        got = await client.receive(to_end=True)
    assert (got.status, got.end) == (status, "fin")
    assert got.raw.count(b"HTTP/1.1 ") == 1
    assert got.headers["connection"] == "close"
    assert error_of(got)["code"]
    assert setup.sim.requests == []
    assert setup.gateway.app.metrics.refused == {status: 1}
    await nothing_held(setup)


async def test_a_head_that_never_ends_is_not_collected(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.send(HEAD)
        for _ in range(20):
            await client.send(b"X-More: " + b"a" * 4000 + b"\r\n")
        got = await client.receive(to_end=True)
    assert got.status == 431
    assert error_of(got)["code"] == "headers_too_large"


async def test_a_large_head_before_its_end(setup: Setup) -> None:
    """One line, one read, no end."""
    async with connect(setup.gateway) as client:
        await client.send(HEAD + b"X-Large: ")
        await client.send(b"a" * 100_000)
        assert (await client.receive(to_end=True)).status == 431


@pytest.mark.parametrize("parts", [(HEAD[:10],), (HEAD,), (HEAD, sized(), b"\r\n", BODY[:5])])
async def test_slow_senders(parts: tuple[bytes, ...]) -> None:
    """The limit is for the whole: a byte now and then does not push it out."""
    async with running(header_timeout=0.08, body_timeout=0.08) as setup, connect(setup.gateway) as client:
        for part in parts:
            await client.send(part)
        for _ in range(4):
            await asyncio.sleep(0.015)
            await client.send(b"x")
        got = await client.receive(to_end=True)
        assert (got.status, got.end) == (408, "fin")
        assert error_of(got)["code"] == "request_timeout"
        await nothing_held(setup)


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with running(keep_alive_timeout=0.05) as setup, connect(setup.gateway) as client:
        await client.send(request(None, "/health", method="GET"))
        assert (await client.receive()).status == 200
        assert (await client.receive()).raw == b""
        assert (await client.receive()).end == "fin"


@pytest.mark.virtual_time(False)  # the kernel's own timers have a part in it
async def test_a_client_that_does_not_read_is_dropped() -> None:
    """Its answer is held up, so the upstream is too, and at last the connection goes."""
    sim = {"reply": LONG_WORD * 6000, "tokens": 6000}
    async with running(sim=sim, write_timeout=0.2) as setup, connect(setup.gateway) as client:
        await client.send(request(STREAM, content_type="application/json"))
        await until(lambda: setup.gateway.app.metrics.streams == 1)
        await until(lambda: setup.status_count(499) == 1)
        await nothing_held(setup)
    assert setup.sim.requests[0].aborted_by_client


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    """More than the network holds: the gateway waits for the client, and the upstream for the gateway."""
    sim = {"reply": LONG_WORD * 6000, "tokens": 6000}
    async with running(sim=sim) as setup, connect(setup.gateway) as client:
        await client.send(request(STREAM, content_type="application/json", connection="close"))
        await until(lambda: setup.gateway.app.metrics.streams == 1)
        await asyncio.sleep(0.3)
        assert setup.sim.in_flight == 1
        got = await client.receive(to_end=True)
        assert len(got.tokens) >= 6000
        assert got.events[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("headers", "status", "param"),
    [
        ({"content_type": "text/plain"}, 415, "content-type"),
        ({"content_type": "application/x-www-form-urlencoded"}, 415, "content-type"),
        ({"content_encoding": "gzip"}, 415, "content-encoding"),
        ({"content_encoding": "br"}, 415, "content-encoding"),
    ],
)
async def test_bodies_of_another_kind(setup: Setup, headers: dict[str, str], status: int, param: str) -> None:
    got = await setup.ask(**headers)
    assert got.status == status
    assert error_of(got)["param"] == param
    assert setup.sim.requests == []


async def test_a_body_without_a_type(setup: Setup) -> None:
    """A page of another site can make browsers send one without asking."""
    assert (await setup.ask(content_type=None)).status == 415


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json", "application/json ;x=1"]
)
async def test_ways_to_say_json(setup: Setup, kind: str) -> None:
    assert (await setup.ask(content_type=kind)).status == 200


async def test_a_large_body_is_refused_by_what_its_head_says() -> None:
    async with running(max_body_bytes=2000) as setup, connect(setup.gateway) as client:
        await client.send(HEAD + b"Content-Length: 2001\r\n\r\n")
        got = await client.receive(to_end=True)
        assert (got.status, got.end) == (413, "fin")
        assert error_of(got)["code"] == "request_too_large"


async def test_a_large_body_that_does_not_say_its_size() -> None:
    async with running(max_body_bytes=2000) as setup, connect(setup.gateway) as client:
        await client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            await client.send(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        got = await client.receive(to_end=True)
        assert got.status == 413
        assert error_of(got)["type"] == "invalid_request_error"
        assert setup.sim.requests == []


async def test_a_refusal_arrives_although_the_client_is_still_sending() -> None:
    """To close at once would reset the connection, and take the answer along."""
    async with running(max_body_bytes=2000) as setup, connect(setup.gateway) as client:
        await client.send(HEAD + b"Content-Length: 4000000\r\n\r\n")
        sending = asyncio.create_task(client.send(b" " * 4_000_000))
        got = await client.receive()
        await sending
        assert got.status == 413
        assert (await client.receive()).end == "fin"


async def test_who_sends_without_end_after_a_refusal_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipfs_accelerate_py.gateway.http1.LINGER_BYTES", 100_000)
    async with running(max_body_bytes=2000) as setup, connect(setup.gateway) as client:
        await client.send(HEAD + b"Content-Length: 900000000\r\n\r\n")

        async def send_without_end() -> None:
            while True:
                await client.send(b" " * 100_000)

        with pytest.raises(OSError):
            await asyncio.wait_for(send_without_end(), 5)


async def test_split_at_every_byte(setup: Setup) -> None:
    raw = HEAD + sized() + b"\r\n" + BODY
    async with connect(setup.gateway) as client:
        for index in range(len(raw)):
            await client.send(raw[index : index + 1])
            if index % 16 == 0:
                await asyncio.sleep(0)
        assert (await client.receive()).status == 200


async def test_chunked_bodies(setup: Setup) -> None:
    """With extensions, and a trailer, which cannot change the head that was judged."""
    raw = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    raw += b"5;a=b\r\n" + BODY[:5] + b"\r\n" + b"%x\r\n" % (len(BODY) - 5) + BODY[5:] + b"\r\n"
    raw += b"0\r\nContent-Type: text/plain\r\nHost: elsewhere\r\n\r\n"
    async with connect(setup.gateway) as client:
        for _ in range(2):
            await client.send(raw)
            assert (await client.receive()).status == 200


async def test_requests_sent_ahead_are_answered_in_order(setup: Setup) -> None:
    one = request(CHAT, content_type="application/json", x_request_id="one")
    two = request(None, "/health", method="GET", x_request_id="two")
    three = request({"model": "unknown"}, content_type="application/json", x_request_id="three")
    async with connect(setup.gateway) as client:
        await client.send(one + two + three)
        raw = (await client.receive(done=lambda got: got.raw.count(b"HTTP/1.1 ") == 3, to_end=True)).raw
    assert [line for line in raw.split(b"\r\n") if line.startswith(b"x-request-id")] == [
        b"x-request-id: one",
        b"x-request-id: two",
        b"x-request-id: three",
    ]
    assert [raw[at + 9 : at + 12] for at in range(len(raw)) if raw.startswith(b"HTTP/1.1 ", at)] == [
        b"200",
        b"200",
        b"400",
    ]


async def test_a_body_that_comes_while_another_request_is_answered(setup: Setup) -> None:
    """Reading is paused while one waits its turn; then the rest of it is read."""
    setup.sim.script(Fault.latency(seconds=0.05))
    one, two = (request({**CHAT, "user": name}, content_type="application/json") for name in ("one", "two"))
    async with connect(setup.gateway) as client:
        await client.send(one + two[:-20])
        assert (await client.receive()).status == 200
        await client.send(two[-20:])
        assert (await client.receive()).status == 200
    assert [each.body["user"] for each in setup.sim.requests] == ["one", "two"]


async def test_rubbish_behind_a_request_does_not_spoil_its_answer(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.send(request(STREAM, content_type="application/json") + b"\0\0 rubbish \r\n\r\n")
        got = await client.receive(to_end=True)
    assert (got.status, got.end) == (200, "fin")
    assert got.events[-1] == "[DONE]"
    assert got.raw.count(b"HTTP/1.1 ") == 1


async def test_a_connection_serves_many_requests(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        for _ in range(3):
            await client.send(request(CHAT, content_type="application/json"))
            assert (await client.receive()).status == 200
            await client.send(request(STREAM, content_type="application/json"))
            assert (await client.receive()).events[-1] == "[DONE]"


async def test_a_client_may_ask_for_the_connection_to_be_closed(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, content_type="application/json", connection="close"))
        got = await client.receive(to_end=True)
    assert (got.status, got.end, got.headers["connection"]) == (200, "fin", "close")


async def test_http_1_0(setup: Setup) -> None:
    """A stream has no chunks there: it ends with the connection."""
    raw = request(STREAM, content_type="application/json").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with connect(setup.gateway) as client:
        await client.send(raw)
        got = await client.receive(to_end=True)
    assert got.end == "fin"
    assert "transfer-encoding" not in got.headers
    assert got.raw.endswith(b"data: [DONE]\n\n")


async def test_who_waits_for_leave_to_send_gets_it(setup: Setup) -> None:
    """curl does, for bodies of more than 1 MB."""
    async with connect(setup.gateway) as client:
        await client.send(HEAD + sized() + b"Expect: 100-continue\r\n\r\n")
        got = await client.receive(most=25)
        assert got.raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(BODY)
        assert (await client.receive()).status == 200


async def test_who_would_be_refused_anyway_does_not_get_leave_to_send(guarded: Setup) -> None:
    async with connect(guarded.gateway) as client:
        await client.send(HEAD + sized() + b"Expect: 100-continue\r\n\r\n")
        assert (await client.receive(to_end=True)).raw.startswith(b"HTTP/1.1 401 ")


async def test_an_offer_of_http_2_is_passed_over(setup: Setup) -> None:
    """Java's client makes it with every first request; the body must not be lost with it."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABk"}
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, content_type="application/json", **offer))
        assert (await client.receive()).status == 200
        await client.send(request(CHAT, content_type="application/json"))
        assert (await client.receive()).status == 200


async def test_an_offer_of_http_2_in_pieces(setup: Setup) -> None:
    raw = HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + sized() + b"\r\n"
    async with connect(setup.gateway) as client:
        await client.send(raw)
        await asyncio.sleep(0.01)
        await client.send(BODY[:10])
        await asyncio.sleep(0.01)
        await client.send(BODY[10:])
        assert (await client.receive()).status == 200


async def test_head_has_the_headers_and_no_body(setup: Setup) -> None:
    async with connect(setup.gateway) as client:
        await client.send(request(None, "/health", method="HEAD") + request(None, "/health", method="GET"))
        raw = (await client.receive(done=lambda got: got.raw.endswith(b"}"), to_end=True)).raw
    head, rest = raw.split(b"\r\n\r\n", 1)
    assert b"content-length: " in head
    assert rest.startswith(b"HTTP/1.1 200 OK")


async def test_every_answer_has_a_date_and_an_id(setup: Setup) -> None:
    for path, method in (("/health", "GET"), ("/nowhere", "GET"), ("/v1/chat/completions", "GET")):
        got = await ask(setup.gateway, None, path, method=method)
        assert got.headers["date"].endswith("gmt")
        assert got.headers["x-request-id"].startswith("req_")
