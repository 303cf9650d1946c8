"""Running a gateway: on this thread until a signal, on a thread of its own, or inside a running loop."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway.app import GatewayApp
from ipfs_accelerate_py.gateway.banner import banner
from ipfs_accelerate_py.gateway.config import GatewayConfig
from ipfs_accelerate_py.gateway.extras import missing, require_metrics
from ipfs_accelerate_py.portal import new_event_loop

if TYPE_CHECKING:
    from ipfs_accelerate_py.gateway.uvicorn_server import Server

__all__ = ["GatewayServer", "RunningGateway", "serve"]

_GC_THRESHOLD = (10_000, 20, 50)


def serve(config: GatewayConfig, *, announce: Callable[[str], object] = print) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way and return. For the main thread of a process.

    Args:
        announce: is given, once requests are taken, the lines that tell whoever runs this what is served and where.

    Raises `ConfigurationError` where the address cannot be had, `MissingExtra` without the ``[gateway]`` extra.
    """

    async def main() -> None:
        gateway = RunningGateway(config, signals=True)
        await gateway.start()
        # A request makes hundreds of objects and leaves no cycles. With the interpreter's defaults the collector would
        # look through them every few requests, and through all that was imported, for a sixth of the time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLD)
        for line in banner(gateway.app, gateway.host, gateway.port):
            announce(line)
        await gateway.wait()

    # uvicorn raises the signal again when it is done, for whoever would want to know; here nobody does.
    thresholds = gc.get_threshold()
    previous = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(main())
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class RunningGateway:
    """A gateway inside a running event loop: ``async with RunningGateway(config, port=0) as gateway``."""

    def __init__(
        self, config: GatewayConfig, *, host: str | None = None, port: int | None = None, signals: bool = False
    ) -> None:
        """``host`` and ``port`` override the configuration's; ``signals`` stops it at SIGINT and SIGTERM."""
        given: dict[str, Any] = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        self.config = dataclasses.replace(config, **given) if given else config
        self.app = GatewayApp(self.config)
        self._signals = signals
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.host = self.config.host
        self.port = self.config.port

    @property
    def url(self) -> str:
        """What clients take as their base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    async def start(self) -> Self:
        """Listen. Raises `ConfigurationError` where the address cannot be had."""
        try:
            from ipfs_accelerate_py.gateway.uvicorn_server import Server
        except ImportError as error:
            raise missing(error.name) from error
        require_metrics()
        await self.app.switch_on()
        listener = _listen(self.config.host, self.config.port)
        self.port = listener.getsockname()[1]
        try:
            server = self._server = Server(self.app, self.config, signals=self._signals)
            self._serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
            ready = asyncio.ensure_future(server.ready.wait())
            await asyncio.wait((ready, self._serving), return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if self._serving.done():
                await self._serving
                raise ConfigurationError("the server ended before it began")
        except BaseException:
            listener.close()
            raise
        return self

    async def wait(self) -> None:
        """Wait until it has stopped."""
        if self._serving is not None:
            await self._serving

    async def stop(self) -> None:
        """Finish what is under way, within ``shutdown_timeout``, and stop."""
        if self._server is not None:
            self._server.stop()
        await self.wait()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class GatewayServer:
    """A gateway on a thread of its own: ``with GatewayServer(config, port=0) as gateway``."""

    def __init__(self, config: GatewayConfig, *, host: str | None = None, port: int | None = None) -> None:
        self._gateway = RunningGateway(config, host=host, port=port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def app(self) -> GatewayApp:
        """The application; its state belongs to the gateway's thread, so only look at it."""
        return self._gateway.app

    @property
    def url(self) -> str:
        """What clients take as their base URL."""
        return self._gateway.url

    @property
    def port(self) -> int:
        return self._gateway.port

    def start(self) -> Self:
        """Listen; returns when requests are taken. Raises `ConfigurationError` where the address cannot be had."""
        if self._thread is not None:
            raise RuntimeError("the gateway runs already")
        loop = self._loop = new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="ipfs-accelerate-gateway", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._gateway.start(), loop).result()
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Finish what is under way, stop, and end the thread."""
        if self._thread is None or self._loop is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._gateway.stop(), self._loop).result()
        finally:
            self._end()

    def _end(self) -> None:
        loop, thread = self._loop, self._thread
        assert loop is not None
        assert thread is not None
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `ConfigurationError` that says what to do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(f"the host {host!r} to listen on is not known: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let others take the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror} (another port: --port, or port: under 'gateway')"
        ) from None
    return listener
