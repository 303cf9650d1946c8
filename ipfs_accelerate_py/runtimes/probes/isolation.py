"""Work in processes of its own: a crash, a hang or a flood of memory in one piece is that piece's result, no more.

A process that has everything imported forks a worker for each group of pieces, so that a worker costs milliseconds.
Nothing here starts threads: a fork copies only the one that calls it, and the locks that others hold for ever.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeVar, cast

from .memory import available, limit_to

__all__ = ["Done", "Limits", "Lost", "isolated"]

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")

#: Seconds between two looks at limits while nothing is heard.
_TICK = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What pieces may take.

    Attributes:
        jobs: workers at a time.
        timeout: seconds for one piece.
        memory: bytes of address space that a worker may take beyond what is there when it is forked.
        spare: bytes that are to stay free on the machine: no further worker is begun while there are fewer, unless none
            is at work.
        budget: seconds for all; no piece is begun after them. None for any time.
    """

    jobs: int = 1
    timeout: float = 120.0
    memory: int = 8 << 30
    spare: int = 1 << 30
    budget: float | None = None


class Lost(NamedTuple):
    """A piece whose worker gave no answer: ``kind`` is ``timeout`` or ``crash``; ``reason`` is a line."""

    kind: str
    reason: str


class Done(NamedTuple, Generic[Piece, Answer]):
    """A piece with its answer, or what became of its worker; ``seconds`` that it took."""

    piece: Piece
    answer: Answer | Lost
    seconds: float


@dataclass(slots=True, eq=False)
class _Worker(Generic[Piece]):
    process: Any
    pipe: Connection
    left: deque[Piece]
    began: float


def isolated(
    groups: Sequence[Sequence[Piece]],
    work: Callable[[], Callable[[Piece], Answer]],
    limits: Limits,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Done[Piece, Answer]]:
    """Answers as they come. When the iterator is closed, workers are ended.

    Args:
        groups: pieces of a group are worked on in turn by one worker, which may keep what they share; where it is lost,
            another goes on after the piece that it was lost with.
        work: makes, in the worker, what answers a piece; an answer goes through a pipe.
    """
    context = multiprocessing.get_context("fork")
    waiting = deque(deque(group) for group in groups if group)
    workers: dict[Connection, _Worker[Piece]] = {}
    begun = clock()
    gc.collect()
    gc.freeze()  # else the first collection in each worker copies every page of what is imported here
    try:
        while waiting or workers:
            over = limits.budget is not None and clock() - begun >= limits.budget
            while waiting and not over and len(workers) < limits.jobs and _room(limits, len(workers)):
                worker = _start(context, waiting.popleft(), work, limits.memory, clock)
                workers[worker.pipe] = worker
            if not workers:
                return
            ends = [limits.timeout - (clock() - each.began) for each in workers.values()]
            for pipe in wait(list(workers), timeout=max(0.0, min(*ends, _TICK))):
                worker = workers[cast("Connection", pipe)]
                try:
                    answer, seconds = worker.pipe.recv()
                except (EOFError, OSError):
                    _end(workers.pop(worker.pipe))
                    lost = Lost("crash", f"Crash: its process ended {_ending(worker.process.exitcode)}")
                    yield Done(worker.left.popleft(), lost, clock() - worker.began)
                    if worker.left:
                        waiting.appendleft(worker.left)
                    continue
                worker.began = clock()
                piece = worker.left.popleft()
                if not worker.left or (limits.budget is not None and clock() - begun >= limits.budget):
                    _end(workers.pop(worker.pipe))
                yield Done(piece, answer, seconds)
            for worker in [each for each in workers.values() if clock() - each.began >= limits.timeout]:
                _end(workers.pop(worker.pipe))
                lost = Lost("timeout", f"Timeout: no answer in {limits.timeout:.0f} s")
                yield Done(worker.left.popleft(), lost, clock() - worker.began)
                if worker.left:
                    waiting.appendleft(worker.left)
    finally:
        for worker in workers.values():
            _end(worker)
        gc.unfreeze()


def _room(limits: Limits, at_work: int) -> bool:
    if not at_work:
        return True
    free = available()
    return free is None or free >= limits.spare


def _start(
    context: Any,
    pieces: deque[Piece],
    work: Callable[[], Callable[[Piece], Any]],
    memory: int,
    clock: Callable[[], float],
) -> _Worker[Piece]:
    began = clock()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(list(pieces), work, memory, theirs, ours), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours, pieces, began)


def _serve(
    pieces: list[Any], work: Callable[[], Callable[[Any], Any]], memory: int, answers: Connection, other: Connection
) -> None:
    """What a worker does; it ends without ceremony, as libraries' own endings may hang in a forked process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began it ends it
    other.close()
    limit_to(memory)
    does = work()
    for piece in pieces:
        begun = time.monotonic()
        answer = does(piece)
        answers.send((answer, time.monotonic() - begun))
    answers.close()
    os._exit(0)


def _end(worker: _Worker[Any]) -> None:
    worker.process.join(0.05 if worker.left else 5)
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        try:
            return f"by {signal.Signals(-status).name}"
        except ValueError:
            return f"by signal {-status}"
    return f"with status {status}"
