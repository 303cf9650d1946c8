"""Each wait for the network has a limit of its own, and an answer ends where it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from ipfs_accelerate_py import Timeouts
from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConfigurationError,
    ConnectFailed,
    ReadTimeout,
    StreamCut,
    TransportError,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.transport import HttpTransport, Limits
from tests.upstreams import (
    DONE,
    RawServer,
    client_of,
    event,
    fetch,
    framed,
    nothing_held,
    opened,
    read_request,
    stream_head,
)

pytestmark = pytest.mark.virtual_time

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


async def timed(transport: HttpTransport, url: str, limits: Limits) -> tuple[AccelerateError, float]:
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
