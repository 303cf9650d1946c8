"""The thread behind every sync client: calls cross to it and back, streams are pumped, and it ends when told to."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest

from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, ReadTimeout, ServerError
from ipfs_accelerate_py.pending import Pending
from ipfs_accelerate_py.portal import Portal, portal
from ipfs_accelerate_py.pump import PumpedStream

word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@pytest.fixture
def gate() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()
    made.close()


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


# --- calls -------------------------------------------------------------------------------------------------------


def test_results_and_errors_cross(gate: Portal) -> None:
    assert gate.call(double, 21) == 42

    async def fail() -> None:
        raise ServerError("down", status=503)

    with pytest.raises(ServerError, match="down"):
        gate.call(fail)
    assert gate.tasks == set()


def test_there_is_one_for_the_process() -> None:
    assert portal() is portal()
    assert portal()._thread.daemon


def test_the_first_callers_meet_in_one_portal() -> None:
    barrier = threading.Barrier(8)

    def first() -> Portal:
        barrier.wait()
        return portal()

    with ThreadPoolExecutor(8) as pool:
        assert len({id(found) for found in pool.map(lambda _: first(), range(8))}) == 1


def test_many_threads_at_once(gate: Portal) -> None:
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(lambda number: gate.call(double, number), range(2000))) == [2 * n for n in range(2000)]
    assert gate.tasks == set()


def test_context_variables_cross(gate: Portal) -> None:
    async def look() -> str:
        return word.get()

    token = word.set("here")
    try:
        assert gate.call(look) == "here"
    finally:
        word.reset(token)
    assert gate.call(look) == "none"


def test_from_its_own_thread_it_is_refused_and_not_hung(gate: Portal) -> None:
    async def inside() -> None:
        gate.call(double, 1)

    with pytest.raises(ConfigurationError, match="AsyncClient"):
        gate.call(inside)
    assert gate.call(double, 1) == 2


def test_plain_functions_run_on_its_thread_also_from_there(gate: Portal) -> None:
    assert gate.run(threading.get_ident) == gate._thread.ident

    async def inside() -> int:
        return gate.run(threading.get_ident)

    assert gate.call(inside) == gate._thread.ident


def test_errors_and_results_are_not_kept_alive(gate: Portal) -> None:
    class Thing:
        pass

    seen: list[weakref.ref[Thing]] = []

    async def fail() -> None:
        thing = Thing()
        seen.append(weakref.ref(thing))
        raise ServerError("down")

    with contextlib.suppress(ServerError):
        gate.call(fail)
    gate.call(double, 1)
    assert seen[0]() is None, "the error's traceback is in a cycle that only the collector ends"


def test_an_interrupted_wait_cancels_the_call(gate: Portal) -> None:
    """What Ctrl-C does to the main thread: here the lock's acquire is made to raise."""
    started, ended = threading.Event(), threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    class Interrupting:
        def acquire(self) -> None:
            assert started.wait(1)
            raise KeyboardInterrupt

        def release(self) -> None:
            pass

    from ipfs_accelerate_py import portal as module

    exchange: Any = module._Exchange(gate, hang, (), {})
    exchange._lock = Interrupting()
    gate.loop.call_soon_threadsafe(exchange.start)
    with pytest.raises(KeyboardInterrupt):
        exchange.wait()
    assert ended.wait(1)
    assert gate.call(double, 1) == 2
    assert gate.tasks == set()


