"""The simulator from outside a running loop: on a thread of its own, and as a command."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from .books import Served
from .faults import Fault
from .server import Simulator
from .wire import Request

__all__ = ["SimulatorThread", "serve"]

T = TypeVar("T")


class SimulatorThread:
    """A :class:`Simulator` on its own thread and loop, for synchronous tests and notebooks.

    ::

        with SimulatorThread("openai", tokens=5) as sim:
            client = openai.OpenAI(base_url=sim.url, api_key="any")

    Takes the arguments of :class:`Simulator` and has its methods; each runs on the simulator's loop and returns when it
    is done. :attr:`requests` and :attr:`counts` are copies.
    """

    def __init__(self, service: str = "openai", **options: Any) -> None:
        self._simulator = Simulator(service, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen. Raises ``OSError`` where the address cannot be had."""
        if self._thread is not None:
            raise RuntimeError("The simulator is running already.")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        try:
            self._run(self._simulator.start())
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Close the socket, every connection and the thread."""
        if self._thread is None:
            return
        try:
            self._run(self._simulator.stop())
        finally:
            self._end()

    def _end(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("The simulator is not running: use it as `with SimulatorThread(...)`, or call start().")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._run(call())

    @property
    def url(self) -> str:
        return self._simulator.url

    @property
    def port(self) -> int:
        return self._simulator.port

    @property
    def requests(self) -> list[Request]:
        return self._call(lambda: list(self._simulator.requests))

    @property
    def counts(self) -> Counter[str]:
        return self._call(self._simulator.counts.copy)

    @property
    def open_connections(self) -> int:
        return self._call(lambda: self._simulator.open_connections)

    @property
    def in_flight(self) -> int:
        return self._call(lambda: self._simulator.in_flight)

    def served(self, by: str = "model") -> dict[str, Served]:
        """The simulator's own account (a copy); see :meth:`Simulator.served`."""
        return self._call(lambda: self._simulator.served(by))

    def key_name(self, value: str) -> str:
        return self._call(lambda: self._simulator.key_name(value))

    def script(self, *faults: Fault | str) -> None:
        self._call(lambda: self._simulator.script(*faults))

    def always(self, *faults: Fault | str, when: Callable[[Request], bool] | None = None) -> None:
        self._call(lambda: self._simulator.always(*faults, when=when))

    def random(self, rate: float, faults: Iterable[Fault | str], seed: int = 0) -> None:
        self._call(lambda: self._simulator.random(rate, faults, seed))

    def configure(self, **changes: Any) -> None:
        self._call(lambda: self._simulator.configure(**changes))

    def clear(self) -> None:
        self._call(self._simulator.clear)

    def down(self, seconds: float | None = None) -> None:
        self._call(lambda: self._simulator.down(seconds))

    def up(self) -> None:
        self._run(self._simulator.up())


def serve(
    service: str = "openai",
    host: str = "127.0.0.1",
    port: int = 9100,
    *,
    faults: Iterable[Fault | str] = (),
    fault_rate: float | None = None,
    script: Iterable[Fault | str] = (),
    announce: Callable[[Simulator], None] | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    **options: Any,
) -> None:
    """Run a simulator until SIGINT or SIGTERM, then close it in good order.

    Args:
        faults: played on every request, or with ``fault_rate`` (0 to 1), one of them on that share of requests.
        script: played before them, one for each request.
        announce: called once it listens, for instance to print its ``url``.
        loop_factory: makes the event loop, for instance ``uvloop.new_event_loop``.
        options: those of :class:`Simulator`.

    Raises ``UnknownBackend`` for an unknown service, ``ValueError`` for wrong options, ``OSError`` where the address
    cannot be had.
    """
    simulator = Simulator(service, host=host, port=port, **options)
    simulator.script(*script)
    if fault_rate is None:
        simulator.always(*faults)
    else:
        simulator.random(fault_rate, faults, seed=simulator.settings.seed)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(simulator, announce))


async def _serve(simulator: Simulator, announce: Callable[[Simulator], None] | None) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    async with simulator:
        for number in signals:
            loop.add_signal_handler(number, ended.set)
        try:
            if announce is not None:
                announce(simulator)
            await ended.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
