"""The edge to the network: connections, limits, proxies, TLS, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import time
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from ipfs_accelerate_py import AsyncClient, Timeouts
from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConfigurationError,
    ConnectFailed,
    ProtocolError,
    RateLimited,
    ReadTimeout,
    StreamCut,
    TransportError,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.transport import AiohttpTransport, HttpRequest, HttpResponse, Limits
from tests.upstreams import (
    ANSWER,
    DONE,
    END,
    RawServer,
    client_of,
    event,
    framed,
    nothing_held,
    read_request,
    replies,
    stream_head,
    whole,
)

BODY = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'


def post(url: str, body: bytes | None = BODY, /, **headers: str) -> HttpRequest:
    return HttpRequest("POST", url + "/chat/completions", headers, body)


@contextlib.asynccontextmanager
async def opened(**options: Any) -> Any:
    transport = AiohttpTransport(**options)
    try:
        yield transport
        assert transport.open_connections == 0
    finally:
        await transport.aclose()


async def fetch(transport: AiohttpTransport, url: str, limits: Limits | None = None, **headers: str) -> bytes:
    response = await transport.send(post(url, **headers), limits or Limits())
    return await response.read()


# --- connections -------------------------------------------------------------------------------------------------


async def test_connections_are_kept_and_used_again() -> None:
    async with RawServer(replies(whole())) as server, opened() as transport:
        for _ in range(10):
            assert b"Hi" in await fetch(transport, server.url)
        assert server.connections == 1


async def test_a_stream_read_to_its_end_gives_its_connection_back() -> None:
    answer = stream_head() + framed(event("Hi")) + framed(event(finish="stop")) + framed(DONE) + END
    async with RawServer(replies(answer)) as server, client_of(server.url) as client:
        for _ in range(3):
            assert "".join([chunk.text async for chunk in client.stream("m", "x")]) == "Hi"
        assert server.connections == 1
        await nothing_held(client)


async def test_an_error_does_not_cost_the_connection() -> None:
    async with RawServer(replies(whole({"error": {"message": "no"}}, 400))) as server:
        async with client_of(server.url) as client:
            for _ in range(5):
                with pytest.raises(AccelerateError):
                    await client.chat("m", "x")
        assert server.connections == 1


async def test_an_answer_left_in_its_middle_costs_the_connection_and_nothing_else() -> None:
    async with Simulator(tokens=2000) as sim, client_of(sim.url) as client:
        for _ in range(3):
            async with client.stream("m", "x") as stream:
                async for _chunk in stream:
                    break
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


async def test_small_packets_are_sent_at_once() -> None:
    found: list[int] = []

    class Looking(AiohttpTransport):
        async def send(self, request: HttpRequest, limits: Limits) -> HttpResponse:
            response = await super().send(request, limits)
            for protocol in self._session.connector._acquired:  # type: ignore[union-attr]
                sock = protocol.transport.get_extra_info("socket")  # type: ignore[union-attr]
                found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            return response

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(whole()[:-2])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(whole()[-2:])

    transport = Looking()
    async with RawServer(slow) as server:
        await fetch(transport, server.url)
        await transport.aclose()
    assert found
    assert all(found)


@pytest.mark.parametrize("delay", [0.0, 0.003])
async def test_a_server_that_closes_right_after_a_500_spoils_no_further_call(delay: float) -> None:
    """uvicorn does so after an unhandled exception: complete answer, no ``Connection: close``, and then FIN."""
    served = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await read_request(reader)
        served += 1
        writer.write(whole(b"Internal Server Error", 500) if served % 2 else whole())
        await writer.drain()
        await asyncio.sleep(delay)

    async with RawServer(play) as server, client_of(server.url, max_retries=0) as client:
        for _ in range(20):
            with pytest.raises(AccelerateError, match="500"):
                await client.chat("m", "x")
            assert (await client.chat("m", "x")).text == "Hi"
        await nothing_held(client)


async def test_many_calls_at_once_over_connections_that_have_gone_stale_all_succeed() -> None:
    """One call opens a connection while another finds that its own is dead: it is still the other that is stale."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(whole())
        await writer.drain()
        await reader.read(1)  # closed in the moment it is used again

    async with (
        RawServer(play) as server,
        client_of(server.url, max_retries=0, max_concurrent_requests=50) as client,
    ):
        for _ in range(10):
            await asyncio.gather(*[client.chat("m", "x") for _ in range(20)])
        await nothing_held(client)


