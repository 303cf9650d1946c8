"""What ends in the batch scheduler: callers who go, schedulers that close, processes that fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import pytest

from ipfs_accelerate_py.errors import AccelerateError, MemoryExhausted, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.scheduler import BatchScheduler

from .plain_model import Model, as_task, expected, rows, submit, until_waiting


async def test_a_cancelled_caller_is_dropped_before_its_texts_run(
    build: Callable[..., BatchScheduler], model: Model
) -> None:
    scheduler = build()
    model.gate.clear()
    busy = submit(scheduler, "busy")
    assert await asyncio.to_thread(model.entered.acquire, timeout=5)
    gone = asyncio.create_task(as_task(submit(scheduler, "gone", "too")))
    await asyncio.sleep(0)
    stays = submit(scheduler, "stays")
    until_waiting(scheduler, 3)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert scheduler.snapshot()["queue"]["items"] == 1
    model.gate.set()
    assert rows(stays) == [expected("stays")]
    assert rows(busy) == [expected("busy")]
    assert model.batches == [["busy"], ["stays"]]
    assert scheduler.snapshot()["cancelled"] == 1


def test_cancelling_what_already_runs_harms_nobody(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build()
    model.gate.clear()
    future = submit(scheduler, "running")
    assert model.entered.acquire(timeout=60)
    assert future.cancel()
    model.gate.set()
    assert rows(submit(scheduler, "next")) == [expected("next")]
    with pytest.raises(CancelledError):
        future.result()


async def test_closing_fails_what_waits_finishes_what_runs_and_ends_the_threads(
    build: Callable[..., BatchScheduler], model: Model
) -> None:
    before = set(threading.enumerate())
    scheduler = build(workers=2, max_items=1)
    model.gate.clear()
    running = [submit(scheduler, "one"), submit(scheduler, "two")]
    for _ in running:
        assert model.entered.acquire(timeout=60)
    half_done = submit(scheduler, "waits")
    until_waiting(scheduler, 1)
    assert len(set(threading.enumerate()) - before) == 4
    closing = asyncio.ensure_future(scheduler.aclose())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        half_done.result(60)
    assert not closing.done()
    model.gate.set()
    await closing
    assert [rows(each) for each in running] == [[expected("one")], [expected("two")]]
    assert set(threading.enumerate()) == before
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        submit(scheduler, "late")
    await scheduler.aclose()


def test_a_request_cut_in_half_by_closing_fails(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build(max_items=1)
    model.gate.clear()
    future = submit(scheduler, "runs", "waits")
    assert model.entered.acquire(timeout=60)
    closing = threading.Thread(target=scheduler.close)
    closing.start()
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        future.result(60)
    assert closing.is_alive()
    model.gate.set()
    closing.join()


async def test_closing_what_never_ran_is_at_once(build: Callable[..., BatchScheduler]) -> None:
    scheduler = build()
    await scheduler.aclose()
    scheduler.close()


def test_every_forward_thread_is_prepared(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build(workers=3)
    assert rows(submit(scheduler, "x")) == [expected("x")]
    scheduler.close()
    assert len(model.started) == 3


def test_the_age_of_what_waits_is_told(build: Callable[..., BatchScheduler], model: Model) -> None:
    now = [100.0]
    scheduler = build(clock=lambda: now[0])
    assert scheduler.snapshot()["queue"] == {"requests": 0, "items": 0, "tokens": 0, "oldest_s": 0.0}
    model.gate.clear()
    future = submit(scheduler, "x")
    now[0] += 2.5
    assert scheduler.snapshot()["queue"]["oldest_s"] == 2.5
    model.gate.set()
    rows(future)


def test_a_forked_child_is_told_to_load_again(
    build: Callable[..., BatchScheduler], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = build()
    rows(submit(scheduler, "x"))
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeUnavailable, match="fork"):
            submit(scheduler, "y")
        scheduler.close()
    assert rows(submit(scheduler, "z")) == [expected("z")]


class Panic(BaseException):
    """What a Rust library raises that has met what it did not expect: no `Exception`."""


@pytest.mark.parametrize("step", ["prepare", "forward", "collect", "join"])
def test_what_is_no_exception_fails_its_caller_and_no_thread(
    model: Model, monkeypatch: pytest.MonkeyPatch, build: Callable[..., BatchScheduler], step: str
) -> None:
    def panic(*given: Any) -> Any:
        raise Panic("unwrap on None")

    with monkeypatch.context() as broken:
        broken.setattr(model, step, panic)
        scheduler = build()
        steps = scheduler._steps
        with pytest.raises(AccelerateError, match="unwrap on None"):
            submit(scheduler, "one").result(60)
    monkeypatch.setattr(scheduler, "_steps", replace(steps, **{step: getattr(model, step)}))
    assert rows(submit(scheduler, "next")) == [expected("next")]


#: What PyO3 raises where Python has no object to give it, by its name.
PanicException = type("PanicException", (BaseException,), {})


@pytest.mark.parametrize("want", [MemoryError(), PanicException("PyObject pointer is null")], ids=["python", "rust"])
def test_memory_that_runs_out_at_the_end_is_told_as_that(
    build: Callable[..., BatchScheduler], model: Model, monkeypatch: pytest.MonkeyPatch, want: BaseException
) -> None:
    def full(*given: Any) -> Any:
        raise want

    monkeypatch.setattr(model, "join", full)
    with pytest.raises(MemoryExhausted):
        submit(build(), "one", "two").result(60)


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has is read as Linux tells it")
def test_native_code_that_is_refused_memory_may_say_anything() -> None:
    """Whoever is about to reach the limit of his memory has it to thank for that."""
    program = """
import resource
from ipfs_accelerate_py.runtimes.scheduled import is_out_of_memory
from ipfs_accelerate_py.runtimes.serving.memory import data_memory
errors = RuntimeError("could not create a primitive"), ValueError("a picture without pixels")
print([is_out_of_memory(each) for each in errors])
resource.setrlimit(resource.RLIMIT_DATA, (data_memory() + (16 << 20), resource.RLIM_INFINITY))
print([is_out_of_memory(each) for each in errors])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n")[:2] == ["[False, False]", "[True, False]"]
