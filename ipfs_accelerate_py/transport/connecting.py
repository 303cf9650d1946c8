"""How a connection comes about: the name's addresses tried in a race, a proxy's tunnel, TLS."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from asyncio import staggered
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.errors import ConnectFailed
from ipfs_accelerate_py.transport.failures import no_proxy_connection, not_connected, not_secured
from ipfs_accelerate_py.transport.urls import Origin

__all__ = ["default_context", "establish"]

#: Head start of one address over the next, in seconds (RFC 8305 recommends it).
HEAD_START = 0.25
#: The head of a proxy's answer may be as large as this.
MOST_PROXY_HEAD = 16 * 1024


@functools.cache
def default_context() -> ssl.SSLContext:
    """One for the process, made when first asked for: it reads all the authorities that the system trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def establish(
    loop: asyncio.AbstractEventLoop, origin: Origin, protocol: asyncio.Protocol, context: ssl.SSLContext | None
) -> None:
    """Connect ``protocol`` to the origin. Raises `ConnectFailed`."""
    failure: ConnectFailed
    words: Callable[[Exception, Origin], ConnectFailed] = not_connected
    secret = context or default_context() if origin.tls else None
    try:
        sock = await _reach(loop, *origin.address)
        if secret is None:
            await loop.create_connection(lambda: protocol, sock=sock)
            return
        if origin.proxy is None:
            words = not_secured
            await loop.create_connection(lambda: protocol, sock=sock, ssl=secret, server_hostname=origin.host)
            return
        plain = await _tunnel(loop, origin, sock)
        words = not_secured
        try:
            made = await loop.start_tls(plain, protocol, secret, server_hostname=origin.host)
        except BaseException:
            plain.abort()
            raise
        if made is None:  # typeshed says that it may be
            raise ConnectionAbortedError
        protocol.connection_made(made)
        return
    except ConnectFailed as error:
        failure = error
    except (OSError, ValueError) as error:  # UnicodeError, and what ssl says of names that are none
        failure = words(error, origin)
    try:
        raise failure  # out here, so that the library's error is not dragged along
    finally:
        del failure


async def _reach(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket that is connected: IPv6 and IPv4 in turn, each with a small head start over the next.

    By hand, because uvloop's ``create_connection`` tries one address after the other, each to its bitter end.
    """
    addresses = _numeric(host, port) or _in_turn(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    if len(addresses) == 1:
        return await _connected(loop, *addresses[0])
    made: list[socket.socket] = []

    async def attempt(family: int, address: Any) -> socket.socket:
        sock = await _connected(loop, family, address)
        made.append(sock)
        return sock

    winner: socket.socket | None = None
    try:
        attempts = [functools.partial(attempt, *each) for each in addresses]
        winner, _, errors = await staggered.staggered_race(attempts, HEAD_START, loop=loop)
    finally:
        for sock in made:  # two may arrive in the same moment, or one while we are cancelled
            if sock is not winner:
                sock.close()
    if winner is None:
        raise next((error for error in errors if error is not None), ConnectionError())
    return winner


async def _connected(loop: asyncio.AbstractEventLoop, family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _numeric(host: str, port: int) -> list[tuple[int, Any]]:
    """An address that is one already, for which nobody need be asked (asking takes a thread)."""
    family, address = (socket.AF_INET6, (host, port, 0, 0)) if ":" in host else (socket.AF_INET, (host, port))
    try:
        socket.inet_pton(family, host)
    except OSError:
        return []
    return [(family, address)]


def _in_turn(found: list[Any]) -> list[tuple[int, Any]]:
    """Addresses in the system's order of preference, but of both families in turn."""
    families: dict[int, list[tuple[int, Any]]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    queues = list(families.values())
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


# --- a proxy's tunnel --------------------------------------------------------------------------------------------


class _Answered(asyncio.Protocol):
    """Waits for the head of the proxy's answer to CONNECT."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.head: asyncio.Future[bytes] = loop.create_future()
        self._came = b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        if not self.head.done() and (b"\r\n\r\n" in self._came or len(self._came) > MOST_PROXY_HEAD):
            self.head.set_result(self._came)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.head.done():
            self.head.set_result(b"")


async def _tunnel(loop: asyncio.AbstractEventLoop, origin: Origin, sock: socket.socket) -> asyncio.Transport:
    """Ask the proxy for a way through. Raises `ConnectFailed`."""
    proxy = origin.proxy
    assert proxy is not None
    transport, answered = await loop.create_connection(lambda: _Answered(loop), sock=sock)
    try:
        lines = f"CONNECT {origin.authority} HTTP/1.1\r\nHost: {origin.authority}\r\n"
        if proxy.authorization:
            lines += f"Proxy-Authorization: {proxy.authorization}\r\n"
        transport.write(lines.encode() + b"\r\n")
        head = await answered.head
        # Nothing may follow the head: the other side speaks after us in TLS.
        words = head.split(b" ", 2)
        status = int(words[1]) if head.endswith(b"\r\n\r\n") and len(words) > 2 and words[1].isdigit() else None
        if status is None or not 200 <= status < 300:
            raise no_proxy_connection(status)
    except BaseException:
        transport.abort()
        raise
    return transport
