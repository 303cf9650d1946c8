"""What a server may answer: too much, compressed, elsewhere, or not in HTTP at all."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib

import pytest

from ipfs_accelerate_py.errors import (
    AccelerateError,
    ProtocolError,
    RateLimited,
    StreamCut,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
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

pytestmark = pytest.mark.virtual_time

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
