"""Upstreams for the core's tests: raw ones that write what they are told byte for byte, and what "as before" means.

The simulator plays the faults it knows; a `RawServer` plays the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.transport import HttpRequest, HttpTransport, Limits

#: Seconds given to what comes true by itself. Nothing waits for all of them unless something is wrong.
PATIENCE = 20.0
#: Settings under which nothing sleeps long.
QUICK: dict[str, Any] = {"initial_retry_delay": 0.005, "max_retry_delay": 0.2, "circuit_failure_threshold": 1000}

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def whole(body: Any = ANSWER, status: int = 200, **headers: str) -> bytes:
    """One answer with its length. A value that is not bytes is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    return f"HTTP/1.1 {status} X\r\n{_lines(fields)}\r\n".encode() + data


def stream_head(**headers: str) -> bytes:
    fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers}
    return f"HTTP/1.1 200 OK\r\n{_lines(fields)}\r\n".encode()


def _lines(fields: dict[str, str]) -> str:
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())


def framed(data: bytes) -> bytes:
    """One chunk of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def event(content: str | None = None, finish: str | None = None, usage: Any = None) -> bytes:
    """One event of a chat stream."""
    choice = {"index": 0, "delta": {} if content is None else {"content": content}, "finish_reason": finish}
    made = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    if usage is not None:
        made["usage"] = usage
    return b"data: " + json.dumps(made).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next request. Raises `asyncio.IncompleteReadError` where the client has gone."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head, await reader.readexactly(length)


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Plays ``play(reader, writer)`` on each connection, and closes it after that."""

    def __init__(self, play: Play, *, tls: Any = None) -> None:
        self._play = play
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0
        #: Sockets of the connections, as the server has them.
        self.peers: list[Any] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._play(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def replies(*answers: bytes) -> Play:
    """Answer the requests of a connection with these, the last one for ever."""
    left = list(answers)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    return play


# --- as before ---------------------------------------------------------------------------------------------------


def holding(client: AsyncClient) -> dict[str, Any]:
    """What a client holds right now for calls under way; all of it is 0 when there are none."""
    pipeline = client._backend.pipeline
    found = pipeline.snapshot()
    transport = client._backend.transport
    assert isinstance(transport, HttpTransport)
    return {
        "in flight": found["in_flight"],
        "slots": found["queue"]["active"],
        "queued": found["queue"]["queued"] + len(pipeline.admission._heap),
        "keys": sum(key["active"] for key in found["keys"].values()),
        "probes": pipeline.breaker._probes,
        "connections": transport.open_connections,
        "limits of time": 0 if transport._pool is None else len(transport._pool.deadlines),
    }


def held(client: AsyncClient | Client) -> dict[str, Any]:
    """The counts of `holding` that are not 0."""
    found = holding(client) if isinstance(client, AsyncClient) else client.portal().run(holding, client.asynchronous)
    return {name: count for name, count in found.items() if count}


async def nothing_held(client: AsyncClient, *others: asyncio.Task[Any], patience: float = PATIENCE) -> None:
    """Assert that the client, within a moment, holds nothing, and that no task of its is left on the loop."""
    until = time.monotonic() + patience
    mine = {asyncio.current_task(), *others}
    while True:
        left = held(client)
        tasks = [task for task in asyncio.all_tasks() if task not in mine and _ours(task)]
        if not left and not tasks:
            return
        if time.monotonic() > until:
            raise AssertionError(f"still held: {left}; tasks: {tasks}")
        await asyncio.sleep(0.002)


def _ours(task: asyncio.Task[Any]) -> bool:
    """Not a task of the upstream's, which may run on the same loop."""
    frame = getattr(task.get_coro(), "cr_code", None)
    return frame is None or not any(
        part in frame.co_filename for part in ("simulator", "upstreams.py", "asyncio/", "pytest_asyncio")
    )


def nothing_held_sync(client: Client, patience: float = PATIENCE) -> None:
    until = time.monotonic() + patience
    while left := held(client):
        if time.monotonic() > until:
            raise AssertionError(f"still held: {left}")
        time.sleep(0.002)


async def eventually(holds: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Assert that something comes true within a moment."""
    until = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < until, "it has not come true"
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def client_of(url: str, **settings: Any) -> AsyncIterator[AsyncClient]:
    """A client that is quick about everything, and closed at the end."""
    async with AsyncClient("openai", base_url=url, **{"api_key": "sk-test", **QUICK, **settings}) as client:
        yield client


# --- the transport by itself ---------------------------------------------------------------------------------------

BODY = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'


def post(url: str, body: bytes | None = BODY, /, **headers: str) -> HttpRequest:
    return HttpRequest("POST", url + "/chat/completions", headers, body)


@contextlib.asynccontextmanager
async def opened(**options: Any) -> Any:
    transport = HttpTransport(**options)
    try:
        yield transport
        assert transport.open_connections == 0
    finally:
        await transport.aclose()


async def fetch(transport: HttpTransport, url: str, limits: Limits | None = None, **headers: str) -> bytes:
    response = await transport.send(post(url, **headers), limits or Limits())
    return await response.read()
