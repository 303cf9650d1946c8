"""The yardstick for the gateway: a bare ASGI proxy on uvicorn and aiohttp. No keys, no queue, no metrics, no parsing.

UPSTREAM=http://127.0.0.1:9200 python -m bench.plain_proxy --port 9300
"""

from __future__ import annotations

import argparse
import os
import socket
from typing import Any

import aiohttp
import uvicorn

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:9200")
session: aiohttp.ClientSession | None = None


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global session
    if scope["type"] != "http":
        return
    if session is None:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {"Content-Type": "application/json"}
    async with session.post(UPSTREAM + scope["path"], data=body, headers=headers) as answer:
        kind = answer.headers.get("Content-Type", "application/json").encode()
        await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
        async for part in answer.content.iter_any():
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9300)
    port = parser.parse_args().port
    listening = socket.create_server(("127.0.0.1", port), backlog=2048)
    print(f"plain proxy on 127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
