"""A client that shows what came over the socket, byte for byte, and how it ended."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.simulator import Simulator

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
STREAM: dict[str, Any] = {**CHAT, "stream": True}


def request(body: Any = CHAT, path: str = "/v1/chat/completions", *, method: str = "POST", **headers: str) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "127.0.0.1", "content-length": str(len(data)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data


@dataclass
class Got:
    """What was received. ``end`` is ``whole``, ``fin``, ``rst`` or ``open`` (nothing more came, connection open)."""

    raw: bytes
    end: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each event, decoded where it is JSON."""
        found = []
        for line in self.body.decode("utf-8", "replace").split("\n"):
            if line.startswith("data: "):
                try:
                    found.append(json.loads(line[6:]))
                except ValueError:
                    found.append(line[6:])
        return found

    @property
    def tokens(self) -> list[str]:
        """Pieces of content in a chat stream."""
        choices = [event["choices"] for event in self.events if isinstance(event, dict) and event.get("choices")]
        return [text for one in choices if (text := one[0]["delta"].get("content"))]


def _understand(raw: bytes, end: str) -> tuple[Got, bool]:
    """The answer, and whether it is whole."""
    head, parted, rest = raw.partition(b"\r\n\r\n")
    if not parted or not raw.startswith(b"HTTP/1.1 ") or not raw[9:12].isdigit():
        return Got(raw, end), False
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().partition(": ")[::2] for line in lines[1:])
    got = Got(raw, end, int(lines[0].split()[1]), headers)
    if "content-length" in headers:
        got.body = rest
        return got, len(rest) >= int(headers["content-length"])
    if headers.get("transfer-encoding") != "chunked":
        got.body = rest
        return got, False
    while True:
        size, parted, rest = rest.partition(b"\r\n")
        if not parted or not (digits := size.split(b";")[0]).isalnum() or digits == b"zz":
            return got, False
        length = int(digits, 16)
        if length == 0:
            return got, rest == b"\r\n"
        got.body += rest[:length]
        if len(rest) < length + 2:
            return got, False
        rest = rest[length + 2 :]


class RawClient:
    """One connection."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._loop = asyncio.get_running_loop()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        #: The pieces in which the last answer was read.
        self.pieces: list[bytes] = []

    async def __aenter__(self) -> RawClient:
        try:
            await self._loop.sock_connect(self.sock, (self._sim.host, self._sim.port))
        except OSError:
            self.sock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def receive(
        self,
        *,
        done: Callable[[Got], bool] | None = None,
        most: int = 1 << 30,
        to_end: bool = False,
        quiet: float = 5.0,
    ) -> Got:
        """Read an answer to its end by HTTP (not where ``to_end``), or to that of the connection.

        Or until it is ``done``, or ``most`` bytes have come, or none for ``quiet`` seconds.
        """
        raw = bytearray()
        self.pieces = []
        while True:
            try:
                async with asyncio.timeout(quiet):
                    data = await self._loop.sock_recv(self.sock, 65536)
            except TimeoutError:
                return _understand(bytes(raw), "open")[0]
            except ConnectionResetError:
                return _understand(bytes(raw), "rst")[0]
            if not data:
                return _understand(bytes(raw), "fin")[0]
            raw += data
            self.pieces.append(data)
            if len(raw) >= most:
                return Got(bytes(raw), "open")
            if done is not None or not to_end:
                got, whole = _understand(bytes(raw), "whole")
                if whole and not to_end:
                    return got
                if done is not None and done(got):
                    got.end = "open"
                    return got

    async def nothing_more(self) -> None:
        """Raises where anything comes, or the connection ends, in the next moment."""
        rest = await self.receive(quiet=0.03)
        assert (rest.raw, rest.end) == (b"", "open")


async def ask(
    sim: Simulator, body: Any = CHAT, path: str = "/v1/chat/completions", *, method: str = "POST", **options: Any
) -> Got:
    """One request on a connection of its own."""
    reading = {name: options.pop(name) for name in ("done", "most", "to_end") if name in options}
    async with RawClient(sim) as client:
        await client.send(request(body, path, method=method, **options))
        return await client.receive(**reading)


async def ask_in_vain(sim: Simulator, body: Any, done: Callable[[Got], bool] | None = None) -> Got:
    """One request whose answer stops at ``done`` (or never starts) with the connection left open."""
    async with RawClient(sim) as client:
        await client.send(request(body))
        await until(lambda: sim.in_flight == 1)
        got = Got(b"", "open") if done is None else await client.receive(done=done)
        await client.nothing_more()
        return got


class Time:
    """A clock that moves when it is told to, or slept on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
