"""A lean load generator: raw asyncio protocols, requests made once, answers parsed in C. Bounded in count and time."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import httptools

__all__ = ["Answers", "call_many", "hold_streams"]


class Answers:
    """What came of a load: seconds of each answer, of each first body byte, bodies' bytes, and failures."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.first: list[float] = []
        self.bytes = 0
        self.failed = 0


class _Connection(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> asyncio.Future[None]:
        self.parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.began = time.perf_counter()
        self.first = 0.0
        self.transport.write(request)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
            self.answers.first.append(self.first - self.began)
        self.answers.bytes += len(body)

    def on_message_complete(self) -> None:
        self.answers.seconds.append(time.perf_counter() - self.began)
        if self.parser.get_status_code() != 200:
            self.answers.failed += 1
        if not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if hasattr(self, "done") and not self.done.done():
            self.answers.failed += 1
            self.done.set_result(None)


def request(host: str, path: str, body: bytes, key: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def call_many(port: int, wire: bytes, total: int, concurrency: int) -> tuple[Answers, float]:
    """``total`` calls over ``concurrency`` kept-alive connections; gives the answers and the seconds it took."""
    answers = Answers()
    left = iter(range(total))
    loop = asyncio.get_running_loop()

    async def worker() -> None:
        _, connection = await loop.create_connection(lambda: _Connection(answers), "127.0.0.1", port)
        for _ in left:
            if connection.lost:
                _, connection = await loop.create_connection(lambda: _Connection(answers), "127.0.0.1", port)
            await connection.ask(wire)
        connection.transport.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return answers, time.perf_counter() - began


async def hold_streams(port: int, wire: bytes, streams: int, ramp: float) -> tuple[Answers, float]:
    """``streams`` streams at once, begun evenly over ``ramp`` seconds."""
    answers = Answers()
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        await asyncio.sleep(ramp * number / streams)
        _, connection = await loop.create_connection(lambda: _Connection(answers), "127.0.0.1", port)
        await connection.ask(wire)
        connection.transport.close()

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(streams)))
    return answers, time.perf_counter() - began
