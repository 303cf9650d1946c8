"""The innermost handler for models in this machine: a call becomes a job of a loaded model. Never blocks the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.backends.local_answers import job_of, read_done
from ipfs_accelerate_py.backends.local_manager import Held, hold
from ipfs_accelerate_py.backends.local_options import read_options
from ipfs_accelerate_py.backends.local_stream import LocalSource
from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.errors import ReadTimeout, UnsupportedOperation
from ipfs_accelerate_py.settings import Settings, Timeouts
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, ModelInfo, Operation, Reply, TaskRequest

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.models import LocalModel
    from ipfs_accelerate_py.runtimes.serving.jobs import Facts, Job, Servable
    from ipfs_accelerate_py.runtimes.serving.manager import ModelManager

__all__ = ["LocalBackend"]

#: Tasks that need a model's tokenizer alone.
TOKEN_TASKS = frozenset({"tokenize", "decode"})


class LocalBackend:
    """Loads a model when it is first asked for, and keeps it while there is room.

    Args:
        options: see ``local_options``. Backends that are told the same share their models.
    """

    def __init__(self, spec: BackendSpec, options: Mapping[str, Any] | None = None) -> None:
        self.spec = spec
        self.options = read_options(options or {})
        self._settings: Settings | None = None
        self._held: Held | None = None

    def bind(self, settings: Settings) -> None:
        """Limits of time are read live from here."""
        self._settings = settings

    @property
    def manager(self) -> ModelManager:
        """What loads and keeps the models."""
        if self._held is None or not self._held.usable:
            self._held = hold(self.options)
        return self._held.manager

    @property
    def loaded(self) -> bool:
        """Whether a manager has been made: nothing is made by whoever only looks."""
        return self._held is not None and self._held.usable

    async def __call__(self, call: Call) -> Reply:
        if call.operation is Operation.MODELS:
            return await self._models()
        if isinstance(call.request, TaskRequest) and call.request.task in TOKEN_TASKS:
            return await self._tokens(call, call.request)
        job, ignored = job_of(call)
        began = time.monotonic()
        lease = self._lease(call, job)
        reply = await self._stream(call, job, lease) if call.stream else await self._whole(call, job, lease)
        reply.upstream = time.monotonic() - began
        reply.backend = self.spec.name
        reply.model = reply.model or call.model
        if ignored:
            reply.ignored = ignored
        return reply

    async def _tokens(self, call: Call, request: TaskRequest) -> Reply:
        """What takes a model's tokenizer alone: ``raw`` has an item for each input."""
        from ipfs_accelerate_py.runtimes.models import find_model
        from ipfs_accelerate_py.runtimes.token_lists import do_token_task

        def work() -> list[Any]:
            path = find_model(call.model, folders=self.options.folders)
            return do_token_task(path, request.task, request.input, request.options)

        if call.stream:
            raise UnsupportedOperation(f"the local backend does not stream {request.task}")
        return Reply(raw=await asyncio.to_thread(work), backend=self.spec.name, model=call.model)

    def _lease(self, call: Call, job: Job) -> AbstractAsyncContextManager[Servable]:
        return self.manager.lease(call.model, job.task, self.options.plan, deadline=call.deadline)

    async def _whole(self, call: Call, job: Job, lease: AbstractAsyncContextManager[Servable]) -> Reply:
        left = None if call.deadline is None else max(0.0, call.deadline - time.monotonic())
        timeout = asyncio.timeout(left)
        try:
            async with timeout, lease as servable:
                return await read_done(call, await servable.run(job))
        except TimeoutError:
            if not timeout.expired():
                raise
            raise ReadTimeout("the call's deadline has come, and the model's answer has not") from None

    async def _stream(self, call: Call, job: Job, lease: AbstractAsyncContextManager[Servable]) -> Reply:
        source = LocalSource(lease, job, call.model, call.deadline, self._limits(call))
        first = await source.begin()
        return Reply(stream=Stream(source, first), content_type="text/event-stream")

    def _limits(self, call: Call) -> Timeouts:
        limits = call.timeouts or (self._settings or Settings()).timeouts
        return limits if call.limits is None else limits.with_limits(call.limits)

    async def _models(self) -> Reply:
        found = await asyncio.to_thread(self.list)
        return Reply(
            backend=self.spec.name,
            models=[ModelInfo(model.name, "local", 0, {"id": model.name, **about(model)}) for model in found],
        )

    # --- models ------------------------------------------------------------------------------------------------------

    def list(self) -> list[LocalModel]:
        """The models that are here. Reads the file system."""
        from ipfs_accelerate_py.runtimes.models import list_models

        return list_models(folders=self.options.folders)

    async def load(self, name: str, task: str = "", *, pin: bool = False) -> Facts:
        """Load a model and run it once; however many ask for it, it is loaded once.

        Raises `RuntimeUnavailable` where the model cannot be found or served, `MissingExtra` without ``[local]``.
        """
        return await self.manager.load(name, task, self.options.plan, pin=pin)

    async def unload(self, name: str) -> int:
        """Unload a model when its calls have ended; how many there were (by task's class and plan)."""
        return await self.manager.unload(name) if self._held is not None else 0

    def snapshot(self) -> dict[str, Any]:
        """Budget, memory, and by model that is loaded: batches, items, tokens, queue."""
        return {"local": self.manager.snapshot() if self.loaded else {}}

    async def aclose(self) -> None:
        """Let go of the models; the last backend that shares them unloads them."""
        held, self._held = self._held, None
        if held is not None:
            await held.release()


def about(model: LocalModel) -> dict[str, Any]:
    """What is told of a model that is here."""
    return {
        "path": str(model.path),
        "model_type": model.model_type,
        "tasks": list(model.tasks),
        "size": model.size,
        "source": model.source,
    }