async def test_a_connection_that_dies_unanswered_again_and_again_ends_in_an_error() -> None:
    asked = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await read_request(reader)
        asked += 1
        if asked == 1:
            writer.write(whole())
            await writer.drain()
            await read_request(reader)
            asked += 1

    async with RawServer(play) as server, client_of(server.url, max_retries=0) as client:
        await client.chat("m", "x")
        with pytest.raises(TransportError):
            await client.chat("m", "x")
        assert asked <= 3
        await nothing_held(client)


# --- requests ----------------------------------------------------------------------------------------------------


async def test_what_goes_out() -> None:
    seen: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, body = await read_request(reader)
        seen.append(head + body)
        writer.write(whole())

    async with RawServer(play) as server, client_of(server.url, headers={"X-Team": "blue"}) as client:
        await client.chat("m", "é", headers={"X-Trace": "7"})
    text = seen[0].decode()
    assert text.startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    for line in (
        "Authorization: Bearer sk-test\r\n",
        "Content-Type: application/json\r\n",
        "Accept-Encoding: identity\r\n",
        "User-Agent: ipfs-accelerate-py/",
        "X-Team: blue\r\n",
        "X-Trace: 7\r\n",
        f"Host: 127.0.0.1:{server.port}\r\n",
    ):
        assert line in text, line
    assert "Cookie" not in text
    assert text.endswith('{"model":"m","messages":[{"role":"user","content":"é"}]}')


async def test_no_cookie_is_kept() -> None:
    heads: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            heads.append(head)
            writer.write(whole(set_cookie="session=1; Path=/"))

    async with RawServer(play) as server, client_of(server.url) as client:
        await client.chat("m", "x")
        await client.chat("m", "x")
    assert b"ookie" not in heads[1]


async def test_a_large_body_goes_through_without_complaint() -> None:
    """Pictures are sent as base64: bodies of several MiB are ordinary."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (3 << 20)}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with Simulator() as sim, client_of(sim.url, max_retries=0) as client:
            reply = await client.chat("m", [{"role": "user", "content": [picture]}])
            assert reply.text
            assert sim.requests[0].body["messages"][0]["content"][0] == picture


@pytest.mark.parametrize(
    "headers",
    [{"X-A": "a\r\nX-B: b"}, {"X-A\r\nX-B": "a"}, {"X-A": 5}, {"X-A": None}, {"X A": "b"}],
)
async def test_headers_that_cannot_be_sent_are_refused_as_wrong_use(headers: dict[str, Any]) -> None:
    async with Simulator() as sim, client_of(sim.url) as client:
        with pytest.raises(AccelerateError):
            await client.chat("m", "x", headers=headers)
        assert not any("x-b" in request.headers for request in sim.requests)
        await client.chat("m", "x")
        await nothing_held(client)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/v1",
        "127.0.0.1:8000",
        "http://",
        "http:///v1",
        "http://[::1/v1",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:port/v1",
        "http://user:sk-secret@127.0.0.1/v1",
        "user:sk-secret@127.0.0.1/v1",
    ],
)
async def test_a_base_url_that_is_none_is_refused_as_wrong_use(url: str) -> None:
    async with client_of(url) as client:
        with pytest.raises(ConfigurationError) as caught:
            await client.chat("m", "x")
        assert "sk-secret" not in str(caught.value)
        await nothing_held(client)


async def test_full_urls_must_be_the_backends_own() -> None:
    async with Simulator() as sim, Simulator() as other, client_of(sim.url) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        reply = await client.request(sim.url + "/chat/completions", body)
        assert reply.raw["object"] == "chat.completion"
        for url in (
            other.url + "/chat/completions",
            f"https://127.0.0.1:{sim.port}/v1/models",
            f"http://127.0.0.1:{sim.port}@evil.example/v1",
            "//127.0.0.1:1/v1/models",  # a path, however it looks
            "chat/completions",
        ):
            with pytest.raises(AccelerateError):
                await client.request(url, body)
        assert not other.requests
        assert [request.path for request in sim.requests] == ["/v1/chat/completions", "/v1//127.0.0.1:1/v1/models"]


# --- limits of time, each by itself ------------------------------------------------------------------------------


@pytest.fixture
def blackhole() -> Iterator[str]:
    """A listening socket whose queue is full: a connection to it is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def timed(transport: AiohttpTransport, url: str, limits: Limits) -> tuple[AccelerateError, float]:
    began = time.monotonic()
    with pytest.raises(AccelerateError) as caught:
        await fetch(transport, url, limits)
    return caught.value, time.monotonic() - began


