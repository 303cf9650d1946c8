"""HTTP/1.1 byte by byte: where an answer ends, what may not go on for ever, and what goes out."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, ProtocolError, StreamCut, TransportError
from ipfs_accelerate_py.portal import new_event_loop
from ipfs_accelerate_py.transport import HttpRequest, HttpTransport, Limits
from ipfs_accelerate_py.transport.heads import Headers
from ipfs_accelerate_py.transport.http1 import HIGH_WATER, Connection
from ipfs_accelerate_py.transport.pool import Pool
from ipfs_accelerate_py.transport.response import Answer
from ipfs_accelerate_py.transport.urls import Origin, resolve
from tests.upstreams import END, RawServer, eventually, fetch, framed, opened, post, read_request, replies, whole

pytestmark = pytest.mark.virtual_time

QUICK = Limits(connect=5, first_byte=5, idle=5)


def sends(*pieces: bytes, then: Callable[[asyncio.StreamReader], Awaitable[Any]] | None = None) -> Any:
    """Answers the first request with these pieces, each in a packet of its own, and closes after ``then``."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.001)
        if then is not None:
            await then(reader)

    return play


async def until_closed(reader: asyncio.StreamReader) -> None:
    await reader.read()


# --- where an answer ends ----------------------------------------------------------------------------------------


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with RawServer(sends(b"HTTP/1.1 200 OK\r\n\r\none", b"two")) as server, opened() as transport:
        for _ in range(2):
            assert await fetch(transport, server.url, QUICK) == b"onetwo"
        assert server.connections == 2


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\n", b"half"),
    ],
)
async def test_a_body_cut_short_is_said_to_be_and_what_came_is_handed_out(pieces: tuple[bytes, ...]) -> None:
    async with RawServer(sends(*pieces)) as server, opened() as transport:
        with pytest.raises(StreamCut) as caught:
            await fetch(transport, server.url, QUICK)
        assert caught.value.status == 200
        response = await transport.send(post(server.url), QUICK)
        await asyncio.sleep(0.02)  # it breaks before it is read
        assert await response.read_some() == b"half"
        for _ in range(2):
            with pytest.raises(StreamCut):
                await response.read_some()


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body_end_with_their_head(status: int) -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n" if status == 304 else f"HTTP/1.1 {status} X\r\n\r\n"
    async with RawServer(replies(head.encode())) as server, opened() as transport:
        for _ in range(3):
            assert await fetch(transport, server.url, QUICK) == b""
        assert server.connections == 1


async def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    async with RawServer(replies(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")) as server, opened() as transport:
        response = await transport.send(HttpRequest("HEAD", server.url, {}), QUICK)
        assert (response.status, response.headers["Content-Length"]) == (200, "500")
        assert await response.read() == b""


async def test_hints_are_passed_over_and_leave_no_trace() -> None:
    hints = b"HTTP/1.1 100 Continue\r\nx-hint: 1\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with RawServer(sends(*hints, whole(b"ok"), then=until_closed)) as server, opened() as transport:
        response = await transport.send(post(server.url), QUICK)
        assert (response.status, await response.read()) == (200, b"ok")
        assert not {"x-hint", "link"} & set(response.headers)


async def test_an_answer_in_another_protocol_is_refused() -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n\x00\x00"
    async with RawServer(sends(switch, then=until_closed)) as server, opened() as transport:
        with pytest.raises(ProtocolError, match="101"):
            await fetch(transport, server.url, QUICK)


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"H", b"garbage\r\n"])
@pytest.mark.parametrize("later", [False, True])
async def test_a_connection_with_bytes_that_nobody_asked_for_is_dropped(extra: bytes, later: bool) -> None:
    pieces = (whole(b"ok"), extra) if later else (whole(b"ok") + extra,)
    async with RawServer(sends(*pieces, then=until_closed)) as server, opened() as transport:
        for number in range(3):
            assert await fetch(transport, server.url, QUICK) == b"ok"
            await eventually(lambda: not any(transport._pool.idle.values()))
            assert server.connections == number + 1


@pytest.mark.parametrize(("ours", "theirs"), [("close", None), (None, "close"), (None, "Close")])
async def test_either_side_may_end_the_connection(ours: str | None, theirs: str | None) -> None:
    answer = whole(b"ok") if theirs is None else whole(b"ok", connection=theirs)
    async with RawServer(replies(answer)) as server, opened() as transport:
        for number in range(2):
            assert await fetch(transport, server.url, QUICK, **({"Connection": ours} if ours else {})) == b"ok"
            assert server.connections == number + 1


