"""A model of plain functions for the batch scheduler, and ways to ask it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.runtimes.scheduler import BatchScheduler


@dataclass
class Part:
    text: str
    length: int
    group: Hashable = None


class Model:
    """A text is one part, or one for each stretch between its bars; a row is the sum of a part's characters' codes and
    its length, and an outcome the rows of a text added up.

    ``gate`` holds every forward step until it is set; ``batches`` are the parts of each step, in order. ``room`` is how
    many characters fit into the memory.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.started: list[str] = []
        self.prepared: list[str] = []
        self.room = 10**9

    def prepare(self, texts: Sequence[str], first: int, options: Mapping[str, Any]) -> list[list[Part]]:
        if any("\ufffd" in text for text in texts):
            raise TypeError("not a text")
        self.prepared += texts
        group = options.get("group")
        return [[Part(part, len(part), group) for part in text.split("|")] for text in texts]

    def forward(self, parts: Sequence[Part]) -> list[list[float]]:
        self.entered.release()
        assert self.gate.wait(60)
        words = [part.text for part in parts]
        if any("poison" in word for word in words):
            raise ValueError("index out of range")
        if len(parts) * max(part.length for part in parts) > self.room:
            raise MemoryError("no room")
        self.batches.append(words)
        return [[float(sum(map(ord, word))), float(len(word))] for word in words]

    def collect(self, rows: list[list[float]], parts: Sequence[Part]) -> Any:
        if any(length == 49 for _, length in rows):
            raise OSError("device lost")
        return rows

    def join(self, rows: Sequence[list[float]], parts: Sequence[Part], options: Mapping[str, Any]) -> list[float]:
        assert [len(part.text) for part in parts] == [length for _, length in rows]
        return [sum(row[0] for row in rows), sum(row[1] for row in rows)]

    def start(self) -> None:
        self.started.append(threading.current_thread().name)


def expected(text: str) -> list[float]:
    text = text.replace("|", "")
    return [float(sum(map(ord, text))), float(len(text))]


def submit(scheduler: BatchScheduler, *texts: str, priority: int = 1, **options: Any) -> Future[Any]:
    return scheduler.submit(texts, options, priority=priority)


async def as_task(future: Future[Any]) -> Any:
    return await asyncio.wrap_future(future)


def until_waiting(scheduler: BatchScheduler, items: int) -> None:
    deadline = time.monotonic() + 60
    while scheduler.snapshot()["queue"]["items"] < items:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def rows(future: Future[Any]) -> Any:
    return future.result(60)[0]
