"""Who is written for, and when: priorities, places, cancelling, errors."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ipfs_accelerate_py.errors import ContextLengthExceeded, InvalidRequest, RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.generation.base import Prompt, Sampling, Written
from ipfs_accelerate_py.runtimes.generation.batcher import Batcher

from .models import Heard, ask, finish


class Row:
    def __init__(self, ids: list[int]) -> None:
        self.ids, self.length = ids, 0


class Counting:
    """A model whose next token is one more than the last; 90 cannot be read, 80 cannot be followed."""

    vocab_size = 100
    max_positions = 64
    together = True
    manner = "counting"
    steady = False

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.reads: list[list[int]] = []
        self.steps: list[list[int]] = []

    def open(self, prompt: Prompt) -> Row:
        row = Row(list(prompt.ids))
        self.rows.append(row)
        return row

    def prefill(self, rows: Sequence[Any], most: int) -> list[Any]:
        found: list[Any] = []
        self.reads.append([row.ids[0] for row in rows])
        for row in rows:
            if 90 in row.ids:
                raise RuntimeError("unreadable")
            more = min(most, len(row.ids) - row.length)
            most -= more
            row.length += more
            found.append(self._after(row.ids[-1]) if row.length == len(row.ids) and more else None)
        return found

    def step(self, rows: Sequence[Any], tokens: Sequence[int]) -> Any:
        self.steps.append(list(tokens))
        if 80 in tokens:
            raise RuntimeError("lost")
        for row in rows:
            row.length += 1
        return np.stack([self._after(each) for each in tokens])

    def _after(self, token: int) -> Any:
        logits = np.zeros(self.vocab_size, np.float32)
        logits[(token + 1) % 100] = 9.0
        return logits

    def release(self, row: Any) -> None:
        if row in self.rows:
            self.rows.remove(row)

    def snapshot(self) -> dict[str, object]:
        return {"rows": len(self.rows)}

    def close(self) -> None:
        self.rows.clear()


class Breaking(Counting):
    """One that cannot even let go what began with 78."""

    error: type[BaseException] = SystemError

    def release(self, row: Any) -> None:
        if row in self.rows and row.ids[0] == 78:
            raise self.error("broken")
        super().release(row)


def greedy(count: int, **more: Any) -> Sampling:
    return Sampling(temperature=0.0, max_tokens=count, **more)


def make(**settings: Any) -> tuple[Counting, Batcher]:
    model = Counting()
    return model, Batcher(model, start=False, **settings)


def test_urgent_ones_come_first_and_equals_in_order() -> None:
    model, writer = make(rows=1, clock=lambda: 0.0)
    for ids, priority in (([10], 1), ([20], 2), ([30], 0), ([40], 1), ([50], 0)):
        ask(writer, ids, greedy(1), priority=priority)
    finish(writer)
    assert [each[0] for each in model.reads] == [30, 50, 10, 40, 20]


def test_waiting_makes_more_urgent() -> None:
    now = 0.0
    model, writer = make(rows=1, ageing=5.0, clock=lambda: now)
    ask(writer, [10], greedy(1), priority=2)
    now = 9.0
    ask(writer, [20], greedy(1), priority=1)  # 9 seconds later, and one priority is worth 5
    ask(writer, [30], greedy(1), priority=0)  # 9 against two priorities, worth 10
    finish(writer)
    assert [each[0] for each in model.reads] == [30, 10, 20]


def test_no_more_at_once_than_places_or_positions() -> None:
    model, writer = make(rows=2)
    for ids in ([10], [20], [30]):
        ask(writer, ids, greedy(4))
    finish(writer)
    assert max(len(each) for each in model.steps) == 2
    model, writer = make(budget=12)
    for ids in ([10], [20], [30]):
        ask(writer, ids, greedy(5))
    finish(writer)
    assert max(len(each) for each in model.steps) == 2


def test_a_long_prompt_does_not_keep_others_waiting() -> None:
    _, writer = make(piece=4)
    short = ask(writer, [10], greedy(12))
    writer.turn()
    long = ask(writer, [20] * 40, greedy(2))
    late = ask(writer, [30], greedy(2))
    for _ in range(5):
        writer.turn()
    assert len(short.ids) >= 6  # a token at every turn
    assert late.reason == "length"
    assert not long.ids
    finish(writer)
    assert long.ids == [21, 22]


def test_a_cancelled_one_is_told_nothing_more_and_its_place_is_free() -> None:
    model, writer = make(rows=1)
    heard, waiting, after = Heard(), Heard(), Heard()
    ticket = writer.submit(Prompt(ids=[10]), greedy(50), heard)
    second = writer.submit(Prompt(ids=[20]), greedy(5), waiting)
    writer.submit(Prompt(ids=[30]), greedy(5), after)
    for _ in range(3):
        writer.turn()
    count = len(heard.ids)
    ticket.cancel()
    second.cancel()
    writer.turn()
    assert len(heard.ids) == count
    assert heard.reason is None
    assert len(model.rows) == 1
    finish(writer)
    assert after.ids == [31, 32, 33, 34, 35]
    assert not waiting.pieces
    assert not model.rows


def test_a_prompt_that_cannot_be_read_fails_alone() -> None:
    model, writer = make()
    heard = [ask(writer, ids, greedy(3)) for ids in ([10], [90], [20, 21])]
    finish(writer)
    assert heard[0].ids == [11, 12, 13]
    assert heard[2].ids == [22, 23, 24]
    assert heard[1].reason == "error"
    error = heard[1].pieces[-1].error
    assert isinstance(error, RuntimeUnavailable)
    assert "unreadable" in str(error)
    assert not model.rows


@pytest.mark.parametrize("steady", [True, False])
def test_a_step_that_fails_fails_the_row_that_makes_it(steady: bool) -> None:
    model, writer = make()
    model.steady = steady
    lost, beside = ask(writer, [78], greedy(5)), ask(writer, [10], greedy(6))
    finish(writer)
    if steady:
        assert lost.ids == [79, 80]
        assert lost.reason == "error"
        assert "lost" in str(lost.pieces[-1].error)
    else:  # read as a prompt it does no harm
        assert lost.ids == [79, 80, 81, 82, 83]
    assert beside.ids == [11, 12, 13, 14, 15, 16]
    assert beside.reason == "length"
    # What has lost its state is read once more, with what it has written.
    assert any(len(each) == 1 and each[0] == 10 for each in model.reads[1:]) is not steady
    assert writer.snapshot()["tried_alone"] == 2
    assert not model.rows


@pytest.mark.parametrize("error", [SystemError, GeneratorExit], ids=["an error", "no exception, as a panic of Rust's"])
def test_an_engine_that_breaks_altogether_fails_those_under_way_alone(error: type[BaseException]) -> None:
    engine = Breaking()
    engine.error = error
    writer = Batcher(engine, name="breaking")
    for at, reason in ((78, "error"), (10, "length")):
        ended = threading.Event()
        heard = Heard()

        def told(written: Written, heard: Heard = heard, ended: threading.Event = ended) -> None:
            heard(written)
            if written.finish_reason:
                ended.set()

        writer.submit(Prompt(ids=[at]), greedy(5), told)
        assert ended.wait(30)
        assert heard.reason == reason
    writer.close()


def ask_now(writer: Batcher, ids: list[int], count: int) -> list[int]:
    heard = ask(writer, ids, greedy(count))
    finish(writer)
    return heard.ids


def test_a_row_whose_rules_fail_fails_alone() -> None:
    def steer(ids: Sequence[int], logits: Any) -> None:
        if len(ids) == 2:
            logits[:] = -np.inf

    _, writer = make()
    steered = ask(writer, [10], greedy(9, steer=steer))
    other = ask(writer, [20], greedy(4))
    finish(writer)
    assert steered.ids == [11, 12]
    assert steered.reason == "error"
    assert other.ids == [21, 22, 23, 24]


def test_a_listener_that_fails_hears_no_more_and_stops_nobody() -> None:
    _, writer = make()

    def deaf(written: Written) -> None:
        raise ValueError

    writer.submit(Prompt(ids=[10]), greedy(50), deaf)
    other = ask(writer, [20], greedy(3))
    finish(writer, turns=6)
    assert other.ids == [21, 22, 23]


def test_ends() -> None:
    _, writer = make(stop_ids=[14])
    assert ask_now(writer, [10], 50) == [11, 12, 13]
    heard = ask(writer, [10], greedy(6, ignore_eos=True))
    least = ask(writer, [13], greedy(6, min_tokens=2))
    own = ask(writer, [20], greedy(6, stop_ids=[23]))
    room = ask(writer, [30] * 60, Sampling(temperature=0.0))
    finish(writer)
    assert heard.ids == [11, 12, 13, 14, 15, 16]
    assert len(least.ids) >= 2
    assert own.ids == [21, 22]
    assert own.reason == "stop"
    assert len(room.ids) == 4
    assert room.reason == "length"


def test_what_is_refused_at_once() -> None:
    _, writer = make()
    with pytest.raises(ContextLengthExceeded, match="64 tokens and the model's context 64"):
        ask(writer, [10] * 64, greedy(1))
    for name, value in (
        ("temperature", -1.0),
        ("top_p", 0.0),
        ("max_tokens", 0),
        ("logit_bias", {100: 1.0}),
        ("seed", -1),
    ):
        with pytest.raises(InvalidRequest) as caught:
            ask(writer, [10], Sampling(**{name: value}))  # type: ignore[arg-type]
        assert caught.value.param == name
    with pytest.raises(UnsupportedOperation, match="beams"):
        ask(writer, [10], greedy(1, beams=2))
    with pytest.raises(UnsupportedOperation, match="tokenizer"):
        ask(writer, [10], greedy(1, constraint={"regex": "a"}))


def test_closing_fails_what_runs_and_refuses_what_comes() -> None:
    model, writer = make(rows=1)
    running, waiting = ask(writer, [10], greedy(50)), ask(writer, [20], greedy(50))
    writer.turn()
    writer.close()
    assert isinstance(running.pieces[-1].error, RuntimeUnavailable)
    assert isinstance(waiting.pieces[-1].error, RuntimeUnavailable)
    assert not model.rows
    with pytest.raises(RuntimeUnavailable):
        ask(writer, [10], greedy(1))


def test_its_own_thread() -> None:
    writer = Batcher(Counting(), name="counting")
    done = threading.Barrier(5)
    found: dict[int, list[int]] = {}

    def run(start: int) -> None:
        ended = threading.Event()
        ids: list[int] = []

        def told(written: Written) -> None:
            ids.extend(written.ids)
            if written.finish_reason:
                ended.set()

        writer.submit(Prompt(ids=[start]), greedy(20), told)
        assert ended.wait(30)
        found[start] = ids
        done.wait(30)

    threads = [threading.Thread(target=run, args=(start,)) for start in (0, 10, 20, 30)]
    for each in threads:
        each.start()
    done.wait(30)
    for each in threads:
        each.join()
    writer.close()
    assert found == {start: list(range(start + 1, start + 21)) for start in (0, 10, 20, 30)}
    assert not any(each.name == "generate-counting" for each in threading.enumerate())