async def test_kept_connections_are_closed_after_a_while_and_when_they_close_by_themselves() -> None:
    async with RawServer(replies(whole(b"ok"))) as server, opened(keepalive=0.03) as transport:
        assert await fetch(transport, server.url, QUICK) == b"ok"
        assert sum(map(len, transport._pool.idle.values())) == 1
        await eventually(lambda: not any(transport._pool.idle.values()))
        assert await fetch(transport, server.url, QUICK) == b"ok"
        assert server.connections == 2
    async with RawServer(sends(whole(b"ok"))) as server, opened() as transport:
        assert await fetch(transport, server.url, QUICK) == b"ok"
        await eventually(lambda: not any(transport._pool.idle.values()))


# --- what may not go on for ever ---------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 ", b"O" * 1000),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"x" * 1000),
        (b"", b"\r\n" * 500),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50),
        (HEAD + b"1;", b"e" * 1000),
        (HEAD, b"0" * 1000),
        (HEAD + b"1\r\na\r\n0\r\nx: ", b"t" * 1000),
        (HEAD + b"1\r\na\r\n0\r\n", b"x: t\r\n" * 200),
    ],
    ids=range(9),
)
async def test_no_line_goes_on_for_ever(start: bytes, endless: bytes) -> None:
    sent = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(start)
        while sent < (64 << 20):
            writer.write(endless * 16)
            sent += len(endless) * 16
            await writer.drain()

    async with RawServer(play) as server, opened() as transport:
        with pytest.raises(ProtocolError):
            await fetch(transport, server.url, QUICK)
        assert sent < (16 << 20)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_head_is_measured_by_itself(at_once: bool) -> None:
    """A large body right behind it does not count, and a head that is one byte too long is."""
    start, end = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\nx: ", b"\r\n\r\n"
    body = b"b" * 100_000
    for size, fits in ((1000, True), (1001, False)):
        head = start + b"y" * (size - len(start) - len(end)) + end
        pieces = (head + body,) if at_once else (head, body)
        async with (
            RawServer(sends(*pieces, then=until_closed)) as server,
            opened(max_header_bytes=1000) as transport,
        ):
            if fits:
                assert await fetch(transport, server.url, QUICK) == body
            else:
                with pytest.raises(ProtocolError, match="max_header_bytes"):
                    await fetch(transport, server.url, QUICK)


async def test_many_small_chunks_are_no_endless_line() -> None:
    count = 20_000
    async with RawServer(sends(HEAD + framed(b"x") * count + END)) as server, opened(max_header_bytes=500) as transport:
        assert await fetch(transport, server.url, QUICK) == b"x" * count


async def test_what_nobody_reads_is_not_taken_from_the_network() -> None:
    sent = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            sent += 1 << 20

    async with RawServer(play) as server, opened() as transport:
        response = await transport.send(post(server.url), QUICK)
        await asyncio.sleep(0.1)
        assert response.held <= HIGH_WATER + (1 << 20)
        assert sent < (48 << 20)
        size = 0
        while data := await response.read_some():
            size += len(data)
        assert size == 64 << 20
        response = await transport.send(post(server.url), QUICK)
        await asyncio.sleep(0.05)  # reading has stopped by now
        assert len(await response.read()) == 64 << 20
        assert server.connections == 2


# --- what goes out -----------------------------------------------------------------------------------------------


def on_a_loop(make: Any, main: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


LOOPS = [asyncio.new_event_loop, new_event_loop]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_large_body_goes_out_whole_and_the_connection_stays(loop: Any) -> None:
    body = bytes(range(256)) * (20 << 12)
    seen: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await read_request(reader))[1])
            writer.write(whole(b"ok"))

    async def main() -> None:
        async with RawServer(play) as server, opened() as transport:
            for _ in range(2):
                response = await transport.send(post(server.url, body), QUICK)
                assert await response.read() == b"ok"
            assert server.connections == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_a_loop(loop, main)
    assert seen == [body, body]


