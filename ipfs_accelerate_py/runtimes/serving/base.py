"""What a servable is made of: heads, each one network and all the tasks that it can do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ipfs_accelerate_py.types import Chunk

from .jobs import Done, Job

__all__ = ["Described", "Head"]


@dataclass(frozen=True, slots=True)
class Described:
    """What a head runs on. ``memory`` is bytes of weights."""

    runtime: str
    device: str
    precision: str
    memory: int
    loss: float | None = None


class Head(Protocol):
    """One network that is loaded, with the work of its tasks. Asked from any event loop."""

    described: Described

    def ready(self, task: str) -> bool:
        """Whether `prepare` for this task would have nothing to do."""
        ...

    def prepare(self, task: str) -> None:
        """Make what the task needs beside the network (a tokenizer). Slow; not on the event loop."""
        ...

    async def run(self, task: str, job: Job) -> Done:
        """Answer; ``task`` has been prepared."""
        ...

    def stream(self, task: str, job: Job) -> AsyncGenerator[Chunk, None]:
        """Answer as it is written. Raises `UnsupportedOperation` where nothing is written."""
        ...

    def snapshot(self) -> Mapping[str, Any]: ...

    def close(self) -> None:
        """End threads, let go of the network. Slow; not on the event loop."""
        ...
