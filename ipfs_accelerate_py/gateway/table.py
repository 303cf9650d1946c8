"""Which model name is answered by which backend, and what clients are shown of it.

A name is looked for in this order: names that the configuration lists; models on this machine; ``backend/model`` or
``backend:model`` for a backend all of whose models are served; and last, the bare name of a model that just one of
those backends says it has.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.backends import Backend, configured
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import AccelerateError, ModelNotFound
from ipfs_accelerate_py.gateway.aliasing import alias_target, open_router
from ipfs_accelerate_py.gateway.config import BackendEntry, GatewayConfig
from ipfs_accelerate_py.gateway.opening import OpenedBackends
from ipfs_accelerate_py.gateway.targets import AnyTarget, Target
from ipfs_accelerate_py.types import Call, ModelInfo, ModelsRequest, Operation, new_request_id

if TYPE_CHECKING:
    from ipfs_accelerate_py.backends.local import LocalBackend

__all__ = ["ModelTable", "not_found"]

logger = logging.getLogger(__name__)

#: A gateway stands in front of many clients, where a library stands in front of one program.
GATEWAY_SETTINGS: dict[str, Any] = {"max_concurrent_requests": 1000, "queue_size": 1000}
#: Seconds for which a backend's list of models is good, and a failure to get it.
LIST_SECONDS = 300.0
LIST_FAILED_SECONDS = 30.0
LIST_TIMEOUT = 10.0
#: Names of the form ``backend/model`` that are remembered; further ones are put together each time.
_MOST_REMEMBERED = 1024
#: Between backend and model.
_MARK = re.compile(r"[/:]")
#: For what a model was made that is meant where nobody names one.
_USUAL = {
    Operation.EMBED: frozenset({"sentence-similarity", "feature-extraction"}),
    Operation.RERANK: frozenset({"text-ranking"}),
    Operation.CLASSIFY: frozenset({"text-classification"}),
    Operation.TASK: frozenset({"sentence-similarity", "feature-extraction"}),
}
#: Names come from clients, and are kept: here, in metrics and in the totals of backends.
_LONGEST_NAME = 256


class _Listing:
    """The models that one backend says it has."""

    __slots__ = ("models", "until")

    def __init__(self, models: list[ModelInfo], until: float) -> None:
        self.models = models
        self.until = until


class ModelTable:
    """Made from a configuration; opens backends without sending anything."""

    def __init__(self, config: GatewayConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = int(time.time())
        self._open = OpenedBackends({**GATEWAY_SETTINGS, **config.settings})
        #: Every backend, by the name that metrics know it by.
        self.backends = self._open.backends
        self._targets: dict[str, AnyTarget] = {}
        self._shown: dict[str, ModelInfo] = {}
        #: Backends all of whose models are served, by name.
        self.whole: dict[str, Backend] = {}
        #: The same by their other names, too: what stands before the mark in ``backend/model``.
        self._prefixes: dict[str, Backend] = {}
        self._remembered: dict[str, AnyTarget] = {}
        self._listings: dict[str, _Listing] = {}
        self._fetching: dict[str, asyncio.Task[_Listing]] = {}
        for model in config.models:
            self._add(model.name, self._open(model.target), model.model, model.target.backend)
        #: Answers for aliases; None where there are none.
        self.router = open_router(config.aliases, self._open, **config.router) if config.aliases else None
        for alias in config.aliases:
            assert self.router is not None
            self._targets[alias.name] = alias_target(alias, self.router)
            if alias.listed:
                self._shown[alias.name] = ModelInfo(alias.name, alias.targets[0].target.backend, self._started)
        for entry in config.backends:
            self._serve_whole(entry)
        if config.environment:
            for spec in configured():
                if spec.name not in self.whole:
                    self._serve_whole(BackendEntry(spec.name))
        #: Names of models on this machine that are served.
        self.local: list[str] = [name for name, target in self._targets.items() if _local(target)]
        if config.local or "local" in self.whole:
            self._add_local()
        #: Whether what loads models is installed.
        self.can_load = importlib.util.find_spec("torch") is not None
        #: Local models to load at the start.
        self.preloaded = config.preload or ()
        if config.preload is None and self.can_load:
            self.preloaded = tuple(self.local[:1])

    def _add(self, name: str, backend: Backend, model: str, owner: str) -> None:
        self._targets[name] = Target(name, backend, model)
        self._shown[name] = ModelInfo(name, owner, self._started)

    def _serve_whole(self, entry: BackendEntry) -> None:
        backend = self.whole[entry.backend] = self._open(entry)
        for name in (backend.spec.name, *backend.spec.aliases):
            self._prefixes.setdefault(name, backend)
        self._prefixes[entry.backend] = backend

    def _add_local(self) -> None:
        backend = self.whole.pop("local", None) or self._open(BackendEntry("local"))
        for name in [name for name, each in self._prefixes.items() if each is backend]:
            del self._prefixes[name]  # what a client writes behind the mark may be a path, and only lists are served
        assert backend.local is not None
        for model in backend.local.list():
            if model.name not in self._targets:
                self._add(model.name, backend, model.name, "local")
                self._shown[model.name].raw = {"tasks": list(model.tasks), "model_type": model.model_type}
                self.local.append(model.name)
            for alias in (*model.aliases, f"local/{model.name}"):
                self._targets.setdefault(alias, Target(alias, backend, model.name, model.name))

    # --- finding -------------------------------------------------------------------------------------------------

    def find(self, name: str) -> AnyTarget | None:
        """The target of a name, as far as that can be told without asking anybody."""
        found = self._targets.get(name) or self._remembered.get(name)
        if found is None and len(name) <= _LONGEST_NAME:
            # The first of the two marks counts: Ollama has colons in its names, and the hub has slashes.
            mark = _MARK.search(name)
            backend = self._prefixes.get(name[: mark.start()]) if mark is not None else None
            model = name[mark.end() :] if mark is not None else ""
            if backend is not None and model:
                found = Target(name, backend, model)
                if len(self._remembered) < _MOST_REMEMBERED:
                    self._remembered[name] = found
        return found

    def usual(self, operation: Operation, allowed: Callable[[str], bool]) -> str:
        """The model that is meant where a format has no place for its name: the only one of this machine that was made
        for it, or the only name there is. Raises 400, with the names, where that does not tell it."""
        names = [name for name in self.names() if allowed(name)]
        if len(names) == 1:
            return names[0]
        wanted = _USUAL.get(operation, frozenset())
        fit = [
            each
            for each in self._shown.values()
            if allowed(each.id) and wanted & set((each.raw or {}).get("tasks", ()))
        ]
        if len(fit) == 1:
            return fit[0].id
        shown = ", ".join(each.id for each in fit[:10]) or "none of them was made for this alone"
        raise bad_request(
            f"Which model? Say so in the path (/tei/MODEL/...) or as 'model': {shown}.",
            "missing_required_parameter",
            "model",
        )

    async def discover(self, name: str) -> AnyTarget:
        """The target of a bare name, by what the backends say they have. Raises `ModelNotFound`; 400 if several do."""
        having = [
            label
            for label, listing in (await self._lists()).items()
            if any(model.id == name for model in listing.models)
        ]
        if len(having) > 1:
            names = " or ".join(f"'{label}/{name}'" for label in having)
            raise bad_request(f"Several backends have a model '{name}': ask for {names}.", "ambiguous_model", "model")
        if not having:
            raise not_found(name)
        target = Target(name, self.whole[having[0]], name)
        if len(self._remembered) < _MOST_REMEMBERED:
            self._remembered[name] = target
        return target

    # --- what clients are shown ----------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The names that are known without asking anybody."""
        return list(self._shown)

    async def models(self) -> list[ModelInfo]:
        """Every model; those of whole backends by their bare name where that is unambiguous."""
        shown = dict(self._shown)
        lists = await self._lists()
        counts: dict[str, int] = {}
        for listing in lists.values():
            for model in listing.models:
                counts[model.id] = counts.get(model.id, 0) + 1
        for label, listing in lists.items():
            for model in listing.models:
                bare = counts[model.id] == 1 and model.id not in self._targets
                name = model.id if bare else f"{label}/{model.id}"
                shown.setdefault(name, ModelInfo(name, model.owner or label, model.created))
        return list(shown.values())

    async def model(self, name: str) -> ModelInfo:
        """One model. Raises `ModelNotFound`."""
        if name in self._shown:
            return self._shown[name]
        target = self.find(name) or await self.discover(name)
        for listing in (await self._lists()).values():
            for model in listing.models:
                if model.id == target.model and target.backend is not None:
                    return ModelInfo(name, model.owner or target.backend.spec.name, model.created)
        if not _local(target):
            raise not_found(name)
        return ModelInfo(name, "local", self._started)

    async def _lists(self) -> dict[str, _Listing]:
        labels = list(self.whole)
        return dict(zip(labels, await asyncio.gather(*map(self._listing, labels)), strict=True))

    async def _listing(self, label: str) -> _Listing:
        found = self._listings.get(label)
        if found is not None and found.until > self._clock():
            return found
        task = self._fetching.get(label)
        if task is None:
            task = self._fetching[label] = asyncio.get_running_loop().create_task(self._fetch(label))
            task.add_done_callback(lambda done: self._fetching.pop(label, None))
        # Shielded: it is fetched for all who wait, and one who leaves must not take it from the others.
        return await asyncio.shield(task)

    async def _fetch(self, label: str) -> _Listing:
        call = Call(
            operation=Operation.MODELS,
            request=ModelsRequest(),
            request_id=new_request_id(),
            deadline=time.monotonic() + LIST_TIMEOUT,
        )
        try:
            models = (await self.whole[label](call)).models
        except AccelerateError as error:
            # Its models can still be asked for as backend/model, so this is no reason to fail the list of the others.
            logger.warning("the backend %s does not list its models: %s", label, error)
            listing = _Listing([], self._clock() + LIST_FAILED_SECONDS)
        else:
            listing = _Listing(models, self._clock() + LIST_SECONDS)
        self._listings[label] = listing
        return listing

    def warm_up(self) -> None:
        """Import what the first request would otherwise wait for."""
        for backend in self.backends.values():
            backend.warm_up()

    async def preload(self, names: Iterable[str]) -> None:
        """Load local models; what cannot be loaded is logged, and told again to whoever asks for it."""
        for name in names:
            target = self.find(name)
            local = target.backend.local if target is not None and target.backend is not None else None
            if target is None or local is None:
                logger.warning("preload: no local model %r is served", name)
                continue
            try:
                await local.load(target.model)
            except AccelerateError as error:
                logger.warning("preload: %s: %s", name, error)

    def local_backends(self) -> list[LocalBackend]:
        """Those of models on this machine, by how they are told to load them."""
        return [local for backend in self.backends.values() if (local := backend.local) is not None]

    async def aclose(self) -> None:
        """Close every backend."""
        for task in list(self._fetching.values()):
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)
        if self.router is not None:
            await self.router.aclose()
        await self._open.aclose()


def not_found(name: str) -> ModelNotFound:
    """404 for a model that nobody here has. The name is quoted only so far as it is one."""
    shown = name if len(name) <= 200 else name[:200] + "..."
    return ModelNotFound(
        f"The model '{shown}' does not exist, or this gateway does not serve it (GET /v1/models lists those it does).",
        status=404,
        type="invalid_request_error",
        param="model",
    )


def _local(target: AnyTarget) -> bool:
    return target.backend is not None and target.backend.local is not None