async def test_the_connect_limit(blackhole: str) -> None:
    async with opened() as transport:
        error, seconds = await timed(transport, blackhole, Limits(connect=0.05, first_byte=None, idle=None))
        assert isinstance(error, ConnectFailed)
        assert "connect_timeout" in str(error)
        assert 0.05 <= seconds < 0.5


async def test_a_connection_that_takes_its_time_is_not_the_first_bytes_fault(blackhole: str) -> None:
    """``first_byte`` begins when the request has been sent: with a long connect limit it says nothing."""
    async with opened() as transport:
        error, _ = await timed(transport, blackhole, Limits(connect=0.1, first_byte=0.03, idle=None))
        assert isinstance(error, ConnectFailed)


async def test_the_deadline_ends_a_connect_too(blackhole: str) -> None:
    async with opened() as transport:
        limits = Limits(connect=None, first_byte=None, idle=None, deadline=time.monotonic() + 0.05)
        error, seconds = await timed(transport, blackhole, limits)
        assert isinstance(error, TransportError)
        assert 0.04 <= seconds < 0.5


async def test_the_tls_handshake_counts_as_connecting() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with RawServer(silent) as server, opened() as transport:
        url = server.url.replace("http:", "https:")
        error, seconds = await timed(transport, url, Limits(connect=0.05, first_byte=None, idle=None))
        assert isinstance(error, ConnectFailed)
        assert seconds < 0.5


async def test_the_first_byte_limit() -> None:
    async with Simulator() as sim, opened() as transport:
        sim.always(Fault.hang())
        error, seconds = await timed(transport, sim.url, Limits(first_byte=0.05))
        assert isinstance(error, ReadTimeout)
        assert "first_byte_timeout" in str(error)
        assert 0.05 <= seconds < 0.5


async def test_slow_headers_are_bounded_as_one() -> None:
    async with Simulator() as sim, opened() as transport:
        sim.always(Fault.drip(size=1, interval=0.005))
        error, seconds = await timed(transport, sim.url, Limits(first_byte=0.05))
        assert isinstance(error, ReadTimeout)
        assert seconds < 0.5


async def test_the_silence_limit_and_its_error() -> None:
    async with Simulator() as sim, opened() as transport:
        sim.always(Fault.silence(after=3))
        error, seconds = await timed(transport, sim.url, Limits(idle=0.05))
        assert isinstance(error, ReadTimeout)
        assert "idle_timeout" in str(error)
        assert error.status == 200
        assert 0.05 <= seconds < 0.5


async def test_a_slow_but_living_answer_is_only_bounded_by_the_deadline() -> None:
    async with Simulator() as sim, opened() as transport:
        sim.always(Fault.drip(size=8, interval=0.004))
        assert b"choices" in await fetch(transport, sim.url, Limits(idle=0.05))
        limits = Limits(idle=0.05, deadline=time.monotonic() + 0.1)
        error, seconds = await timed(transport, sim.url, limits)
        assert isinstance(error, ReadTimeout)
        assert seconds < 0.5


async def test_a_reader_that_takes_its_time_is_not_a_silent_upstream() -> None:
    async with (
        Simulator(tokens=30, chunk_interval=0.001) as sim,
        client_of(sim.url, idle_timeout=0.04, max_retries=0) as client,
    ):
        count = 0
        async for _chunk in client.stream("m", "x"):
            count += 1
            if count in (3, 6):
                await asyncio.sleep(0.06)
        assert count > 30
        await nothing_held(client)


async def test_the_deadline_ends_a_stream_whose_reader_is_slower_than_the_upstream() -> None:
    """There is always something in the buffer, so no wait is ever made that a timer could end."""
    async with Simulator(tokens=20_000) as sim, client_of(sim.url, max_retries=0) as client:
        stream = client.stream("m", "x", timeout=0.1)
        with pytest.raises(ReadTimeout):
            async with asyncio.timeout(1.5):
                async for _chunk in stream:
                    await asyncio.sleep(0.002)
        await nothing_held(client)


