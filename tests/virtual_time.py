"""Time that passes only where everybody waits: ``pytestmark = pytest.mark.virtual_time``, or on a single test.

The test's event loop has a clock of its own. While anything can go on, it stands still (but for a microsecond a turn);
when nothing can, it is at once the time of the next timer. So a limit of 50 ms never strikes because the machine was
busy for 50 ms, an hour's silence takes no time at all, and durations can be asserted to the millisecond.

What the test talks to must run on the same loop (a `Simulator`, not a `SimulatorThread`; no other process): what is
sent to it by loopback is waited for before time passes, and so is work that the loop has given to its threads. Of what
other threads do (a cache on disk, a ledger) it knows nothing: a test that waits for that with a limit is marked
``virtual_time(False)``.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

__all__ = ["VirtualLoop", "applies", "factories", "install"]

#: Seconds that a turn of the loop takes. Not nothing: who waits until an instant asks again when it has not quite come,
#: and a rounding error must not keep it there for ever.
TURN = 1e-6
#: Seconds for which work in threads stops the clock at a time: it may be what waits for a timer.
PATIENCE = 1.0

_real: Callable[[], float] = time.monotonic


class _Monotonic:
    """`time.monotonic`, as whoever asks it has it. (Not a function: some classes keep it as an attribute.)"""

    def __call__(self) -> float:
        loop = asyncio._get_running_loop()
        return loop.now if isinstance(loop, VirtualLoop) else _real()


def install() -> None:
    """Before anything of ours is imported: most modules take `time.monotonic` as the default of a parameter."""
    if not isinstance(time.monotonic, _Monotonic):
        vars(time)["monotonic"] = _Monotonic()


def applies(item: pytest.Item) -> bool:
    """Whether a test asks for this clock. Ordinary functions of a marked file do not, nor who is marked with False."""
    mark = item.get_closest_marker("virtual_time")
    if mark is None or False in mark.args:
        return False
    return inspect.iscoroutinefunction(getattr(item, "obj", None))


def factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The kind of event loop that a test asks for."""
    return {"virtual": VirtualLoop} if applies(item) else {"real": asyncio.new_event_loop}


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = _real()
        #: How much work threads do for the loop right now.
        self.elsewhere = 0
        super().__init__(_Selector(self))
        self._echo = _Echo()

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self.elsewhere += 1
        future.add_done_callback(self._back)
        return future

    def _back(self, _: object) -> None:
        self.elsewhere -= 1

    def caught_up(self) -> None:
        """Return when all that was sent by loopback until now has arrived."""
        self._echo.send()

    def close(self) -> None:
        super().close()
        self._echo.close()


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._virtual = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._virtual
        loop.now += TURN
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            return super().select(None)
        if loop.elsewhere:
            ready = super().select(max(timeout, PATIENCE))
        else:
            loop.caught_up()
            ready = super().select(0)
        if not ready:
            loop.now += timeout
        return ready


class _Echo:
    """A connection to ourselves. What it delivers left after all the rest, and arrives after it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._from = socket.create_connection(listener.getsockname())
            self._to = listener.accept()[0]
        self._from.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        self._from.send(b"!")
        self._to.recv(1)

    def close(self) -> None:
        for each in (self._from, self._to):
            with contextlib.suppress(OSError):
                each.close()
