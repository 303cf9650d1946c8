"""Streams across the portal: read on the loop by a pump, iterated over in another thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import ConfigurationError, ReadTimeout
from ipfs_accelerate_py.portal import Portal, interrupted

__all__ = ["PumpedStream"]

T = TypeVar("T")


class PumpedStream(Generic[T]):
    """Iterates in this thread over batches read on the loop.

    A task there pumps into a buffer of at most ``bound`` items and then waits for the reader, so a slow reader slows
    the upstream down; an error (a timeout as well) reaches the reader after the items before it.
    """

    def __init__(
        self,
        portal: Portal,
        next_batch: Callable[[], Awaitable[list[T]]],
        abort: Callable[[], None],
        *,
        deadline: float | None = None,
        bound: int = 256,
    ) -> None:
        self._portal = portal
        self._next_batch = next_batch
        self._abort = abort
        self._deadline = deadline
        self._bound = bound
        self._buffer: deque[T] = deque()
        self._condition = threading.Condition()
        self._ended = False
        self._closed = False
        self._fork = forks.generation()
        self._error: BaseException | None = None
        self._full = False
        self._space: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._local: deque[T] = deque()
        portal.check()
        portal.loop.call_soon_threadsafe(self._start)

    def __iter__(self) -> PumpedStream[T]:
        return self

    def __next__(self) -> T:
        local = self._local
        if local:
            return local.popleft()
        if threading.get_ident() == self._portal.thread_id:
            self._portal.check()
        if self._fork != forks.generation():
            raise ConfigurationError("this stream was begun before a fork, and its answer goes to the parent process")
        try:
            with self._condition:
                while not self._buffer and not self._ended:
                    self._condition.wait()
                self._local, self._buffer = self._buffer, local
                full, self._full = self._full, False
        except RuntimeError as failure:
            raise interrupted(failure) or failure from failure.__cause__
        if full:
            with contextlib.suppress(RuntimeError):
                self._portal.loop.call_soon_threadsafe(self._make_space)
        if self._local:
            return self._local.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error
        raise StopIteration

    def close(self) -> None:
        """Leave the stream: the upstream connection is dropped and everything held is given back."""
        with contextlib.suppress(RuntimeError):
            self._portal.loop.call_soon_threadsafe(self._cancel)
        self._local.clear()
        with self._condition:
            self._buffer.clear()
            self._error = None
            self._ended = self._closed = True
            self._condition.notify_all()

    def __del__(self) -> None:
        if not self._ended:
            self.close()

    # --- on the loop ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._space = asyncio.Event()
        # The task holds a weak hand on this object only through its bound parts; see `__del__` above.
        self._task = self._portal.loop.create_task(_pump(_PumpState(self)))
        self._portal.tasks.add(self._task)
        self._task.add_done_callback(self._portal.tasks.discard)

    def _make_space(self) -> None:
        if self._space is not None:
            self._space.set()

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._abort()


class _PumpState:
    """What the pump needs of its stream, held weakly: a reader that forgets the stream must be able to end it."""

    def __init__(self, stream: PumpedStream[Any]) -> None:
        self.stream = weakref.ref(stream)
        self.next_batch = stream._next_batch
        self.abort = stream._abort
        self.space = stream._space
        self.deadline = stream._deadline


async def _pump(state: _PumpState) -> None:
    error: BaseException | None = None
    try:
        while True:
            batch = await state.next_batch()
            stream = state.stream()
            if stream is None or not batch:
                break
            with stream._condition:
                if stream._closed:
                    break
                stream._buffer.extend(batch)
                stream._full = full = len(stream._buffer) >= stream._bound
                stream._condition.notify_all()  # an interrupted wait may have left a waiter that is none any more
            del stream
            if full and state.space is not None:
                state.space.clear()
                await _space(state.space, state.deadline)
    except BaseException as problem:
        error = problem
        if isinstance(problem, asyncio.CancelledError):
            raise
    finally:
        state.abort()
        stream = state.stream()
        if stream is not None:
            with stream._condition:
                if not stream._closed:  # who has closed it does not want to hear how it ended
                    stream._error = stream._portal.ended() if isinstance(error, asyncio.CancelledError) else error
                stream._ended = True
                stream._condition.notify_all()


async def _space(space: asyncio.Event, deadline: float | None) -> None:
    left = None if deadline is None else deadline - time.monotonic()
    try:
        async with asyncio.timeout(left):
            await space.wait()
    except TimeoutError:
        raise ReadTimeout("the stream was not read to its end before the call's deadline") from None