async def test_no_limits_at_all() -> None:
    limits = Limits(connect=None, first_byte=None, idle=None)
    async with Simulator(latency=0.01) as sim, opened() as transport:
        assert await fetch(transport, sim.url, limits)


async def test_limits_of_a_call_take_the_place_of_the_clients() -> None:
    async with Simulator() as sim, client_of(sim.url, max_retries=0, total_timeout=None) as client:
        sim.always(Fault.hang())
        with pytest.raises(ReadTimeout):
            await asyncio.wait_for(client.chat("m", "x", timeouts=Timeouts(first_byte=0.02)), 1)
        with pytest.raises(ReadTimeout):
            await asyncio.wait_for(client.chat("m", "x", timeout=0.02), 1)
        for wrong in (0, -1, "1", float("nan"), True):
            with pytest.raises(ConfigurationError, match="timeout"):
                await client.chat("m", "x", timeout=wrong)
        with pytest.raises(ConfigurationError, match="timeouts"):
            await client.chat("m", "x", timeouts=5)
        sim.clear()
        assert (await client.chat("m", "x", timeout=float("inf"))).text
        await nothing_held(client)


# --- limits of size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_is_bounded(chunked: bool) -> None:
    async with Simulator() as sim, client_of(sim.url, max_body_bytes=100_000) as client:
        sim.always(Fault.oversized(size=1 << 30, chunked=chunked))
        with pytest.raises(ProtocolError, match="max_body_bytes"):
            await asyncio.wait_for(client.chat("m", "x"), 5)
        sim.clear()
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


async def test_an_errors_body_is_read_no_further_than_people_read() -> None:
    async with Simulator() as sim, client_of(sim.url, max_retries=0) as client:
        sim.always(Fault.status(503) + Fault.oversized(size=1 << 28, chunked=True))
        with pytest.raises(AccelerateError):
            await asyncio.wait_for(client.chat("m", "x"), 5)
        await nothing_held(client)


@pytest.mark.parametrize("line", [None, 1000])
async def test_headers_are_bounded_one_by_one_and_all_together(line: int | None) -> None:
    async with Simulator() as sim, client_of(sim.url) as client:
        sim.always(Fault.big_headers(size=64 * 1024, line=line))
        with pytest.raises(ProtocolError):
            await client.chat("m", "x")
        sim.clear()
        sim.always(Fault.big_headers(size=7000, line=line))
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


async def test_headers_without_end_do_not_fill_the_memory() -> None:
    sent = 0

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        line = b"x-more: " + b"y" * 1000 + b"\r\n"
        while sent < (64 << 20):
            writer.write(line * 64)
            sent += len(line) * 64
            await writer.drain()

    async with RawServer(play) as server, client_of(server.url, max_retries=0, first_byte_timeout=5.0) as client:
        with pytest.raises(ProtocolError):
            await client.chat("m", "x")
        assert sent < (16 << 20)
        await nothing_held(client)


# --- compression that nobody asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("split", [False, True])
async def test_gzip_is_read_although_it_was_not_asked_for(split: bool) -> None:
    async with Simulator() as sim, client_of(sim.url) as client:
        sim.always(Fault.gzip() + Fault.split(size=1) if split else Fault.gzip())
        plain = (await client.chat("m", "x")).text
        assert plain
        assert "".join([chunk.text async for chunk in client.stream("m", "x")]) == plain
        await nothing_held(client)


async def test_deflate_is_read_and_other_encodings_are_refused() -> None:
    import json

    packed = zlib.compress(json.dumps(ANSWER).encode())
    async with (
        RawServer(replies(whole(packed, content_encoding="deflate"))) as server,
        client_of(server.url) as client,
    ):
        assert (await client.chat("m", "x")).text == "Hi"
    async with RawServer(replies(whole(b"xx", content_encoding="br"))) as server, client_of(server.url) as client:
        with pytest.raises(ProtocolError, match="br"):
            await client.chat("m", "x")
        await nothing_held(client)


