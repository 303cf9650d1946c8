"""The threads around the model, with a model of plain functions: whose vectors, whose failure, and what ends."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ContextLengthExceeded, InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.batching import BatchCutter
from ipfs_accelerate_py.runtimes.scheduler import BatchScheduler, Steps
from ipfs_accelerate_py.runtimes.tokenizing import Encoded

LIMIT = 50


class Model:
    """Tokens are the characters' codes; a vector is the sum of them and the text's length.

    ``gate`` holds every forward step until it is set; ``batches`` are the texts of each step, in order.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.started: list[str] = []

    def tokenise(self, texts: Sequence[str]) -> list[Encoded]:
        if any("�" in text for text in texts):
            raise TypeError("not a text")
        return [Encoded([ord(letter) for letter in text][:LIMIT], None, len(text)) for text in texts]

    def forward(self, texts: Sequence[tuple[Encoded, int]]) -> list[list[float]]:
        self.entered.release()
        assert self.gate.wait(5)
        words = ["".join(map(chr, encoded.ids)) for encoded, _ in texts]
        if any("poison" in word for word in words):
            raise ValueError("index out of range")
        self.batches.append(words)
        return [[float(sum(encoded.ids) - skipped), float(len(encoded.ids))] for encoded, skipped in texts]

    def collect(self, vectors: list[list[float]]) -> Any:
        if any(length == 49 for _, length in vectors):
            raise OSError("device lost")
        return vectors

    def start(self) -> None:
        self.started.append(threading.current_thread().name)


def expected(text: str) -> list[float]:
    return [float(sum(map(ord, text[:LIMIT]))), float(len(text[:LIMIT]))]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def build(model: Model) -> Iterator[Callable[..., BatchScheduler]]:
    built: list[BatchScheduler] = []

    def build(workers: int = 1, max_items: int = 100, **settings: Any) -> BatchScheduler:
        steps = Steps(model.tokenise, model.forward, model.collect, model.start, LIMIT)
        cutter = BatchCutter(max_tokens=10**6, max_items=max_items, max_padding=10**6, workers=workers)
        built.append(BatchScheduler(steps, cutter, **settings))
        return built[-1]

    yield build
    model.gate.set()
    for scheduler in built:
        scheduler.close()


def submit(scheduler: BatchScheduler, *texts: str, truncate: bool = True, skip: int = 0) -> Future[Any]:
    return scheduler.submit(texts, skip=skip, truncate=truncate, finish=lambda rows: rows)  # type: ignore[arg-type,return-value]


async def as_task(future: Future[Any]) -> Any:
    return await asyncio.wrap_future(future)


def until_waiting(scheduler: BatchScheduler, items: int) -> None:
    deadline = time.monotonic() + 20
    while scheduler.snapshot()["queue"]["items"] < items:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def rows(future: Future[Any]) -> Any:
    return future.result(5)[0]


@pytest.mark.parametrize("workers", [1, 3])
async def test_each_of_many_callers_gets_its_own_vectors_in_its_own_order(
    build: Callable[..., BatchScheduler], workers: int
) -> None:
    scheduler = build(workers, max_items=7)
    requests = [[f"{'x' * (caller * place % 30)}{caller}" for place in range(caller % 9 + 1)] for caller in range(60)]
    answers = await asyncio.gather(*(asyncio.wrap_future(submit(scheduler, *texts)) for texts in requests))
    for texts, (vectors, tokens) in zip(requests, answers, strict=True):
        assert vectors == [expected(text) for text in texts]
        assert tokens == [len(text) for text in texts]


