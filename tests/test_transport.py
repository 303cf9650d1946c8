"""The edge to the network: connections, what is sent on them, and the loops they belong to."""

from __future__ import annotations

import asyncio
import socket
import warnings
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConfigurationError,
    TransportError,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.transport import HttpRequest, HttpResponse, HttpTransport, Limits
from tests.upstreams import (
    DONE,
    END,
    RawServer,
    client_of,
    event,
    eventually,
    fetch,
    framed,
    nothing_held,
    opened,
    read_request,
    replies,
    stream_head,
    whole,
)

pytestmark = pytest.mark.virtual_time

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

    class Looking(HttpTransport):
        async def send(self, request: HttpRequest, limits: Limits) -> HttpResponse:
            response = await super().send(request, limits)
            assert self._pool is not None
            for connection in self._pool.busy:
                assert connection.transport is not None
                sock = connection.transport.get_extra_info("socket")
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


# --- closing while something is under way ------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.stall(), Fault.silence(after=2)], ids=str)
async def test_calls_under_way_end_when_the_client_is_closed(fault: Fault) -> None:
    async with Simulator() as sim, client_of(sim.url, max_retries=0) as client:
        await client.chat("m", "x")
        sim.always(fault)
        tasks = [asyncio.create_task(client.chat("m", "x")), asyncio.create_task(client.stream("m", "x").collect())]
        await eventually(lambda: sim.in_flight == 2)
        await asyncio.sleep(0.02)
        await client.aclose()
        _, waiting = await asyncio.wait(tasks, timeout=1)
        for task in waiting:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert not waiting, "calls wait for an answer on connections that are closed"
        assert all(isinstance(end, AccelerateError) for end in ends), ends
        sim.clear()
        assert (await client.chat("m", "x")).text
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
