"""Several models of one process share its processors: who runs when, with threads that only wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from ipfs_accelerate_py.runtimes.scheduled import Steps
from ipfs_accelerate_py.runtimes.threads import Processors

SOON = 30.0


def steps(forward: Callable[[Sequence[Any]], Any], collect: Callable[[Any, Sequence[Any]], Any]) -> Steps:
    return Steps(lambda inputs, first, options: [], forward, collect, lambda rows, parts, options: rows)


def model(name: str, log: list[str]) -> Steps:
    def forward(parts: Sequence[Any]) -> Any:
        log.append(f"{name} begins")
        return parts

    def collect(begun: Any, parts: Sequence[Any]) -> Any:
        log.append(f"{name} ends")
        return begun

    return steps(forward, collect)


class Waiting(Processors):
    """Tells when somebody has to wait."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.queued = threading.Semaphore(0)
        wait = self._turn.wait

        def told(timeout: float | None = None) -> bool:
            self.queued.release()
            return wait(timeout)

        self._turn.wait = told  # type: ignore[method-assign]


def begin(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def test_two_models_that_want_all_of_them_take_turns() -> None:
    log: list[str] = []
    shared = Waiting(2)
    one, other = (shared.shared(model(name, log), 2, waits=True) for name in ("one", "other"))
    begun = one.forward(["text"])
    thread = begin(lambda: other.collect(other.forward(["text"]), ["text"]))
    assert shared.queued.acquire(timeout=SOON)
    assert log == ["one begins"]
    one.collect(begun, ["text"])
    thread.join(SOON)
    assert log == ["one begins", "one ends", "other begins", "other ends"]


def test_a_model_alone_begins_a_pass_while_its_last_is_not_collected() -> None:
    log: list[str] = []
    shared = Processors(2)
    one = shared.shared(model("one", log), 2, waits=True)
    both = [one.forward([text]) for text in "ab"]
    for begun, text in zip(both, "ab", strict=True):
        one.collect(begun, [text])
    assert log == ["one begins", "one begins", "one ends", "one ends"]


def test_nobody_has_two_turns_while_another_waits() -> None:
    log: list[str] = []
    shared = Waiting(2)
    one, other = (shared.shared(model(name, log), 2, waits=True) for name in ("one", "other"))
    first = one.forward(["a"])
    waiting = [begin(lambda: other.collect(other.forward(["b"]), ["b"]))]
    assert shared.queued.acquire(timeout=SOON)
    waiting.append(begin(lambda: one.collect(one.forward(["c"]), ["c"])))
    assert shared.queued.acquire(timeout=SOON)
    assert log == ["one begins"]
    one.collect(first, ["a"])
    for thread in waiting:
        thread.join(SOON)
    assert log[2] == "other begins"


def test_passes_that_fit_run_side_by_side_and_no_more() -> None:
    shared = Processors(2)
    both = threading.Barrier(2)

    def forward(parts: Sequence[Any]) -> Any:
        both.wait(SOON)  # broken where the two are not there at once
        return parts

    made = shared.shared(steps(forward, lambda begun, parts: begun), 1, waits=False)
    threads = [begin(lambda: made.forward(["a"])) for _ in range(2)]
    for thread in threads:
        thread.join(SOON)
    assert not both.broken

    inside, most, guard = [0], [0], threading.Lock()

    def counted(parts: Sequence[Any]) -> Any:
        with guard:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with guard:
            inside[0] -= 1
        return parts

    whole = [shared.shared(steps(counted, lambda begun, parts: begun), 8, waits=False) for _ in range(3)]

    def often(each: Steps) -> None:
        for number in range(50):
            each.forward([number])

    threads = [begin(partial(often, each)) for each in whole]
    for thread in threads:
        thread.join(SOON)
    assert most[0] == 1


@pytest.mark.parametrize("waits", [True, False])
def test_a_pass_that_fails_lets_go(waits: bool) -> None:
    def fail(*args: Any) -> Any:
        raise ValueError("no such kernel")

    shared = Processors(1)
    broken = shared.shared(steps(fail, fail), 1, waits=waits)
    with pytest.raises(ValueError, match="kernel"):
        broken.forward(["a"])
    if waits:
        half = shared.shared(steps(lambda parts: parts, fail), 1, waits=True)
        begun = half.forward(["a"])
        with pytest.raises(ValueError, match="kernel"):
            half.collect(begun, ["a"])
    log: list[str] = []
    shared.shared(model("next", log), 1, waits=waits).forward(["a"])
    assert log == ["next begins"]
