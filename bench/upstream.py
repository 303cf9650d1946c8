"""A fixed upstream for benchmarks: the leanest server that can be written here, so that it is never the bottleneck.

Answers every POST with the same 600-byte chat completion, or, where the body asks for a stream, with the same chunks:
all at once, or paced at ``--rate`` chunks a second. With ``--delay`` a whole answer comes that many seconds later.

    python -m bench.upstream --port 9200
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import cast

import httptools
import uvloop

TEXT = "The quick brown fox jumps over the lazy dog. " * 6


def unary_body() -> bytes:
    return json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1700000000,
            "model": "bench-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 60, "total_tokens": 72},
        }
    ).encode()


def stream_events(count: int) -> list[bytes]:
    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        chunk = {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "bench-model",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    usage = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "bench-model",
        "choices": [],
        "usage": {"prompt_tokens": 12, "completion_tokens": count, "total_tokens": 12 + count},
    }
    return [
        *[event({"content": f" token{n}"}) for n in range(count)],
        event({}, "stop"),
        b"data: " + json.dumps(usage).encode() + b"\n\n",
        b"data: [DONE]\n\n",
    ]


class Upstream(asyncio.Protocol):
    unary = b""
    events: list[bytes] = []
    rate = 0.0
    delay = 0.0
    connections = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self.parser = httptools.HttpRequestParser(self)
        self.body = bytearray()
        self.task: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, bytearray()
        if b'"stream":true' not in body and b'"stream": true' not in body:
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.transport.write, self.unary)
            else:
                self.transport.write(self.unary)
            return
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        if not self.rate:
            joined = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in self.events)
            self.transport.write(head + joined + b"0\r\n\r\n")
            return
        self.transport.write(head)
        self.task = asyncio.get_running_loop().create_task(self.paced())

    async def paced(self) -> None:
        for event in self.events:
            self.transport.write(b"%x\r\n%s\r\n" % (len(event), event))
            await asyncio.sleep(1 / self.rate)
        self.transport.write(b"0\r\n\r\n")


async def serve(port: int, chunks: int, rate: float, delay: float) -> None:
    body = unary_body()
    Upstream.unary = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body
    Upstream.events = stream_events(chunks)
    Upstream.rate = rate
    Upstream.delay = delay
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    print(f"upstream on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9200)
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--delay", type=float, default=0.0)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.chunks, arguments.rate, arguments.delay))


if __name__ == "__main__":
    main()
