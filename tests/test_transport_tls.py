"""Certificates, names, and proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme

from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConnectFailed,
)
from ipfs_accelerate_py.simulator import Simulator
from ipfs_accelerate_py.transport import HttpTransport
from tests.upstreams import (
    RawServer,
    client_of,
    nothing_held,
    read_request,
    replies,
    whole,
)

pytestmark = pytest.mark.virtual_time

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
    transport = HttpTransport(ssl_context=context)
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
    transport = HttpTransport(ssl_context=context)
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
        async with client_of("http://other.invalid/v1", transport=HttpTransport(trust_env=False)) as client:
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