def test_what_arrives_while_the_model_is_busy_runs_together(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build()
    model.gate.clear()
    first = submit(scheduler, "first")
    assert model.entered.acquire(timeout=60)
    rest = [submit(scheduler, f"text {number}") for number in range(20)]
    until_waiting(scheduler, 20)
    model.gate.set()
    assert [rows(each) for each in (first, *rest)] == [[expected("first")]] + [
        [expected(f"text {number}")] for number in range(20)
    ]
    assert [len(batch) for batch in model.batches] == [1, 20]
    counts = scheduler.snapshot()
    assert (counts["batches"], counts["items"], counts["failed"], counts["cancelled"]) == (2, 21, 0, 0)


def test_a_long_request_is_tokenised_and_run_in_parts(build: Callable[..., BatchScheduler], model: Model) -> None:
    texts = [f"text {number}" for number in range(1000)]
    assert rows(submit(build(), *texts)) == [expected(text) for text in texts]
    assert len(model.batches) > 1


def test_one_callers_bad_text_fails_alone_in_the_model(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build()
    model.gate.clear()
    busy = submit(scheduler, "busy")
    assert model.entered.acquire(timeout=60)
    good = [submit(scheduler, f"good {number}", "also good") for number in range(5)]
    bad = submit(scheduler, "fine", "poison")
    until_waiting(scheduler, 12)
    model.gate.set()
    assert rows(busy) == [expected("busy")]
    for number, each in enumerate(good):
        assert rows(each) == [expected(f"good {number}"), expected("also good")]
    with pytest.raises(RuntimeUnavailable, match="input 1: index out of range"):
        bad.result(5)
    assert scheduler.snapshot()["failed"] == 1


def test_a_text_that_no_tokenizer_reads_is_named(build: Callable[..., BatchScheduler]) -> None:
    scheduler = build()
    bad, good = submit(scheduler, *["ok"] * 300, "�"), submit(scheduler, "good")
    with pytest.raises(InvalidRequest, match="input 300 is no text") as caught:
        bad.result(5)
    assert caught.value.param == "input"
    assert rows(good) == [expected("good")]


def test_a_device_that_fails_after_the_forward_step_fails_that_batch_only(
    build: Callable[..., BatchScheduler],
) -> None:
    scheduler = build(max_items=1)
    lost, good = submit(scheduler, "x" * 49), submit(scheduler, "good")
    with pytest.raises(RuntimeUnavailable, match="device lost"):
        lost.result(5)
    assert rows(good) == [expected("good")]


def test_a_result_that_cannot_be_finished_fails_alone(build: Callable[..., BatchScheduler]) -> None:
    scheduler = build()

    def broken(rows: list[Any]) -> Any:
        raise ZeroDivisionError("nothing left")

    bad = scheduler.submit(["a"], skip=0, truncate=True, finish=broken)
    with pytest.raises(RuntimeUnavailable, match="nothing left"):
        bad.result(5)
    assert rows(submit(scheduler, "b")) == [expected("b")]


def test_too_long_a_text_is_cut_or_refused_as_asked(build: Callable[..., BatchScheduler]) -> None:
    scheduler = build()
    assert rows(submit(scheduler, "y" * 60)) == [expected("y" * LIMIT)]
    assert rows(submit(scheduler, "y" * LIMIT, truncate=False)) == [expected("y" * LIMIT)]
    with pytest.raises(ContextLengthExceeded, match=r"input 1 has at least 51 tokens, .* at most 50"):
        submit(scheduler, "y", "y" * 51, truncate=False).result(5)


def test_tokens_to_leave_out_reach_the_model(build: Callable[..., BatchScheduler]) -> None:
    total, length = expected("abc")
    assert rows(submit(build(), "abc", skip=2)) == [[total - 2, length]]


async def test_a_cancelled_caller_is_dropped_before_its_texts_run(
    build: Callable[..., BatchScheduler], model: Model
) -> None:
    scheduler = build()
    model.gate.clear()
    busy = submit(scheduler, "busy")
    assert await asyncio.to_thread(model.entered.acquire, timeout=60)
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
        half_done.result(5)
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
    threading.Timer(0.02, model.gate.set).start()
    scheduler.close()
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        future.result(5)


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
