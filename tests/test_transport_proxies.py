"""Proxies: absolute forms for plain HTTP, tunnels for TLS, and what a proxy may do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from base64 import b64encode
from typing import Any

import pytest
import trustme

from ipfs_accelerate_py.errors import ConfigurationError, ConnectFailed
from ipfs_accelerate_py.portal import new_event_loop
from ipfs_accelerate_py.transport import Limits
from tests.upstreams import RawServer, fetch, opened, read_request, replies, whole

QUICK = Limits(connect=5, first_byte=5, idle=5)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("service.invalid").configure_cert(context)
    return context


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


class Tunnels:
    """A proxy that lets CONNECT through, to ``port`` whatever was asked for."""

    def __init__(self, refusal: bytes | None = None) -> None:
        self.refusal = refusal
        self.heads: list[bytes] = []
        self.port = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _ = await read_request(reader)
        self.heads.append(head)
        if self.refusal is not None:
            writer.write(self.refusal)
            await reader.read()
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, back))
                group.create_task(_copy(there, writer))
        finally:
            back.close()
            with contextlib.suppress(OSError):
                await back.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, new_event_loop])
def test_tls_goes_through_a_tunnel(
    loop: Any, server_context: ssl.SSLContext, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        tunnels = Tunnels()
        async with RawServer(replies(whole(b"x" * 300_000)), tls=server_context) as server:
            tunnels.port = server.port
            async with RawServer(tunnels.play) as proxy:
                monkeypatch.setenv("https_proxy", f"http://us%65r:pass@127.0.0.1:{proxy.port}")
                async with opened(ssl_context=context) as transport:
                    for _ in range(3):
                        body = await fetch(transport, "https://service.invalid/v1", QUICK, Authorization="Bearer sk")
                        assert len(body) == 300_000
                assert (proxy.connections, server.connections) == (1, 1)
        (head,) = tunnels.heads
        assert head.startswith(b"CONNECT service.invalid:443 HTTP/1.1\r\nHost: service.invalid:443\r\n")
        assert b"Proxy-Authorization: Basic " + b64encode(b"user:pass") in head
        assert b"Bearer" not in head

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_the_certificate_at_the_end_of_a_tunnel_is_looked_at(
    server_context: ssl.SSLContext, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnels = Tunnels()
    async with RawServer(replies(whole()), tls=server_context) as server, RawServer(tunnels.play) as proxy:
        tunnels.port = server.port
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        async with opened(ssl_context=context) as transport:
            with pytest.raises(ConnectFailed, match="certificate"):
                await fetch(transport, "https://other.invalid/v1", QUICK)
        async with opened() as transport:
            with pytest.raises(ConnectFailed, match="certificate"):
                await fetch(transport, "https://service.invalid/v1", QUICK)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"what?\r\n\r\n", "proxy"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "proxy"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000, "proxy"),
    ],
    ids=range(5),
)
async def test_a_proxy_that_opens_no_tunnel(answer: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tunnels = Tunnels(answer)
    async with RawServer(tunnels.play) as proxy, opened() as transport:
        monkeypatch.setenv("https_proxy", f"http://user:hunter2@127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectFailed, match=words) as caught:
            await fetch(transport, "https://service.invalid/v1", QUICK)
        assert "hunter2" not in str(caught.value)


async def test_a_proxy_that_closes_or_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    for play, words in ((closes, "proxy"), (silent, "connect_timeout")):
        async with RawServer(play) as proxy, opened() as transport:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            with pytest.raises(ConnectFailed, match=words):
                await fetch(transport, "https://service.invalid/v1", Limits(connect=0.1))


async def test_plain_http_is_asked_for_in_absolute_form(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await read_request(reader))[0])
            writer.write(whole(b"ok"))

    async with RawServer(play) as proxy, opened() as transport:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")  # as some write it
        for url in ("http://one.invalid/v1", "http://two.invalid:8080/a b"):
            for _ in range(2):
                assert await fetch(transport, url, QUICK) == b"ok"
        assert proxy.connections == 2  # one an origin
    assert heads[0].startswith(b"POST http://one.invalid/v1/chat/completions HTTP/1.1\r\nHost: one.invalid\r\n")
    assert heads[2].startswith(
        b"POST http://two.invalid:8080/a%20b/chat/completions HTTP/1.1\r\nHost: two.invalid:8080\r"
    )
    assert b"Proxy-Authorization" not in heads[0]


@pytest.mark.parametrize("value", ["socks5://user:hunter2@127.0.0.1:1", "https://127.0.0.1:1", "no url", ":::"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_of_another_kind_is_refused_with_the_kind_that_works(
    value: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", value)
    async with opened() as transport:
        with pytest.raises(ConfigurationError, match="http://") as caught:
            await fetch(transport, f"{scheme}://service.invalid/v1", QUICK)
        assert "hunter2" not in str(caught.value)