@pytest.mark.parametrize("loop", LOOPS)
def test_an_answer_that_comes_before_a_large_body_has_gone_out_is_heard(loop: Any) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(b"too much", 413))
        await writer.drain()
        await asyncio.sleep(5)  # and reads no further

    async def main() -> None:
        async with RawServer(play) as server, opened() as transport:
            for number in range(2):
                async with asyncio.timeout(3):
                    response = await transport.send(post(server.url, b"x" * (64 << 20)), QUICK)
                    assert (response.status, await response.read()) == (413, b"too much")
                assert server.connections == number + 1

    on_a_loop(loop, main)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nX-B: b"},
        {"X-A": "a\nX-B: b"},
        {"X-A": "a\x00b"},
        {"X-A": "\u2028"},
        {"X-A\r\nX-B": "a"},
        {"X-A:": "a"},
        {"": "a"},
        {"Ключ": "a"},
        {"X-A": b"bytes"},
        {"Transfer-Encoding": "chunked"},
    ],
)
async def test_a_header_that_would_be_another_is_refused_before_anything_is_sent(headers: dict[str, Any]) -> None:
    secret = {"Authorization": "Bearer sk-hidden\r\nX-Evil: 1"}
    async with RawServer(replies(whole(b"ok"))) as server, opened() as transport:
        for wrong in (headers, secret):
            with pytest.raises(ConfigurationError) as caught:
                await transport.send(HttpRequest("POST", server.url, wrong, b""), QUICK)
            assert "sk-hidden" not in str(caught.value) + repr(caught.value)
        with pytest.raises(ConfigurationError):
            await transport.send(HttpRequest("GET / HTTP/1.1\r\nX: ", server.url, {}, None), QUICK)
        assert server.connections == 0


async def asked(method: str, path: str, headers: dict[str, str], body: bytes | None) -> bytes:
    seen: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(b"".join(await read_request(reader)))
        writer.write(whole(b"ok"))

    async with RawServer(play) as server, opened() as transport:
        url = f"http://127.0.0.1:{server.port}{path}"
        response = await transport.send(HttpRequest(method, url, headers, body), QUICK)
        assert await response.read() == b"ok"
        return seen[0].replace(b":%d" % server.port, b":PORT")


async def test_the_head_says_what_is_needed_and_once() -> None:
    assert await asked("POST", "/a", {"Content-Length": "77", "X": " é "}, b"hi") == (
        "POST /a HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nX: é\r\nAccept-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi"
    ).encode("latin-1")
    assert b"\r\nContent-Length: 0\r\n\r\n" in await asked("POST", "/", {}, None)
    get = await asked("GET", "", {"host": "elsewhere.example", "A": "1", "a": "2"}, None)
    assert get == b"GET / HTTP/1.1\r\nhost: elsewhere.example\r\na: 2\r\nAccept-Encoding: identity\r\n\r\n"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a b/é?q=ü x&y=%20#part", "/a%20b/%C3%A9?q=%C3%BC%20x&y=%20"),
        ("/100%/%zz%41", "/100%25/%25zz%41"),
        ("?q", "/?q"),
        ("//x/../y", "//x/../y"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
    ],
)
async def test_a_path_is_encoded_where_it_must_be(path: str, target: str) -> None:
    assert (await asked("GET", path, {}, None)).startswith(f"GET {target} HTTP/1.1\r\n".encode())


def test_hosts_are_written_as_the_network_knows_them() -> None:
    def host(url: str) -> tuple[str, str, int]:
        route = resolve(url, {}, trust_env=False)
        return route.host, route.origin.host, route.origin.port

    assert host("https://BÜCHER.example/v1") == ("xn--bcher-kva.example", "xn--bcher-kva.example", 443)
    assert host("http://[::1]:8000/v1") == ("[::1]:8000", "::1", 8000)
    assert host("http://[::1]/") == ("[::1]", "::1", 80)
    assert host("https://h:80/") == ("h:80", "h", 80)
    assert host("https://h:443/") == ("h", "h", 443)
    for wrong in ("http://a b/", "http://" + "ü" * 80 + "/", "http://\ud800/", "http://h/\ud800"):
        with pytest.raises(ConfigurationError):
            host(wrong)


async def test_each_mapping_of_headers_is_sent_as_itself() -> None:
    """Heads are remembered by the mapping they were made of, and mappings come and go."""
    async with RawServer(replies(whole(b"ok"))) as server, opened() as transport:
        seen: list[bytes] = []

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                seen.append((await read_request(reader))[0])
                writer.write(whole(b"ok"))

        server._play = play
        for number in range(300):
            await fetch(transport, server.url, QUICK, X=str(number))
        assert [int(head.split(b"X: ")[1].split(b"\r\n")[0]) for head in seen] == list(range(300))
        assert len(transport._heads) <= 64


# --- headers -----------------------------------------------------------------------------------------------------


