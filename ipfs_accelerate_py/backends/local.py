"""The innermost handler for models in this process: it hands work to the runtimes and never blocks the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.types import Call, EmbedRequest, ModelInfo, Operation, Reply, Usage

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.embeddings import EmbeddingRuntime

__all__ = ["LocalBackend"]

_OPTIONS = ("dimensions", "prompt_name", "normalize", "truncate")


class LocalBackend:
    """Loads a model when it is first asked for, and keeps it. Today: embeddings."""

    def __init__(self, spec: BackendSpec) -> None:
        self.spec = spec
        self._loading: dict[str, asyncio.Task[EmbeddingRuntime]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, call: Call) -> Reply:
        if call.operation is Operation.EMBED:
            return await self._embed(call)
        if call.operation is Operation.MODELS:
            return await self._models()
        raise UnsupportedOperation(f"the local backend has no operation {call.operation} (it has: embed, models)")

    async def load(self, name: str) -> EmbeddingRuntime:
        """The runtime of a model, loaded once however many ask for it, off the event loop.

        Raises `RuntimeUnavailable` where the model cannot be found or served, `MissingExtra` without ``[local]``.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # an earlier loop is gone, and its runtimes with it
            self._loop = loop
            self._loading = {}
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = loop.create_task(asyncio.to_thread(_load, name))
            task.add_done_callback(lambda done: self._loaded(name, done))
        # Shielded: a caller who leaves must not take the model from the others who wait for it.
        return await asyncio.shield(task)

    def _loaded(self, name: str, task: asyncio.Task[EmbeddingRuntime]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._loading.pop(name, None)  # so that the next call tries again

    async def _embed(self, call: Call) -> Reply:
        request = call.request
        assert isinstance(request, EmbedRequest)
        options = dict(request.options)
        options.pop("encoding_format", None)  # how vectors are written is for whoever writes them
        options.pop("user", None)
        known = {name: options.pop(name) for name in _OPTIONS if name in options}
        if options:
            name = sorted(options)[0]
            raise InvalidRequest(
                f"a local embedding has no option {name!r}; it has: {', '.join(_OPTIONS)}", status=400, param=name
            )
        for index, text in enumerate(request.input):
            if not isinstance(text, str):
                raise InvalidRequest(
                    f"a local model embeds texts; input[{index}] is a {type(text).__name__}",
                    status=400,
                    param=f"input[{index}]",
                )
        runtime = await self.load(request.model)
        done = await runtime.embed(request.input, **known)
        return Reply(
            backend=self.spec.name,
            model=request.model,
            vectors=done.vectors.tolist(),
            usage=Usage(input_tokens=sum(done.tokens), reported=True),
        )

    async def _models(self) -> Reply:
        from ipfs_accelerate_py.runtimes.models import list_models

        found = await asyncio.to_thread(list_models)
        return Reply(
            backend=self.spec.name,
            models=[ModelInfo(model.name, "local", 0, {"id": model.name, "path": str(model.path)}) for model in found],
        )

    def snapshot(self) -> dict[str, Any]:
        """By model that is loaded: batches, items, tokens, padding, queue."""
        return {
            "runtimes": {
                name: task.result().snapshot()
                for name, task in self._loading.items()
                if task.done() and not task.cancelled() and task.exception() is None
            }
        }

    async def aclose(self) -> None:
        """Unload every model."""
        loading, self._loading = self._loading, {}
        if self._loop is not asyncio.get_running_loop():
            return
        for task in loading.values():
            await asyncio.wait([task])
            if task.exception() is None:  # a model that failed to load has nothing to close
                await task.result().aclose()


def _load(name: str) -> EmbeddingRuntime:
    from ipfs_accelerate_py.runtimes.embeddings import EmbeddingRuntime
    from ipfs_accelerate_py.runtimes.extras import require
    from ipfs_accelerate_py.runtimes.models import find_model

    require("torch")  # before the model is looked for: without the extra that is what has to be said
    return EmbeddingRuntime.load(find_model(name), name=name)
