"""Sentence-transformers folders: their whole chain of modules, by the runtime that is made for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.results import Vector
from ipfs_accelerate_py.runtimes.devices import DTYPES
from ipfs_accelerate_py.runtimes.embeddings import EmbeddingRuntime
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.types import Chunk

from .base import Described
from .jobs import Done, Job

__all__ = ["EmbeddingHead", "embeds"]

#: Options of a plan that say how texts are batched.
_BATCHES = ("max_batch_tokens", "max_batch_items")
_OPTIONS = ("dimensions", "prompt_name", "normalize", "truncate")


def embeds(path: Path, task: str, plan: LoadPlan) -> bool:
    """Whether this task of this folder is for the embedding runtime: an own engine or number format goes without."""
    return (
        task == "sentence-similarity"
        and (plan.runtime == "openvino" or (plan.runtime in ("auto", "torch") and plan.precision in DTYPES))
        and plan.device_map is None
        and not plan.trust_remote_code
        and (path / "modules.json").is_file()
    )


class EmbeddingHead:
    """See `Head`."""

    def __init__(self, name: str, path: Path, plan: LoadPlan) -> None:
        if plan.memory is not None or plan.options.get("trial"):
            plan = _settled(name, path, plan)
        batches = {name: plan.options[name] for name in _BATCHES if name in plan.options}
        if plan.runtime == "openvino":
            runtime = EmbeddingRuntime.load(path, name=name, threads=plan.threads, plan=plan, **batches)
        else:
            if unknown := sorted(set(plan.options) - {*_BATCHES, "trial"}):
                raise ConfigurationError(f"an embedding model has no option {unknown[0]!r}")
            runtime = EmbeddingRuntime.load(
                path, name=name, device=plan.device, dtype=plan.precision, threads=plan.threads, **batches
            )
        self._runtime = runtime
        lost = None if runtime.loss is None else runtime.loss.worst
        self.described = Described(runtime.engine, runtime.device, runtime.dtype, runtime.memory, lost)

    def ready(self, task: str) -> bool:
        return True

    def prepare(self, task: str) -> None:
        """Nothing is missing."""

    async def run(self, task: str, job: Job) -> Done:
        for option in job.options:
            if option not in _OPTIONS:
                raise InvalidRequest(
                    f"an embedding has no option {option!r}; it has: {', '.join(_OPTIONS)}", status=400, param=option
                )
        for index, text in enumerate(job.inputs):
            if not isinstance(text, str):
                raise InvalidRequest(
                    f"a local model embeds texts; input[{index}] is a {type(text).__name__}",
                    status=400,
                    param=f"input[{index}]",
                )
        done = await self._runtime.embed(job.inputs, priority=job.priority, **job.options)
        return Done(results=[Vector(values) for values in done.vectors.tolist()], input_tokens=done.tokens)

    def stream(self, task: str, job: Job) -> AsyncGenerator[Chunk, None]:
        raise UnsupportedOperation("vectors are not written bit by bit: call it without streaming")

    def snapshot(self) -> Mapping[str, Any]:
        return self._runtime.snapshot()

    def close(self) -> None:
        self._runtime.close()


def _settled(name: str, path: Path, plan: LoadPlan) -> LoadPlan:
    """The plan with a precision that fits its budget, and the runtime that a trial found faster, where it asks so."""
    from ipfs_accelerate_py.runtimes.engines.choosing import settle
    from ipfs_accelerate_py.runtimes.folder import read_folder
    from ipfs_accelerate_py.runtimes.transformer_step import source_of

    source, task = source_of(read_folder(path, name))
    # What else there is (the runtime llvm) runs no sentence-transformers folder.
    return settle(source, task, plan, ("torch", "openvino"))