async def test_headers_are_found_in_any_case_and_the_first_counts() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-One: a\r\nX-One: b\r\nX-Empty:\r\nX-Odd: \xff\xe9\r\ncontent-length: 0\r\n\r\n"
    async with RawServer(replies(head)) as server, opened() as transport:
        response = await transport.send(post(server.url), QUICK)
        headers = response.headers
        assert await response.read() == b""
    assert headers["x-oNe"] == headers.get("X-ONE") == headers.get("x-one") == "a"
    assert (headers.get("x-none"), headers.get("x-none", 7), headers.get("X-Empty")) == (None, 7, "")
    assert headers["x-odd"].encode("utf-8", "surrogateescape") == b"\xff\xe9"
    assert set(headers) == {"x-one", "x-empty", "x-odd", "content-length"}
    assert len(headers) == 4
    assert "X-One" in headers
    assert "a" not in repr(Headers({"x": "secret-a"})).removeprefix("Headers")


# --- any split ---------------------------------------------------------------------------------------------------


class _Wire:
    """A transport without a socket: what is written is forgotten."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


BODY = b'{"a":"' + "é".encode() * 20 + b'"}'
ANSWERS = [
    (b"HTTP/1.1 200 OK\r\nX-A: 1\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY, True),
    (HEAD[:-2] + b"X-A: 1\r\n\r\n" + framed(BODY[:7]) + framed(BODY[7:]) + b"0\r\nt: u\r\n\r\n", True),
    (b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n" + BODY, False),
    (b"HTTP/1.0 200 OK\r\nX-A: 1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY, False),
]


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 200)), st.booleans())
def test_an_answer_reads_the_same_wherever_it_is_split(
    answer: tuple[bytes, bool], cuts: list[int], one_by_one: bool
) -> None:
    data, kept = answer
    places = sorted({0, len(data), *(range(len(data)) if one_by_one else [cut % len(data) for cut in cuts])})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]

    async def main() -> None:
        pool = Pool(asyncio.get_running_loop(), 30.0, 1000)
        transport = HttpTransport()
        route = resolve("http://h/", {}, trust_env=False)
        head = transport._encode(HttpRequest("POST", "http://h/", {}, b""), route)
        connection = Connection(pool, Origin(False, "h", 80, None), 1000)
        connection.connection_made(_Wire())  # type: ignore[arg-type]
        pool.busy.add(connection)
        response = Answer(pool.loop, pool.deadlines, Limits())
        connection.ask(response, head, b"")
        for piece in pieces:
            connection.data_received(piece)
        connection.eof_received()
        assert response.status == 200
        assert response.headers.get("x-a") == "1"
        assert "link" not in response.headers
        assert await response.read() == BODY
        assert (connection in pool.idle.get(connection.origin, [])) is kept
        assert not pool.busy
        pool.close()

    asyncio.run(main())


# --- going away --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_a_transport_that_is_forgotten_closes_its_connections(loop: Any) -> None:
    async def main() -> None:
        async with RawServer(replies(whole(b"ok"))) as server:
            transport = HttpTransport()
            for _ in range(2):
                assert await fetch(transport, server.url, QUICK) == b"ok"
            assert len(server._tasks) == 1
            del transport
            await eventually(lambda: not server._tasks)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on_a_loop(loop, main)


async def test_closing_ends_what_is_being_connected() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with RawServer(silent) as server:
        transport = HttpTransport()
        url = server.url.replace("http:", "https:")  # nobody answers in TLS
        task = asyncio.create_task(fetch(transport, url, Limits(connect=None, first_byte=None)))
        await eventually(lambda: transport.open_connections == 1)
        await asyncio.sleep(0.01)
        await transport.aclose()
        with pytest.raises(TransportError, match="closed"):
            await asyncio.wait_for(task, 1)


def test_connections_of_a_loop_that_is_closed_are_let_go_of_without_complaint() -> None:
    transport = HttpTransport()

    async def main(port: int) -> None:
        with pytest.raises(AccelerateError):
            await fetch(transport, f"http://127.0.0.1:{port}/v1", Limits(first_byte=0.01))

    async def serving() -> None:
        async with RawServer(replies(whole(b"ok"))) as server:
            # the client's loop is another thread's, and ends before the server does
            def client() -> None:
                async def ask() -> None:
                    assert await fetch(transport, server.url, QUICK) == b"ok"

                asyncio.run(ask())
                assert transport._pool is not None
                assert sum(len(kept) for kept in transport._pool.idle.values()) == 1

            await asyncio.to_thread(client)
            await fetch(transport, server.url, QUICK)
            await eventually(lambda: len(server._tasks) == 1)
            await transport.aclose()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(serving())
