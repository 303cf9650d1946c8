"""The threads around the model, with a model of plain functions: whose vectors, and whose failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ipfs_accelerate_py.errors import InvalidRequest, MemoryExhausted, MissingExtra, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.scheduler import BatchScheduler

from .plain_model import Model, expected, rows, submit, until_waiting


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
        bad.result(60)
    assert scheduler.snapshot()["failed"] == 1


def test_a_text_that_no_tokenizer_reads_is_named(build: Callable[..., BatchScheduler]) -> None:
    scheduler = build()
    bad, good = submit(scheduler, *["ok"] * 300, "�"), submit(scheduler, "good")
    with pytest.raises(InvalidRequest, match="input 300 cannot be used: not a text") as caught:
        bad.result(60)
    assert caught.value.param == "input"
    assert rows(good) == [expected("good")]


def test_a_device_that_fails_after_the_forward_step_fails_that_batch_only(
    build: Callable[..., BatchScheduler],
) -> None:
    scheduler = build(max_items=1)
    lost, good = submit(scheduler, "x" * 49), submit(scheduler, "good")
    with pytest.raises(RuntimeUnavailable, match="device lost"):
        lost.result(60)
    assert rows(good) == [expected("good")]


def test_a_result_that_cannot_be_finished_fails_alone(build: Callable[..., BatchScheduler]) -> None:
    scheduler = build()

    def broken(rows: list[Any]) -> Any:
        raise ZeroDivisionError("nothing left")

    def lacking(rows: list[Any]) -> Any:
        raise ImportError("it needs\nOpenCV")

    bad = scheduler.submit(["a"], {}, finish=broken)
    with pytest.raises(RuntimeUnavailable, match="nothing left"):
        bad.result(60)
    with pytest.raises(MissingExtra, match="not installed: it needs OpenCV"):
        scheduler.submit(["a"], {}, finish=lacking).result(60)
    assert rows(submit(scheduler, "b")) == [expected("b")]


def test_the_parts_of_a_text_run_with_others_and_come_back_together(
    build: Callable[..., BatchScheduler], model: Model
) -> None:
    scheduler = build(max_items=2, finishers=2)
    texts = [f"a{number}|bb{number}|{'c' * number}" for number in range(40)]
    vectors, tokens = submit(scheduler, *texts).result(60)
    assert vectors == [expected(text) for text in texts]
    assert tokens == [len(text) - 2 for text in texts]
    assert sum(len(batch) for batch in model.batches) == 120


def test_only_parts_of_one_group_run_together(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build()
    model.gate.clear()
    first = submit(scheduler, "first")
    assert model.entered.acquire(timeout=60)
    rest = [submit(scheduler, f"{group}{number}", group=group) for number in range(3) for group in "xy"]
    until_waiting(scheduler, 6)
    model.gate.set()
    for each in (first, *rest):
        each.result(60)
    assert sorted(sorted(batch) for batch in model.batches[1:]) == [["x0", "x1", "x2"], ["y0", "y1", "y2"]]


def test_the_urgent_go_first(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build(max_items=1)
    model.gate.clear()
    futures = [submit(scheduler, "first")]
    assert model.entered.acquire(timeout=60)
    for name, priority in (("low", 2), ("normal", 1), ("high", 0)):
        futures += [submit(scheduler, name, priority=priority)]
        until_waiting(scheduler, len(futures) - 1)
    model.gate.set()
    for each in futures:
        each.result(60)
    assert model.batches == [["first"], ["high"], ["normal"], ["low"]]


def test_batches_shrink_to_what_the_memory_holds(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build()
    model.room = 40
    texts = ["x" * 10] * 30
    assert rows(submit(scheduler, *texts)) == [expected("x" * 10)] * 30
    assert max(len(batch) for batch in model.batches) <= 4
    seen = scheduler.snapshot()["out_of_memory"]
    assert seen >= 1
    assert rows(submit(scheduler, *texts)) == [expected("x" * 10)] * 30
    assert scheduler.snapshot()["out_of_memory"] == seen  # what was learnt holds for the next
    with pytest.raises(MemoryExhausted, match="input 1 alone"):
        submit(scheduler, "x", "x" * 41).result(60)


def test_inputs_are_not_prepared_long_before_their_turn(build: Callable[..., BatchScheduler], model: Model) -> None:
    scheduler = build(max_items=1, slice=1, most_waiting=3)
    model.gate.clear()
    many = submit(scheduler, *[f"{number}" for number in range(50)])
    assert model.entered.acquire(timeout=60)
    until_waiting(scheduler, 3)
    urgent = submit(scheduler, "urgent", priority=0)
    until_waiting(scheduler, 4)
    assert len(model.prepared) == 5
    model.gate.set()
    assert rows(urgent) == [expected("urgent")]
    assert rows(many) == [expected(f"{number}") for number in range(50)]
