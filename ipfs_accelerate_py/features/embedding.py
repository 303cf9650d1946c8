"""Where a semantic cache has its embeddings from: the model in this process, any client, or a function."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.forks import generation

__all__ = ["Embedding", "open_embedding"]

#: What the older API, and the configuration, call the model that needs no download.
_MINI = {"mini": "all-MiniLM-L6-v2", "minilm": "all-MiniLM-L6-v2", "default": "all-MiniLM-L6-v2"}


class Embedding:
    """Awaited with a text, gives its vector; ``name`` says whose vectors these are."""

    def __init__(self, name: str, embed: Callable[[str], Any], aclose: Callable[[], Any] | None = None) -> None:
        self.name = name
        self._embed = embed
        self._aclose = aclose

    async def __call__(self, text: str) -> Any:
        return await self._embed(text)

    async def aclose(self) -> None:
        """Let go of the model, where it is one of this process."""
        if self._aclose is not None:
            await self._aclose()


async def open_embedding(embed: Any, model: str) -> Embedding:
    """An embedding that works: a local model is loaded when this returns.

    Args:
        embed: None for a model in this process; a client or router (synchronous or not), asked for ``model``; or a
            function of a text, plain or ``async``, that gives its vector. Plain ones run in a thread.
        model: the model's name; "mini" is all-MiniLM-L6-v2.

    Raises `MissingExtra`, `RuntimeUnavailable` and `ConfigurationError` with what to do.
    """
    if not isinstance(model, str) or not model:
        raise ConfigurationError(f"embedding_model must be the name of a model, not {model!r}")
    if embed is None:
        model = _MINI.get(model.lower(), model)
        local = _LocalModel(model)
        await local.open()
        return Embedding(f"local/{model}", local, local.aclose)
    verb = getattr(embed, "embed", None)
    if verb is not None and callable(verb):
        if model.lower() in _MINI and getattr(embed, "backend", "") != "local":
            raise ConfigurationError("embedding_model must name the model that the client given as embed is asked for")
        return Embedding(f"{getattr(embed, 'backend', 'client')}/{model}", _asker(verb, _MINI.get(model, model)))
    if not callable(embed):
        raise ConfigurationError("embed must be a client, or a function that gives the vector of a text")
    name = model if model.lower() not in _MINI else getattr(embed, "__name__", "function")
    return Embedding(f"function/{name}", _awaitable(embed))


def _asker(verb: Callable[..., Any], model: str) -> Callable[[str], Any]:
    async def ask(text: str) -> Any:
        # Not by a cache of the client's own: this one is enough.
        if inspect.iscoroutinefunction(verb):
            reply = await verb(model, [text], cache="off")
        else:
            reply = await asyncio.to_thread(verb, model, [text], cache="off")
        return reply.vectors[0]

    return ask


def _awaitable(function: Callable[[str], Any]) -> Callable[[str], Any]:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        return function

    async def call(text: str) -> Any:
        made = await asyncio.to_thread(function, text)
        return await made if inspect.isawaitable(made) else made

    return call


class _Shared:
    """A model that is loaded, for all the caches of this process that use it."""

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.users = 0


_loaded: dict[tuple[str, int], _Shared] = {}


class _LocalModel:
    """A model in this process, loaded once for all who use it; in a forked child it is loaded anew."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._held: tuple[str, int] | None = None
        self._loading: asyncio.Task[_Shared] | None = None

    async def open(self) -> _Shared:
        key = (self._model, generation())
        if self._held == key and key in _loaded:
            return _loaded[key]
        if self._loading is None or self._loading.done() or self._loading.get_loop() is not asyncio.get_running_loop():
            self._loading = asyncio.get_running_loop().create_task(self._load(key))
        return await asyncio.shield(self._loading)  # who leaves must not take the model from the others

    async def _load(self, key: tuple[str, int]) -> _Shared:
        found = _loaded.get(key)
        if found is None:
            runtime = await asyncio.to_thread(_open_runtime, self._model)
            found = _loaded.get(key)
            if found is None:
                found = _loaded[key] = _Shared(runtime)
            else:  # somebody else was faster
                await runtime.aclose()
        if self._held != key:
            self._held = key
            found.users += 1
        return found

    async def __call__(self, text: str) -> Any:
        key = self._held
        found = _loaded.get(key) if key is not None and key[1] == generation() else None
        if found is None:
            found = await self.open()
        done = await found.runtime.embed([text])
        return done.vectors[0]

    async def aclose(self) -> None:
        key, self._held = self._held, None
        found = _loaded.get(key) if key is not None else None
        if found is None or key is None or key[1] != generation():
            return
        found.users -= 1
        if found.users <= 0:
            del _loaded[key]
            await found.runtime.aclose()


def _open_runtime(model: str) -> Any:
    from ipfs_accelerate_py.runtimes import EmbeddingRuntime, find_model
    from ipfs_accelerate_py.runtimes.extras import require

    require("torch")  # before the model is looked for: without the extra that is what has to be said
    try:
        return EmbeddingRuntime.load(find_model(model), name=model)
    except RuntimeUnavailable as error:
        raise RuntimeUnavailable(f"the semantic cache needs an embedding model: {error.message}") from None
    except AccelerateError:
        raise
