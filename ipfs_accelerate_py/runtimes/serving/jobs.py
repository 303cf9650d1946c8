"""What is asked of a loaded model, and what it answers: plain data, so that it can cross to a worker process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import msgspec

from ipfs_accelerate_py.results import TaskResult
from ipfs_accelerate_py.types import Chunk

__all__ = ["CONVERSING", "Done", "Facts", "Job", "Servable"]


#: Tasks in OpenAI's words.
CONVERSING = ("chat", "completion", "count")


class Job(msgspec.Struct, kw_only=True):
    """One call of one model.

    ``task`` is one of Hugging Face's (empty: the model's own), and ``inputs`` holds one entry per input (see
    ``docs/tasks.md``). Three more are in OpenAI's words, with ``options`` under OpenAI's names: "chat" (``inputs`` are
    the messages), "completion" (``inputs`` is one prompt: a text or token ids) and "count" (messages; the answer is
    ``input_tokens``). ``priority`` is 0 (high), 1 or 2.
    """

    task: str
    inputs: list[Any]
    options: dict[str, Any] = {}
    priority: int = 1
    request_id: str = ""


class Done(msgspec.Struct, kw_only=True):
    """The answer to a `Job`: one result per input, and tokens by input.

    A chat's or completion's is one `Chunk` for each choice, put together: text, reasoning, tool calls, finish reason.
    ``chunk`` is the first of ``chunks``, and has the usage of all.
    """

    results: list[TaskResult] = []
    input_tokens: list[int] = []
    output_tokens: int = 0
    chunks: list[Chunk] = []

    @property
    def chunk(self) -> Chunk | None:
        return self.chunks[0] if self.chunks else None


class Facts(msgspec.Struct, kw_only=True):
    """What a loaded model is: told when it is listed. ``memory`` is bytes of weights."""

    name: str
    model_type: str
    tasks: list[str]
    runtime: str
    device: str
    precision: str
    memory: int = 0
    loss: float | None = None
    isolated: bool = False


class Servable(Protocol):
    """One loaded model, asked from the event loop."""

    @property
    def facts(self) -> Facts: ...

    async def run(self, job: Job) -> Done:
        """Answer. Raises `InvalidRequest`, `UnsupportedOperation` (no task of this model), `RuntimeUnavailable`."""
        ...

    def stream(self, job: Job) -> AsyncGenerator[Chunk, None]:
        """Answer a generating job as it is written; the last chunk has ``finish_reason`` and ``usage``.

        Closing the iterator (``aclose``) ends the writing.
        """
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """Counters, queue, batches."""
        ...

    async def cost(self, task: str) -> int:
        """Bytes that `open` for this task would need beside what is loaded: 0 where it has what the task needs, or a
        guess (of a checkpoint with another head, the whole once more)."""
        ...

    async def open(self, task: str) -> Facts:
        """Load what a task needs, and run it once; `run` does so too. Raises as `run`."""
        ...

    def memory(self) -> int:
        """Bytes that it has now: its weights, or where it has a process of its own all of that."""
        ...

    async def aclose(self) -> None:
        """Unload: what is under way fails."""
        ...

    def close(self) -> None:
        """As `aclose`, blocking."""
        ...