async def test_gzip_that_is_none_or_is_cut_is_an_error() -> None:
    import json

    packed = gzip.compress(json.dumps(ANSWER).encode())
    for body in (b"not gzip at all", packed[:20], packed[:-12], b""):
        async with (
            RawServer(replies(whole(body, content_encoding="gzip"))) as server,
            client_of(server.url) as client,
        ):
            with pytest.raises(AccelerateError):
                await client.chat("m", "x")
            await nothing_held(client)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_gzip_bomb_is_bounded(stream: bool) -> None:
    async with Simulator() as sim, client_of(sim.url, max_body_bytes=1 << 20) as client:
        sim.always(Fault.gzip_bomb(size=1 << 30))
        with pytest.raises(AccelerateError):
            if stream:
                await asyncio.wait_for(client.stream("m", "x").collect(), 5)
            else:
                await asyncio.wait_for(client.chat("m", "x"), 5)
        await nothing_held(client)


async def test_compressed_pieces_that_hold_nothing_yet_are_no_matter() -> None:
    """Each of these packets is a flush without content: thousands of them must not pile up on the stack."""
    import json

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        packer = zlib.compressobj(wbits=31)
        writer.write(stream_head(content_type="application/json", content_encoding="gzip"))
        for _ in range(3000):
            piece = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
            if piece:
                writer.write(framed(piece))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(framed(packer.compress(json.dumps(ANSWER).encode()) + packer.flush()) + END)

    async with RawServer(play) as server, client_of(server.url, max_retries=0) as client:
        assert (await client.chat("m", "x")).text == "Hi"
        await nothing_held(client)


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_the_key_does_not_follow(code: int) -> None:
    async with Simulator() as sim, Simulator() as other, client_of(sim.url) as client:
        sim.always(Fault.redirect(to=other.url + "/chat/completions", code=code))
        with pytest.raises(ProtocolError, match=str(code)) as caught:
            await client.chat("m", "x")
        assert caught.value.status == code
        assert not other.requests
        assert len(sim.requests) == 1
        await nothing_held(client)


@pytest.mark.parametrize("kind", ["status_line", "header", "lengths", "chunk", "garbage"])
async def test_what_is_not_http_is_an_error_of_ours(kind: str) -> None:
    async with Simulator() as sim, client_of(sim.url) as client:
        sim.script(*[Fault.malformed(kind=kind)] * 10)
        with pytest.raises(AccelerateError):
            await client.chat("m", "x")
        sim.clear()
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


