"""A model's own process, from the inside: asked over a socket, it answers by a `LocalServable`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import traceback
from pathlib import Path

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.progress import telling
from ipfs_accelerate_py.runtimes.scheduled import is_out_of_memory

from .channel import HEADER
from .crashes import STARVED
from .faults import from_error
from .memory import free_unused, room
from .messages import (
    Answered,
    Cancel,
    Ended,
    Failed,
    FromWorker,
    Load,
    More,
    Opened,
    Run,
    State,
    Stop,
    Told,
    Weigh,
    Weighed,
    Wrote,
    decode_to_worker,
    encode,
)  # fmt: skip
from .opening import Model
from .servable import LocalServable

__all__ = ["Worker", "work"]

# Seconds between two reports of counters and memory, while there is something to report.
_REPORT = 1.0


class Worker:
    """Serves one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._servable: LocalServable | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._windows: dict[int, asyncio.Semaphore] = {}
        self._changed = asyncio.Event()
        self._limit = 1 << 30
        #: Bytes of memory that were left to it when its model was ready; None where there is no limit.
        self._room: int | None = None
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Until it is told to stop, or the connection ends."""
        report = asyncio.create_task(self._report())
        try:
            while True:
                (length,) = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                message = decode_to_worker(await self._reader.readexactly(length))
                if isinstance(message, Stop):
                    return
                self._take(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            report.cancel()
            for task in list(self._tasks.values()):
                task.cancel()

    def _take(self, message: Cancel | More | Load | Weigh | Run) -> None:
        if isinstance(message, Cancel):
            if (task := self._tasks.get(message.id)) is not None:
                task.cancel()
        elif isinstance(message, More):
            if (window := self._windows.get(message.id)) is not None:
                for _ in range(message.count):
                    window.release()
        else:
            task = self._tasks[message.id] = asyncio.create_task(self._answer(message))
            task.add_done_callback(lambda done: self._answered(message.id, done))

    def _answered(self, number: int, done: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, ConnectionError):
            _give_up(error)  # its caller could not even be told why

    async def _answer(self, message: Load | Weigh | Run) -> None:
        fault = None
        starved = False
        try:
            if isinstance(message, Load):
                await self._load(message)
            elif isinstance(message, Weigh):
                await self._weigh(message)
            else:
                await self._run(message)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # panics of Rust's are no `Exception`
            if self._writer.is_closing():
                return
            fault, starved = from_error(exc), is_out_of_memory(exc)
        if fault is not None:
            fit = not starved or self._has_recovered()
            await self._send(Failed(message.id, fault))
            if not fit:  # the next call would only find the same want: it gets another worker
                os._exit(STARVED)
        self._changed.set()

    def _has_recovered(self) -> bool:
        """Whether, after memory ran out, at least half of the room is there again that there was for the first call.

        Asked when the error is gone, and with it what its frames held."""
        free_unused()
        left = room()
        return left is None or self._room is None or left >= self._room // 2

    async def _load(self, message: Load) -> None:
        self._limit = message.limit
        if self._servable is None:
            self._servable = LocalServable(Model(message.name, Path(message.path), message.plan))

        def told(phase: str, done: int, total: int) -> None:
            self._loop.call_soon_threadsafe(self._soon, Told(phase, done, total))

        with telling(told):
            facts = await self._servable.open(message.task)
        facts.isolated = True
        self._room = room()
        await self._send(Opened(message.id, facts))

    async def _weigh(self, message: Weigh) -> None:
        await self._send(Weighed(message.id, await self._model().cost(message.task)))

    def _model(self) -> LocalServable:
        if self._servable is None:
            raise RuntimeUnavailable("this worker has no model")
        return self._servable

    def _soon(self, message: FromWorker) -> None:
        task = asyncio.ensure_future(self._send(message))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _run(self, message: Run) -> None:
        if message.stream:
            await self._stream(message, self._model())
        else:
            await self._send(Answered(message.id, await self._model().run(message.job)))

    async def _stream(self, message: Run, servable: LocalServable) -> None:
        window = self._windows[message.id] = asyncio.Semaphore(message.window)
        try:
            async with contextlib.aclosing(servable.stream(message.job)) as chunks:
                async for chunk in chunks:
                    await window.acquire()
                    await self._send(Wrote(message.id, [chunk]))
            await self._send(Ended(message.id))
        finally:
            del self._windows[message.id]

    async def _report(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._servable is not None:
                await self._send(State(self._servable.snapshot()))
            await asyncio.sleep(_REPORT)

    async def _send(self, message: FromWorker) -> None:
        frame = encode(message)
        if len(frame) > self._limit:
            # What came in is harmless: it is the answer that is too large, so the caller can ask for less at a time.
            raise InvalidRequest(
                f"the answer of {len(frame)} bytes is over the limit of {self._limit} for models in processes of their "
                "own: ask with fewer inputs at a time",
                status=413,
                param="input",
            )
        async with self._sending:
            self._writer.write(HEADER.pack(len(frame)))
            self._writer.write(frame)
            await self._writer.drain()


async def _serve(sock: socket.socket) -> None:
    # What the loop itself fails at - reading, waking a task - somebody waits for.
    asyncio.get_running_loop().set_exception_handler(lambda _, context: _give_up(context.get("exception")))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 20)
    await Worker(reader, writer).serve()


def work(sock: socket.socket) -> int:
    """Run a worker on this socket, in a process that has nothing else to do; its exit status."""
    _reseed()
    # A thread that ends by an error had somebody's answer, and those of all who come after him.
    threading.excepthook = lambda failed: _give_up(failed.exc_value)
    asyncio.run(_serve(sock))
    return 0


def _give_up(error: BaseException | None) -> None:
    """End this process, so that nobody waits for an answer that does not come: who asks again has another one."""
    if error is None:
        return
    with contextlib.suppress(BaseException):
        traceback.print_exception(error)
    os._exit(STARVED if is_out_of_memory(error) else 1)


def _reseed() -> None:
    """Give this process random numbers of its own: what the zygote imported began with the same for all."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.seed()
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()
