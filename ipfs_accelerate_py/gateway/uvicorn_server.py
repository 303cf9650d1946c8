"""uvicorn's server with our protocol, our way to stop, and nothing that it would print.

The one module that imports uvicorn; it is imported when a gateway is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import Generator
from types import FrameType
from typing import Any, cast

import uvicorn

from ipfs_accelerate_py.gateway.app import GatewayApp
from ipfs_accelerate_py.gateway.config import GatewayConfig
from ipfs_accelerate_py.gateway.connections import ConnectionLimits, Connections
from ipfs_accelerate_py.gateway.http1 import HttpProtocol

__all__ = ["BACKLOG", "Server"]

BACKLOG = 2048
#: Seconds that answers get to be broken off properly when the time to finish them is over.
_LAST_WORDS = 2.0


class Server(uvicorn.Server):
    """Serves one application on sockets that listen already. Made inside the running loop."""

    def __init__(self, app: GatewayApp, config: GatewayConfig, *, signals: bool) -> None:
        """``signals`` says that SIGINT and SIGTERM are to stop it."""
        limits = ConnectionLimits(
            config.max_header_bytes,
            config.header_timeout,
            config.body_timeout,
            config.keep_alive_timeout,
            config.write_timeout,
        )
        protocol = functools.partial(HttpProtocol, Connections(limits, app.metrics.refuse))
        super().__init__(
            uvicorn.Config(
                cast(Any, app),
                http=cast(Any, protocol),
                ws="none",
                lifespan="on",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
            )
        )
        self.ready = asyncio.Event()
        self._app = app
        self._timeout = config.shutdown_timeout
        self._delay = config.shutdown_delay
        self._signals = signals
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Begin to stop."""
        self.should_exit = True
        self._stopping.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        # uvicorn's own wakes up ten times a second to look whether it should stop; the date changes once.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, let what is under way finish, then break it off with a word to each client."""
        self._app.draining = True
        if self._delay:
            await asyncio.sleep(self._delay)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if not await self._over(self._timeout):
            for task in list(self.server_state.tasks):
                task.cancel()
            await self._over(_LAST_WORDS)
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        await self.lifespan.shutdown()

    async def _over(self, seconds: float) -> bool:
        """Whether every answer is complete and every connection closed, within this time."""
        until = time.monotonic() + seconds
        while self.server_state.connections or self.server_state.tasks:
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(0.01)
        return True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if not self._signals:
            yield
            return
        with super().capture_signals():
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._stopping.set)
