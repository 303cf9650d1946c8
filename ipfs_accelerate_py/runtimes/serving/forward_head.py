"""Tasks that take one forward pass: their pieces through the batch scheduler, all tasks of one network together."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, UnsupportedOperation
from ipfs_accelerate_py.runtimes.batching import BatchCutter
from ipfs_accelerate_py.runtimes.devices import available_cpus
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Network
from ipfs_accelerate_py.runtimes.processing.base import Context, Piece, Processing
from ipfs_accelerate_py.runtimes.processing.registry import make_processing
from ipfs_accelerate_py.runtimes.scheduled import Steps
from ipfs_accelerate_py.runtimes.scheduler import BatchScheduler
from ipfs_accelerate_py.runtimes.threads import processors, thread_setter
from ipfs_accelerate_py.types import Chunk

from .base import Described
from .bridging import outcome
from .jobs import Done, Job

__all__ = ["ForwardHead", "describe"]

# What a batch may hold. A processor is saturated by a few hundred positions, and slows down when the activations leave
# its caches; a GPU wants many more. (max tokens, max padding)
_LIMITS = {"cpu": (2048, 128), "other": (16384, 2048)}
_MAX_ITEMS = 512

# Inputs that are prepared in one go: few, because one may be a photograph or an hour of speech.
_SLICE = 16

# So many batches may be prepared ahead.
_AHEAD = 8


def describe(network: Network) -> Described:
    """A network in words. ``loss`` is its worst measured one, where it was quantised."""
    loss = getattr(getattr(network, "loss", None), "worst", None)
    return Described(network.engine, network.device, network.precision, network.memory, loss)


class _Part:
    """A piece, and the task whose work it is: only pieces of one task share a batch."""

    __slots__ = ("group", "length", "piece", "work")

    def __init__(self, task: str, work: Processing, piece: Piece) -> None:
        self.piece = piece
        self.work = work
        self.length = piece.length
        self.group: Hashable = (task, piece.group)


class ForwardHead:
    """See `Head`."""

    def __init__(self, name: str, network: Network, context: Context, plan: LoadPlan) -> None:
        self.described = describe(network)
        self._network = network
        self._context = context
        self._works: dict[str, Processing] = {}
        # A network is launched from one thread at a time unless it says that it takes more, and so it is collected.
        self._collecting = threading.Lock()
        on_cpu = network.device.lower().startswith("cpu")
        workers = max(1, int(getattr(network, "workers", 1)))
        tokens, padding = _LIMITS["cpu" if on_cpu else "other"]
        tokens = int(plan.options.get("max_batch_tokens", tokens))
        cpus = plan.threads or available_cpus()
        steps = Steps(
            self._prepare,
            self._forward,
            self._collect,
            self._join,
            thread_setter(max(1, cpus // workers)) if on_cpu and network.engine == "torch" else _nothing,
            slice=_SLICE,
            preparers=min(2, available_cpus()),
            finishers=2,
            most_waiting=_AHEAD * tokens,
        )
        if on_cpu:
            steps = processors().shared(steps, max(1, cpus // workers), waits=network.engine != "torch")
        cutter = BatchCutter(
            max_tokens=tokens,
            max_items=int(plan.options.get("max_batch_items", _MAX_ITEMS)),
            max_padding=padding,
            workers=workers,
            min_tokens=tokens // 4,
        )
        self._scheduler = BatchScheduler(steps, cutter, name=name.rpartition("/")[2])

    def ready(self, task: str) -> bool:
        return task in self._works

    def prepare(self, task: str) -> None:
        if task not in self._works:
            self._works[task] = make_processing(task, self._context)

    async def run(self, task: str, job: Job) -> Done:
        if not job.inputs:
            return Done()
        options = {"task": task, "work": self._works[task], "options": job.options, "count": len(job.inputs)}
        results, tokens = await outcome(self._scheduler.submit(job.inputs, options, priority=job.priority))
        return Done(results=results, input_tokens=tokens)

    def stream(self, task: str, job: Job) -> AsyncGenerator[Chunk, None]:
        raise UnsupportedOperation(f"{task} is not written bit by bit: call it without streaming")

    def snapshot(self) -> Mapping[str, Any]:
        return self._scheduler.snapshot()

    def close(self) -> None:
        self._scheduler.close()
        self._works.clear()
        self._network.close()

    # --- steps ----------------------------------------------------------------------------------------------------

    def _prepare(self, inputs: Sequence[Any], start: int, options: Mapping[str, Any]) -> list[list[_Part]]:
        work, task = options["work"], options["task"]
        made = []
        for index, given in enumerate(inputs, start):
            try:
                pieces = work.split(given, options["options"])
            except AccelerateError as error:
                if options["count"] > 1:
                    error.message = f"input {index}: {error.message}"
                    error.args = (error.message,)
                raise
            made.append([_Part(task, work, piece) for piece in pieces])
        return made

    def _forward(self, parts: Sequence[_Part]) -> Any:
        work, pieces = parts[0].work, [part.piece for part in parts]
        if work.runs:
            return work.run(self._network, pieces)
        return self._network.launch(work.collate(pieces))

    def _collect(self, launched: Any, parts: Sequence[_Part]) -> Sequence[Any]:
        work = parts[0].work
        if work.runs:
            rows: Sequence[Any] = launched
            return rows
        with self._collecting:
            outputs = self._network.collect(launched)
        return work.rows(outputs, [part.piece for part in parts])

    def _join(self, rows: Sequence[Any], parts: Sequence[_Part], options: Mapping[str, Any]) -> Any:
        return options["work"].join(rows, [part.piece for part in parts], options["options"])


def _nothing() -> None:
    """What a thread does first that needs no preparation."""
