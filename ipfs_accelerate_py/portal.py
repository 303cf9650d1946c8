"""The one background thread with the one event loop that all synchronous clients share.

The asynchronous core is confined to that loop, so the synchronous face needs no locks of its own and is safe to use
from any number of threads: whatever it does, it does there.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import ConfigurationError, ReadTimeout

__all__ = ["Portal", "PumpedStream", "new_event_loop", "portal"]

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


_SHUTTING_DOWN = "the interpreter is shutting down; no more calls are possible"


class Closeable(Protocol):
    """What is closed at exit."""

    async def aclose(self) -> None: ...


class Portal:
    """Runs coroutines on its loop for callers in other threads. Made by `portal`, and again in a forked child."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closeables: weakref.WeakSet[Closeable] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._run, name="ipfs-accelerate-portal", daemon=True)
        self._thread.start()
        self._ready.wait()

    def call(self, function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Await ``function(*args, **kwargs)`` on the loop, and give its result or raise its error here.

        An interrupted wait (Ctrl-C) cancels the call. Raises `ConfigurationError` from the portal's own thread, which
        would wait for itself for ever.
        """
        self.check()
        exchange = _Exchange[T](self, function, args, kwargs)
        self.loop.call_soon_threadsafe(exchange.start)
        return exchange.wait()

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a plain function on the loop's thread."""
        if threading.get_ident() == self._thread.ident:
            return function(*args)

        async def asynchronous() -> T:
            return function(*args)

        return self.call(asynchronous)

    def submit(
        self, future: Future[T], function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any
    ) -> Callable[[], None]:
        """Await ``function(*args, **kwargs)`` on the loop and settle ``future`` with the outcome, without waiting here.

        May be called from any thread. Gives a function that cancels the call; harmless when it is over.
        """
        if self._closed:
            self.check()
        submission = _Submission(self, future, function, args, kwargs)
        self.loop.call_soon_threadsafe(submission.start)
        return submission.cancel

    def adopt(self, closeable: Closeable) -> None:
        """Close this at exit, if it is still there."""
        self._closeables.add(closeable)

    def close(self) -> None:
        """Stop: cancel what runs, close what was opened, end the thread."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)

    def _ended(self) -> BaseException:
        """What a caller is told whose call was cancelled under it."""
        return ConfigurationError(_SHUTTING_DOWN) if self._closed else asyncio.CancelledError()

    def check(self) -> None:
        """Raise `ConfigurationError` where to wait on the portal would be for ever: on its thread, or after its end."""
        if threading.get_ident() == self._thread.ident:
            raise ConfigurationError(
                "a synchronous client was called from the event loop that serves it and would wait for itself "
                "for ever; use AsyncClient there"
            )
        if self._closed:
            raise ConfigurationError(_SHUTTING_DOWN)

    def _run(self) -> None:
        self.loop = new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._ready.set)
        try:
            self.loop.run_forever()
        finally:
            with contextlib.suppress(Exception):  # at exit: nobody is left to hear of it
                self.loop.run_until_complete(self._shut())
            self.loop.close()

    async def _shut(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for closeable in list(self._closeables):
            with contextlib.suppress(Exception):
                await closeable.aclose()
        await self.loop.shutdown_asyncgens()


class _Exchange(Generic[T]):
    """One call that crosses to the loop and back: a lock is the lightest thing a thread can wait on."""

    __slots__ = ("_args", "_context", "_error", "_function", "_kwargs", "_lock", "_portal", "_result", "_task")

    def __init__(
        self, portal: Portal, function: Callable[..., Awaitable[T]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._portal = portal
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._lock.acquire()
        self._task: asyncio.Task[T] | None = None
        self._result: T
        self._error: BaseException | None = None

    def start(self) -> None:
        self._task = self._portal.loop.create_task(self._await(), context=self._context)
        self._portal._tasks.add(self._task)
        self._task.add_done_callback(self._finish)

    async def _await(self) -> T:
        return await self._function(*self._args, **self._kwargs)

    def _finish(self, task: asyncio.Task[T]) -> None:
        self._portal._tasks.discard(task)
        self._task = None  # the task holds its error, the error its traceback, and that the frame that waits here
        if task.cancelled():
            self._error = self._portal._ended()
        else:
            self._error = task.exception()
            if self._error is None:
                self._result = task.result()
        self._lock.release()

    def wait(self) -> T:
        try:
            self._lock.acquire()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                self._portal.loop.call_soon_threadsafe(self._cancel)
            raise
        error = self._error
        if error is None:
            return self._result
        try:
            raise error
        finally:
            self._error = error = None  # the traceback refers to this frame: do not keep each other alive

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class _Submission(Generic[T]):
    """One call whose outcome goes to a future."""

    def __init__(
        self,
        portal: Portal,
        future: Future[T],
        function: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._portal = portal
        self._future = future
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[T] | None = None

    def start(self) -> None:
        if self._future.cancelled():
            self._future.set_running_or_notify_cancel()  # whoever waits for it must be told
            return
        self._task = self._portal.loop.create_task(self._await(), context=self._context)
        self._portal._tasks.add(self._task)
        self._task.add_done_callback(self._settle)

    async def _await(self) -> T:
        return await self._function(*self._args, **self._kwargs)

    def _settle(self, task: asyncio.Task[T]) -> None:
        self._portal._tasks.discard(task)
        # The future may hold our `cancel`, and thereby all this: let go of what the caller may have forgotten by now.
        self._args, self._kwargs = (), {}
        del self._function
        if task.cancelled():
            self._future.cancel()
        error = None if task.cancelled() else task.exception()
        if not self._future.set_running_or_notify_cancel():
            return
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(task.result())

    def cancel(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and the call with it
            self._portal.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


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
        if threading.get_ident() == self._portal._thread.ident:
            self._portal.check()
        if self._fork != forks.generation():
            raise ConfigurationError("this stream was begun before a fork, and its answer goes to the parent process")
        with self._condition:
            while not self._buffer and not self._ended:
                self._condition.wait()
            self._local, self._buffer = self._buffer, local
            full, self._full = self._full, False
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
        self._portal._tasks.add(self._task)
        self._task.add_done_callback(self._portal._tasks.discard)

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
                stream._condition.notify()
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
                    stream._error = stream._portal._ended() if isinstance(error, asyncio.CancelledError) else error
                stream._ended = True
                stream._condition.notify_all()


async def _space(space: asyncio.Event, deadline: float | None) -> None:
    left = None if deadline is None else deadline - time.monotonic()
    try:
        async with asyncio.timeout(left):
            await space.wait()
    except TimeoutError:
        raise ReadTimeout("the stream was not read to its end before the call's deadline") from None


_portal: Portal | None = None
_lock = threading.Lock()
#: Counts portals: a client compares it to know that the loop its state belonged to is gone (after a fork).
generation = 0


def portal() -> Portal:
    """The process's portal, started when first asked for."""
    global _portal, generation
    found = _portal
    if found is None:
        with _lock:
            if _portal is None:
                generation += 1
                _portal = Portal()
                atexit.register(_portal.close)
            found = _portal
    return found


def lock() -> threading.Lock:
    """For what must be done once per portal; made anew in a forked child."""
    return _lock


def _after_fork() -> None:
    # Threads do not survive a fork, so the child has a portal whose thread is not there.
    global _portal, _lock
    _portal = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