class StruckInBetween(threading.Condition):
    """Ctrl-C strikes where `wait` has let go of the lock, and has not yet begun to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._release_save = self._strike  # an attribute of each condition, taken from its lock

    def _strike(self) -> Any:
        self.release()
        raise KeyboardInterrupt


def test_an_interrupt_is_told_as_one_wherever_it_strikes(gate: Portal) -> None:
    more = threading.Event()

    async def batch() -> list[int]:
        await asyncio.to_thread(more.wait)
        return [1]

    stream = PumpedStream(gate, batch, lambda: None)
    whole, stream._condition = stream._condition, StruckInBetween()
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    stream._condition = whole
    more.set()
    assert next(stream) == 1  # nothing is held on to: it can be read on, and left
    stream.close()

    more.clear()
    pending = Pending(gate, batch)
    pending._condition = StruckInBetween()
    with pytest.raises(KeyboardInterrupt):
        pending.result()
    more.set()


def test_an_error_of_the_call_stays_what_it_is(gate: Portal) -> None:
    async def fail() -> None:
        raise RuntimeError("no") from ValueError("because")

    with pytest.raises(RuntimeError, match="no") as caught:
        Pending(gate, fail).result()
    assert isinstance(caught.value.__cause__, ValueError)


def test_closing_cancels_what_runs_and_refuses_what_comes() -> None:
    made = Portal()
    future: Future[None] = Future()
    ended = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    made.submit(future, hang)
    made.call(double, 1)
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < 20
    assert ended.is_set()
    assert not made._thread.is_alive()
    with pytest.raises(CancelledError):
        future.result(timeout=20)
    with pytest.raises(ConfigurationError, match="shutting down"):
        made.call(double, 1)
    made.close()


def test_what_was_adopted_is_closed_with_it() -> None:
    class Closeable:
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    class Broken(Closeable):
        async def aclose(self) -> None:
            raise RuntimeError("no")

    made = Portal()
    one, two = Broken(), Closeable()
    made.adopt(one)
    made.adopt(two)
    made.close()
    assert two.closed


def test_a_submitted_call_settles_its_future_and_can_be_cancelled(gate: Portal) -> None:
    done: Future[int] = Future()
    cancel = gate.submit(done, double, 4)
    assert done.result(20) == 8
    cancel()
    hanging: Future[None] = Future()

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    cancel = gate.submit(hanging, hang)
    cancel()
    with pytest.raises(CancelledError):
        hanging.result(20)
    assert gate.call(double, 1) == 2
    assert gate.tasks == set()


# --- streams -----------------------------------------------------------------------------------------------------


class Feed:
    """Where a pumped stream reads: batches, counted."""

    def __init__(self, batches: int, size: int = 1, error: Exception | None = None, pause: float = 0.0) -> None:
        self.left = batches
        self.size = size
        self.error = error
        self.pause = pause
        self.read = 0
        self.aborted = threading.Event()

    async def next_batch(self) -> list[int]:
        await asyncio.sleep(self.pause)
        if not self.left:
            if self.error is not None:
                raise self.error
            return []
        self.left -= 1
        start = self.read
        self.read += self.size
        return list(range(start, self.read))

    def abort(self) -> None:
        self.aborted.set()

    def stream(self, gate: Portal, **options: Any) -> PumpedStream[int]:
        return PumpedStream(gate, self.next_batch, self.abort, **options)


def tasks_are_gone(gate: Portal) -> bool:
    until = time.monotonic() + 20
    while gate.tasks and time.monotonic() < until:
        time.sleep(0.001)
    return not gate.tasks


def test_everything_comes_in_order(gate: Portal) -> None:
    feed = Feed(100, 37)
    assert list(feed.stream(gate)) == list(range(3700))
    assert feed.aborted.wait(20)
    assert tasks_are_gone(gate)


def test_an_error_comes_after_what_came_before_it(gate: Portal) -> None:
    stream = Feed(3, error=ServerError("down")).stream(gate)
    time.sleep(0.02)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ServerError):
        next(stream)
    with pytest.raises((StopIteration, ServerError)):
        next(stream)
    assert tasks_are_gone(gate)


def test_a_slow_reader_holds_the_feed_back(gate: Portal) -> None:
    feed = Feed(10_000)
    stream = feed.stream(gate, bound=16)
    time.sleep(0.03)
    assert feed.read <= 17
    assert [next(stream) for _ in range(16)] == list(range(16))
    time.sleep(0.02)
    assert feed.read <= 33
    assert list(stream) == list(range(16, 10_000))


def test_a_reader_that_never_comes_back_runs_into_the_deadline(gate: Portal) -> None:
    feed = Feed(10_000)
    stream = feed.stream(gate, bound=4, deadline=time.monotonic() + 1.0)
    assert feed.aborted.wait(20)
    assert tasks_are_gone(gate)
    got = []
    with pytest.raises(ReadTimeout, match="deadline"):
        while True:
            got.append(next(stream))
    assert got == list(range(4))


@pytest.mark.parametrize("state", ["waiting for the feed", "held back", "at once"])
def test_a_dropped_stream_lets_go(gate: Portal, state: str) -> None:
    feed = Feed(10_000, pause=60.0 if state == "waiting for the feed" else 0.0)
    stream = feed.stream(gate, bound=4)
    if state != "at once":
        time.sleep(0.01)
    del stream
    gc.collect()
    assert feed.aborted.wait(20)
    assert tasks_are_gone(gate)


@pytest.mark.parametrize("read", [0, 2])
def test_a_closed_stream_is_at_its_end(gate: Portal, read: int) -> None:
    for _ in range(20):
        feed = Feed(10_000)
        stream = feed.stream(gate, bound=4)
        for _ in range(read):
            next(stream)
        stream.close()
        stream.close()
        assert list(stream) == []
        assert feed.aborted.wait(20)
        assert list(stream) == []
    assert tasks_are_gone(gate)


def test_a_reader_in_another_thread_wakes_up_when_the_stream_is_closed(gate: Portal) -> None:
    feed = Feed(10_000, pause=60.0)
    stream = feed.stream(gate)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(stream))
        time.sleep(0.01)
        stream.close()
        assert reading.result(20) == []
    assert tasks_are_gone(gate)


def test_who_waits_when_the_portal_closes_is_told_so_by_an_error_of_ours() -> None:
    """Not by ``asyncio.CancelledError``: that is no ``Exception``, and nothing that synchronous code expects."""
    made = Portal()
    stream = Feed(10_000, pause=60.0).stream(made)

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(lambda: list(stream))
        calling = pool.submit(made.call, hang)
        time.sleep(0.01)
        made.close()
        for waiting in (reading, calling):
            with pytest.raises(AccelerateError):
                waiting.result(20)


def test_reading_on_the_portals_own_thread_is_refused(gate: Portal) -> None:
    stream = Feed(3).stream(gate)

    async def inside() -> None:
        next(stream)

    with pytest.raises(ConfigurationError, match="AsyncClient"):
        gate.call(inside)
    stream.close()
    assert tasks_are_gone(gate)
