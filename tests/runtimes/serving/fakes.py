"""Models of plain functions: they load when a test says so, weigh what it says, and know how often they were closed."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.serving.jobs import Done, Facts, Job
from ipfs_accelerate_py.types import Chunk

KB = 250  # so many weights take a thousand bytes


async def until(condition: Callable[[], bool]) -> None:
    """Let others go on until it is so."""
    for _ in range(60_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


def write_weights(folder: Path, count: int) -> Path:
    """A folder with a safetensors file whose header speaks of so many float32 values; they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


class Shelf:
    """Makes the servables of a test. ``gate`` holds loads; ``extra`` are bytes that another task costs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.made: list[Fake] = []
        self.extra = 0
        self.failure: Exception | None = None

    def find(self, name: str) -> Path:
        """``NAME-COUNT`` is a model of so many weights of four bytes."""
        return write_weights(self.folder / name, int(name.rpartition("-")[2]))

    def __call__(self, name: str, path: Path, plan: LoadPlan, told: Callable[[str, int, int], None]) -> Fake:
        self.made.append(Fake(self, name))
        return self.made[-1]

    @property
    def open(self) -> list[str]:
        return [fake.name for fake in self.made if not fake.closed]


class Fake:
    def __init__(self, shelf: Shelf, name: str) -> None:
        self.shelf = shelf
        self.name = name
        self.closed = 0
        self.tasks: list[str] = []
        self.weight = 4 * int(name.rpartition("-")[2])

    @property
    def facts(self) -> Facts:
        return Facts(
            name=self.name, model_type="fake", tasks=self.tasks, runtime="none", device="cpu", precision="float32",
            memory=self.weight,
        )  # fmt: skip

    async def run(self, job: Job) -> Done:
        assert not self.closed
        return Done()

    async def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        yield Chunk()

    def snapshot(self) -> dict[str, Any]:
        return {}

    async def cost(self, task: str) -> int:
        return self.shelf.extra

    async def open(self, task: str) -> Facts:
        self.shelf.entered.release()
        assert self.shelf.gate.wait(60)
        if self.shelf.failure is not None:
            raise self.shelf.failure
        if task == "impossible":
            raise UnsupportedOperation("it has no such task")
        if self.tasks:
            self.weight += self.shelf.extra
        self.tasks.append(task)
        return self.facts

    def memory(self) -> int:
        return self.weight

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed += 1
