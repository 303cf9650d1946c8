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
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Portal", "interrupted", "lock", "new_event_loop", "portal"]

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


def interrupted(error: RuntimeError) -> BaseException | None:
    """The interrupt (Ctrl-C) behind ``error``, or None where it is an error of its own.

    `threading.Condition.wait`, and with it `Future.result`, lets go of a lock and takes it again. An interrupt that
    strikes just between the two leaves the lock let go, and what is raised then is a complaint of that.
    """
    return error.__context__ if "un-acquired lock" in str(error) else None


class Closeable(Protocol):
    """What is closed at exit."""

    async def aclose(self) -> None: ...


class Portal:
    """Runs coroutines on its loop for callers in other threads. Made by `portal`, and again in a forked child."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._closed = False
        #: What runs on the loop, and is cancelled at the end.
        self.tasks: set[asyncio.Task[Any]] = set()
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

    @property
    def thread_id(self) -> int | None:
        """The thread that runs the loop."""
        return self._thread.ident

    def ended(self) -> BaseException:
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
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
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
        self._portal.tasks.add(self._task)
        self._task.add_done_callback(self._finish)

    async def _await(self) -> T:
        return await self._function(*self._args, **self._kwargs)

    def _finish(self, task: asyncio.Task[T]) -> None:
        self._portal.tasks.discard(task)
        self._task = None  # the task holds its error, the error its traceback, and that the frame that waits here
        if task.cancelled():
            self._error = self._portal.ended()
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
        self._portal.tasks.add(self._task)
        self._task.add_done_callback(self._settle)

    async def _await(self) -> T:
        return await self._function(*self._args, **self._kwargs)

    def _settle(self, task: asyncio.Task[T]) -> None:
        self._portal.tasks.discard(task)
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