async def test_answers_that_come_unasked_do_not_answer_the_next_request() -> None:
    """Two answers to one request: the second belongs to nobody."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        poison = {**ANSWER, "choices": [{"message": {"content": "poison"}, "finish_reason": "stop"}]}
        writer.write(whole() + whole(poison))
        await writer.drain()
        await read_request(reader)
        writer.write(whole())
        await writer.drain()
        await reader.read()

    async with RawServer(play) as server, client_of(server.url, max_retries=2) as client:
        assert (await client.chat("m", "x")).text == "Hi"
        assert (await client.chat("m", "x")).text == "Hi"
        await nothing_held(client)


# --- other ways to speak HTTP ------------------------------------------------------------------------------------


async def test_an_answer_of_http_1_0_ends_with_its_connection() -> None:
    events = event("Hi") + event(finish="stop") + DONE
    head = b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head + events)

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head + event("Hi"))

    async with RawServer(play) as server, client_of(server.url) as client:
        for _ in range(2):
            assert (await client.stream("m", "x").collect()).text == "Hi"
        await nothing_held(client)
    async with RawServer(cut) as server, client_of(server.url) as client:
        with pytest.raises(StreamCut):
            await client.stream("m", "x").collect()
        await nothing_held(client)


async def test_hints_before_the_answer_are_passed_over() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with RawServer(replies(hints + whole())) as server, client_of(server.url) as client:
        for _ in range(2):
            assert (await client.chat("m", "x")).text == "Hi"


async def test_localhost_is_found_whichever_address_the_server_listens_at() -> None:
    async with Simulator() as sim, client_of(f"http://localhost:{sim.port}/v1") as client:
        assert (await client.chat("m", "x")).text
    known = {address[4][0] for address in socket.getaddrinfo("localhost", None)}
    try:
        six = await Simulator(host="::1").start()
    except OSError:
        return  # a machine without IPv6
    for host in ["[::1]", *(["localhost"] if "::1" in known else [])]:
        async with client_of(f"http://{host}:{six.port}/v1/") as client:
            assert (await client.chat("m", "x")).text
    await six.stop()


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "text/plain", ""])
async def test_an_error_where_a_stream_was_asked_for_says_its_reason(kind: str) -> None:
    answer = whole({"error": {"message": "the model is loading", "code": "rate_limit_exceeded"}}, content_type=kind)
    async with RawServer(replies(answer)) as server, client_of(server.url, max_retries=0) as client:
        with pytest.raises(RateLimited, match="the model is loading"):
            await client.stream("m", "x").collect()
        await nothing_held(client)


async def test_an_answer_without_a_body_is_none() -> None:
    for answer in (whole(b""), b"HTTP/1.1 204 No Content\r\n\r\n", stream_head() + END):
        async with RawServer(replies(answer)) as server, client_of(server.url, max_retries=0) as client:
            for stream in (False, True):
                with pytest.raises(AccelerateError):
                    await (client.stream("m", "x").collect() if stream else client.chat("m", "x"))
            await nothing_held(client)


# --- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_a_certificate_nobody_vouches_for_is_refused(server_context: ssl.SSLContext) -> None:
    async with (
        RawServer(replies(whole()), tls=server_context) as server,
        client_of(server.url, max_retries=0) as client,
    ):
        with pytest.raises(ConnectFailed, match="certificate"):
            await client.chat("m", "x")
        await nothing_held(client)


async def test_a_given_context_is_used(authority: trustme.CA, server_context: ssl.SSLContext) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    transport = AiohttpTransport(ssl_context=context)
    async with (
        RawServer(replies(whole()), tls=server_context) as server,
        client_of(server.url, transport=transport) as client,
    ):
        assert (await client.chat("m", "x")).text == "Hi"
        await nothing_held(client)


async def test_the_name_on_the_certificate_counts(authority: trustme.CA) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(server_context)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    transport = AiohttpTransport(ssl_context=context)
    async with (
        RawServer(replies(whole()), tls=server_context) as server,
        client_of(server.url, transport=transport, max_retries=0) as client,
    ):
        with pytest.raises(ConnectFailed):
            await client.chat("m", "x")


async def test_a_server_that_does_not_speak_tls() -> None:
    async with Simulator() as sim, client_of(sim.url.replace("http:", "https:"), max_retries=0) as client:
        with pytest.raises(ConnectFailed, match="TLS"):
            await client.chat("m", "x")
        await nothing_held(client)


async def test_a_name_that_does_not_resolve() -> None:
    async with client_of("http://no-such-host.localhost.invalid/v1", max_retries=0) as client:
        with pytest.raises(ConnectFailed, match=r"DNS|no connection") as caught:
            await client.chat("m", "x")
        assert caught.value.retryable
        await nothing_held(client)


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        async with client_of(url, max_retries=1) as client:
            with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1") as caught:
                await client.chat("m", "x")
            assert caught.value.attempts == 2
            await nothing_held(client)


# --- proxies -----------------------------------------------------------------------------------------------------


class Proxy:
    """A forwarding proxy for plain HTTP that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            self.asked.append(head)
            writer.write(whole())


async def test_a_proxy_of_the_environment_is_used_and_no_proxy_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    async with RawServer(proxy.play) as server, Simulator() as sim:
        monkeypatch.setenv("http_proxy", f"http://us%65r:pass@127.0.0.1:{server.port}")
        async with client_of("http://provider.invalid:8080/v1") as client:
            assert (await client.chat("m", "x")).text == "Hi"
        assert proxy.asked[0].startswith(b"POST http://provider.invalid:8080/v1/chat/completions HTTP/1.1")
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.asked[0]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with client_of(sim.url) as client:
            assert (await client.chat("m", "x")).text != "Hi"
        assert len(proxy.asked) == 1
        async with client_of("http://other.invalid/v1", transport=AiohttpTransport(trust_env=False)) as client:
            with pytest.raises(ConnectFailed):
                await client.chat("m", "x")


