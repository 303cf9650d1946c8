"""What is made of a worker's end: the error that says why, rest after several, and an end for who hangs."""

from __future__ import annotations

import signal
import socket
import threading
import time

import pytest

from ipfs_accelerate_py.errors import MemoryExhausted, RuntimeUnavailable, WorkerLost
from ipfs_accelerate_py.runtimes.serving.capping import watch
from ipfs_accelerate_py.runtimes.serving.connection import Connection
from ipfs_accelerate_py.runtimes.serving.crashes import STARVED, Crashes, describe_end
from ipfs_accelerate_py.runtimes.serving.messages import Weigh
from ipfs_accelerate_py.runtimes.serving.nursery import Child


def test_crashes_in_a_row_make_a_model_rest() -> None:
    now = [0.0]
    crashes = Crashes(lambda: now[0])
    for _ in range(2):
        crashes.note()
        crashes.check("m")
    crashes.note()
    with pytest.raises(RuntimeUnavailable, match="'m' has crashed 3 times in a row and is not started again for 5 s"):
        crashes.check("m")
    now[0] = 5
    crashes.check("m")
    crashes.note()
    with pytest.raises(RuntimeUnavailable, match="10 s") as caught:
        crashes.check("m")
    assert caught.value.retry_after == 10
    now[0] = 20
    crashes.answered()
    crashes.note()
    crashes.check("m")


@pytest.mark.parametrize(("used", "ended"), [([99, 50, 99, 99], True), ([99, 50, 99, 50], False)])
def test_who_stays_at_the_limit_of_its_memory_is_ended(used: list[int], ended: bool) -> None:
    """Native code may wait there for ever. Who only was there once had a call that failed."""
    looks = iter(used)
    killed = threading.Event()
    child = Child(0, lambda pid: killed.set())

    def look(pid: int) -> int:
        found = next(looks, None)
        if found is None:
            child.ended.set_result(0)
        return (found or 0) << 20

    watching = watch(child, 100 << 20, look=look, pause=0.0001)
    watching.join()
    assert child.capped is killed.is_set() is ended


def test_errors_of_memory_say_so() -> None:
    for status, capped in ((STARVED << 8, False), (signal.SIGKILL, True)):
        assert isinstance(describe_end("m", status, False, capped), MemoryExhausted)
    killed = describe_end("m", signal.SIGKILL, False)
    assert isinstance(killed, WorkerLost)
    assert "SIGKILL" in killed.message
    assert isinstance(describe_end("m", signal.SIGKILL, True), MemoryExhausted)
    assert "status 3" in describe_end("m", 3 << 8, False).message


def test_who_asks_between_the_end_of_a_socket_and_the_news_of_its_worker_hears_that_news() -> None:
    """And can ask another worker: a bare "it has ended" would not say that the call may be repeated."""
    ours, theirs = socket.socketpair()
    child = Child(0, lambda pid: None)
    ended = threading.Event()
    connection = Connection(
        "m", ours, child, limit=1 << 20, told=lambda *_: None, ended=lambda _, crashed: ended.set() if crashed else None
    )
    theirs.close()
    asked = []
    for _ in range(100):  # some before the end is seen, most after
        asked.append(connection.ask(lambda number: Weigh(number, ""))[1])
        time.sleep(0.001)
    assert not any(answer.done() for answer in asked)
    assert not connection.lost
    child.ended.set_result(signal.SIGKILL)
    for answer in asked:
        with pytest.raises(WorkerLost, match="'m' was ended by SIGKILL"):
            answer.result(10)
    assert ended.is_set()
    assert connection.lost
    with pytest.raises(WorkerLost, match="SIGKILL"):
        connection.ask(lambda number: Weigh(number, ""))
    connection.stop()
