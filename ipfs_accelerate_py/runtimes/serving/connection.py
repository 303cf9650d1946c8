"""One worker's life: requests to it, answers from it, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, RuntimeUnavailable, WorkerLost
from ipfs_accelerate_py.types import Chunk

from .bridging import Told as Items
from .bridging import outcome
from .channel import Channel
from .crashes import describe_end
from .faults import from_error, to_error
from .jobs import Job
from .memory import killed_for_memory
from .messages import (
    Cancel,
    Failed,
    FromWorker,
    More,
    Run,
    State,
    Stop,
    Told,
    ToWorker,
    Wrote,
    decode_from_worker,
    encode,
)
from .nursery import Child

__all__ = ["Connection"]

# Chunks of a stream that may be under way to a reader who does not read.
_WINDOW = 64

# Seconds: for the news of how a worker ended, and for one to end by itself when it is told to.
_NEWS = 2.0
_GOODBYE = 2.0


class Connection:
    """To one worker process.

    Args:
        name: of the model, for messages.
        told: hears how far a load is.
        ended: called once when the worker has ended, with whether that was a crash.
    """

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        child: Child,
        *,
        limit: int,
        told: Callable[[str, int, int], None],
        ended: Callable[[Connection, bool], None],
    ) -> None:
        self.child = child
        self.snapshot: dict[str, Any] = {}
        self._name = name
        self._told = told
        self._ended = ended
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Callable[[Any], None]] = {}
        self._gone: RuntimeUnavailable | None = None
        self._stopping = False
        self._starved = killed_for_memory()
        self._channel = Channel(sock, self._hear, self._lost, limit=limit, name=f"worker{child.pid}")

    def ask(self, make: Callable[[int], ToWorker]) -> tuple[int, Future[Any], Future[None] | None]:
        """Send a request: its number, the answer to come, and where much waits to be sent a future to await first."""
        answer: Future[Any] = Future()

        def settle(message: Any) -> None:
            if not answer.set_running_or_notify_cancel():
                return
            if isinstance(message, BaseException):
                answer.set_exception(message)
            else:
                answer.set_result(message)

        number = next(self._numbers)
        frame = encode(make(number))
        crowd = self._ask(number, frame, settle)
        return number, answer, crowd

    async def call(self, make: Callable[[int], ToWorker]) -> Any:
        """The answer to a request. Leaving early tells the worker."""
        number, answer, crowd = self.ask(make)
        try:
            if crowd is not None:
                await outcome(crowd)
            return await outcome(answer)
        except asyncio.CancelledError:
            self._leave(number)
            raise

    async def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        """Chunks of a streaming job as they come; no more than a few wait here for a slow reader."""
        number = next(self._numbers)
        frame = encode(Run(number, job, True, _WINDOW))
        items: Items[Any] = Items(lambda message: not isinstance(message, Wrote))

        def begin(tell: Callable[[Any], None]) -> _Leaving:
            self._ask(number, frame, tell)
            return _Leaving(lambda: self._leave(number))

        read = 0
        async for message in items.items(begin):
            if not isinstance(message, Wrote):
                return
            for chunk in message.chunks:
                yield chunk
            read += len(message.chunks)
            if read >= _WINDOW // 2:
                self._say(More(number, read))
                read = 0

    @property
    def ended(self) -> bool:
        """Whether the worker has ended: no call can go to it any more."""
        return self._gone is not None

    @property
    def lost(self) -> bool:
        """Whether the worker has ended, and nobody here wanted it to."""
        return self._gone is not None and not self._stopping

    def stop(self) -> None:
        """End the worker: it is asked to, and after a while made to. Blocks; may be called again."""
        with self._lock:
            self._stopping = True
        self._say(Stop())
        try:
            self.child.ended.result(_GOODBYE)
        except FutureTimeout:
            self.child.kill()
            with contextlib.suppress(FutureTimeout):  # it hangs in the kernel; the zygote will tell when it is gone
                self.child.ended.result(_GOODBYE)
        self._channel.close()

    def _ask(self, number: int, frame: bytes, settle: Callable[[Any], None]) -> Future[None] | None:
        """Send what ``settle`` is to hear the answer of, or what became of the worker instead."""
        with self._lock:
            if self._gone is not None:
                raise to_error(from_error(self._gone))
            self._pending[number] = settle
        try:
            return self._channel.send(frame)
        except WorkerLost:
            # Closed, and how the worker ended is not known yet: `_lost` tells everybody who is pending, us too.
            return None
        except BaseException:
            self._pending.pop(number, None)
            raise

    def _leave(self, number: int) -> None:
        if self._pending.pop(number, None) is not None:
            self._say(Cancel(number))

    def _say(self, message: ToWorker) -> None:
        with contextlib.suppress(AccelerateError):  # it has ended, and everybody is told so
            self._channel.send(encode(message))

    # --- from the channel's reading thread --------------------------------------------------------------------------

    def _hear(self, frame: bytes) -> None:
        message: FromWorker = decode_from_worker(frame)
        if isinstance(message, Told):
            self._told(message.phase, message.done, message.total)
        elif isinstance(message, State):
            self.snapshot = message.snapshot
        elif isinstance(message, Wrote):
            if (settle := self._pending.get(message.id)) is not None:
                settle(message)
        elif (settle := self._pending.pop(message.id, None)) is not None:
            settle(to_error(message.fault) if isinstance(message, Failed) else message)

    def _lost(self) -> None:
        if not self._stopping:
            # The connection ends a moment before the process; one that lives on without it is of no use.
            try:
                status = self.child.ended.result(_NEWS)
            except FutureTimeout:
                self.child.kill()
                status = -1
            gone = describe_end(self._name, status, killed_for_memory() > self._starved, self.child.capped)
        else:
            gone = RuntimeUnavailable(f"model {self._name!r} has been unloaded")
        with self._lock:
            self._gone = gone
            pending, self._pending = self._pending, {}
        self._ended(self, not self._stopping)
        for settle in pending.values():
            settle(to_error(from_error(gone)))  # one of each one's own: it will hold his traceback


class _Leaving:
    def __init__(self, leave: Callable[[], None]) -> None:
        self.cancel = leave