async def test_a_dead_proxy_is_named_as_such_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{free.getsockname()[1]}")
        async with client_of("http://provider.invalid/v1", max_retries=0) as client:
            with pytest.raises(ConnectFailed, match="proxy") as caught:
                await client.chat("m", "x")
            assert "hunter2" not in str(caught.value)
            await nothing_held(client)


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1", "not a url", "http://127.0.0.1:99999", ":::"])
async def test_a_proxy_that_cannot_be_used_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("http_proxy", value)
    async with client_of("http://provider.invalid/v1", max_retries=0) as client:
        with pytest.raises(AccelerateError):
            await client.chat("m", "x")
        await nothing_held(client)


# --- loops -------------------------------------------------------------------------------------------------------


def test_one_client_in_one_loop_after_the_other() -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:1/v1", api_key="sk-test")

    async def use() -> str:
        async with Simulator() as sim:
            client._backend.http.base_url = sim.url  # type: ignore[union-attr]
            async with client:
                return (await client.chat("m", "x")).text

    assert asyncio.run(use())
    assert asyncio.run(use())


def test_a_client_that_was_not_closed_starts_anew_in_the_next_loop() -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:1/v1", api_key="sk-test")

    async def use(close: bool) -> str:
        async with Simulator() as sim:
            client._backend.http.base_url = sim.url  # type: ignore[union-attr]
            text = (await client.chat("m", "x")).text
        await asyncio.sleep(0.01)
        if close:
            await client.aclose()
        return text

    assert asyncio.run(use(False))
    assert asyncio.run(use(True))


async def test_a_client_of_another_running_loop_is_refused_with_advice() -> None:
    async with Simulator() as sim, client_of(sim.url) as client:
        await client.chat("m", "x")

        def elsewhere() -> None:
            with pytest.raises(ConfigurationError, match="another event loop"):
                asyncio.run(client.chat("m", "x"))

        await asyncio.to_thread(elsewhere)
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


# --- the end of a body -------------------------------------------------------------------------------------------


async def test_what_came_before_a_cut_is_delivered_also_to_a_slow_reader() -> None:
    """The last chunks lie in the buffer when the connection breaks: they were received and belong to the reader."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(stream_head() + framed(event("a")))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(framed(event("b")))
        await writer.drain()

    async with RawServer(play) as server, client_of(server.url) as client:
        stream = client.stream("m", "x")
        got = [(await anext(stream)).text]
        await asyncio.sleep(0.06)
        with pytest.raises(StreamCut):
            while True:
                got.append((await anext(stream)).text)
        assert got == ["a", "b"]
        await nothing_held(client)


async def test_a_complete_answer_whose_connection_breaks_after_it_is_complete() -> None:
    """Everything up to ``[DONE]`` is here, and only HTTP's own last chunk is missing: also a slow reader has it all."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(stream_head() + framed(event("a")))
        await writer.drain()
        await asyncio.sleep(0.02)
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        writer.write(framed(event("b")) + framed(event(finish="stop", usage=usage)) + framed(DONE))
        await writer.drain()

    async with RawServer(play) as server, client_of(server.url) as client:
        stream = client.stream("m", "x")
        got = [(await anext(stream)).text]
        await asyncio.sleep(0.06)
        got += [chunk.text async for chunk in stream]
        assert "".join(got) == "ab"
        assert stream.finish_reason == "stop"
        assert stream.usage.total_tokens == 5
        await nothing_held(client)


async def test_after_the_end_nobody_waits_for_what_still_comes() -> None:
    """finish_reason, then comments for ever and never a terminator: the answer is complete, and soon at hand."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(stream_head() + framed(event("a")) + framed(event(finish="stop")))
        while True:
            writer.write(framed(b": ping\n\n"))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with RawServer(play) as server, client_of(server.url) as client:
        reply = await asyncio.wait_for(client.stream("m", "x").collect(), 3)
        assert (reply.text, reply.finish_reason) == ("a", "stop")
        await nothing_held(client)


async def test_after_the_terminator_nobody_waits_for_what_still_comes() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(stream_head() + framed(event("a")) + framed(event(finish="stop")) + framed(DONE))
        while True:
            writer.write(framed(b": ping\n\n"))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with RawServer(play) as server, client_of(server.url) as client:
        reply = await asyncio.wait_for(client.stream("m", "x").collect(), 2)
        assert reply.text == "a"
        await nothing_held(client)
