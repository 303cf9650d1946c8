"""`ipfs_accelerate_py`: which models are served where, and a handler for each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ipfs_accelerate_py import portal as portals
from ipfs_accelerate_py.endpoints.endpoint import Endpoint, open_client, service_of
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.pending import HandlerResult, Pending
from ipfs_accelerate_py.sync import Client

__all__ = ["EndpointHandlers", "ipfs_accelerate_py"]

Handler = Callable[..., HandlerResult]


class ipfs_accelerate_py:  # noqa: N801  # the older API's name
    """Models, and the endpoints that serve them.

    ::

        accelerate = ipfs_accelerate_py(metadata={"openai_api_key": "..."})
        accelerate.add_endpoint("gpt-4o", "openai")
        handler = accelerate.endpoint_handler("gpt-4o", "openai")
        handler("Hello")["text"]          # or, in a coroutine: (await handler("Hello"))["text"]
        accelerate.infer("gpt-4o", "Hello")["text"]

    An endpoint's type is the name of a service (``openai``, ``groq``, ``llvm``, ...), or ``local``: embedding models on
    this machine. One pair of model and type may have several endpoints, and calls go to the one with the least to do.

    Args:
        resources: ``{"local_endpoints": {model: {type: function}}}`` are adopted as endpoints; the rest is not used.
        metadata: keys and URLs by the older API's names; what is not there is looked for in the environment.
        settings: what each client is made with, settings of `Settings` among them.

    An endpoint that does not exist is an error that names those that do, and nothing is ever answered in its place.
    """

    def __init__(
        self, resources: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        self.resources = dict(resources or {})
        self.metadata = dict(metadata or {})
        self._settings = settings
        self._lock = threading.RLock()
        self._endpoints: dict[str, dict[str, list[Endpoint]]] = {}
        #: Those that endpoints without an address or settings of their own share.
        self._shared: dict[str, Client] = {}
        self._choices = 0
        for model, types in (self.resources.get("local_endpoints") or {}).items():
            for endpoint_type, function in types.items():
                self.add_endpoint(model, endpoint_type, function)

    # --- which there are -----------------------------------------------------------------------------------------

    def init_endpoints(self, models: Any, resources: Any = None) -> dict[str, dict[str, list[str]]]:
        """Add endpoints for several models, all or none, and return the ids of all there are, by model and type.

        ``models`` is ``{model: types}`` or a list of ``(model, types)``, where ``types`` is the name of a service,
        several of them, or ``{name: endpoint}`` with what `add_endpoint` takes; or a list of names alone, for embedding
        models on this machine. ``resources`` is taken for the older callers' sake, and not used.
        """
        added: list[str] = []
        try:
            for model, endpoint_type, endpoint in _listed(models):
                added.append(self.add_endpoint(model, endpoint_type, endpoint))
        except BaseException:
            for endpoint_id in added:
                self._drop(lambda each, wanted=endpoint_id: each.id == wanted)  # type: ignore[misc]
            raise
        with self._lock:
            return {
                model: {kind: [each.id for each in listed] for kind, listed in types.items()}
                for model, types in self._endpoints.items()
            }

    def add_endpoint(self, model: str, endpoint_type: str, endpoint: Any = None) -> str:
        """Add an endpoint, and return its id. Nothing is sent.

        ``endpoint`` is None for the service where it always is; its URL; a function, plain or a coroutine, that takes
        the data and gives a dictionary; a `Client`; or a dictionary with ``task`` (``chat``, ``embedding``,
        ``transcription``, ...), ``model`` (what the service calls it) and any option of `Client` (``base_url``,
        ``api_key``, ``max_concurrent_requests``, ...).
        """
        if not isinstance(model, str) or not model:
            raise ConfigurationError("an endpoint needs a model's name")
        if isinstance(endpoint, str):
            endpoint = {"base_url": endpoint}
        if isinstance(endpoint, Client):
            made = Endpoint(model, endpoint_type, client=endpoint)
        elif callable(endpoint):
            made = Endpoint(model, endpoint_type, function=endpoint)
        elif endpoint is None or isinstance(endpoint, Mapping):
            options = dict(endpoint or {})
            task, upstream = options.pop("task", None), options.pop("model", None)
            client = self._client(service_of(endpoint_type), options)
            made = Endpoint(model, endpoint_type, client=client, task=task, upstream=upstream)
        else:
            raise ConfigurationError(
                f"an endpoint is a URL, a dictionary of options, a Client or a function, not {type(endpoint).__name__}"
            )
        with self._lock:
            self._endpoints.setdefault(model, {}).setdefault(endpoint_type, []).append(made)
        return made.id

    def rm_endpoint(self, model: str, endpoint_type: str | None = None, endpoint_id: str | None = None) -> int:
        """Remove an endpoint by its id, all of a type, or all of a model; returns how many. Calls under way finish."""
        self._of(model, endpoint_type)
        return self._drop(
            lambda each: each.model == model and endpoint_type in (None, each.type) and endpoint_id in (None, each.id)
        )

    def get_endpoints(self, model: str | None = None, endpoint_type: str | None = None) -> list[dict[str, Any]]:
        """The endpoints there are: ``id``, ``model``, ``type``, ``task``, ``base_url``, ``circuit_state``, ..."""
        if model is not None:
            found = self._of(model, endpoint_type)
        else:
            found = [each for each in self._all() if endpoint_type in (None, each.type)]
        return [endpoint.info() for endpoint in found]

    def choose_endpoint(self, model: str, endpoint_type: str | None = None) -> str:
        """The id of the endpoint that a call would go to now: one that is not known to be down, with least to do."""
        return self._choose(model, endpoint_type).id

    def query_endpoints(self, model: str | None = None, endpoint_type: str | None = None) -> list[dict[str, Any]]:
        """As `get_endpoints`, having asked each service: is it ``available``, is the model ``listed``, ``error``."""
        return [found.result() for found in self._queries(model, endpoint_type)]

    async def aquery_endpoints(
        self, model: str | None = None, endpoint_type: str | None = None
    ) -> list[dict[str, Any]]:
        """The awaitable twin of `query_endpoints`."""
        return [await found for found in self._queries(model, endpoint_type)]

    # --- calls ---------------------------------------------------------------------------------------------------

    @property
    def endpoint_handler(self) -> EndpointHandlers:
        """``endpoint_handler(model, type)`` and ``endpoint_handler[model][type]`` are a handler, and
        ``endpoint_handler()`` is all of them by model and type."""
        return EndpointHandlers(self)

    def get_endpoint_handler(self, model: str | None = None, endpoint_type: str | None = None) -> Any:
        """A handler: ``handler(data, **options)`` asks the model, and its result is used as a mapping or awaited.

        Without a type, of any of the model's endpoints; without a model, all handlers by model and type.
        """
        if model is None:
            with self._lock:
                pairs = {model: list(types) for model, types in self._endpoints.items()}
            return {model: {kind: self._handler(model, kind) for kind in types} for model, types in pairs.items()}
        self._of(model, endpoint_type)
        return self._handler(model, endpoint_type)

    def infer(
        self, model: str, data: Any, endpoint: str | None = None, endpoint_type: str | None = None, **options: Any
    ) -> HandlerResult:
        """Ask a model, at the endpoint with this id, or at the one that `choose_endpoint` takes.

        ``data`` is what the endpoint's task takes: a text or messages, texts to embed, a recording's bytes; ``task``
        among the options names another task. The result is used as a mapping, which waits for it, or awaited.
        """
        if endpoint is None:
            return self._choose(model, endpoint_type)(data, **options)
        for each in self._of(model, endpoint_type):
            if each.id == endpoint:
                return each(data, **options)
        raise ConfigurationError(f"the model {model!r} has no endpoint {endpoint!r}; {self._known()}")

    # --- state ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """``endpoints`` (how many), ``active_requests``, ``models`` (by name and type, the endpoints), and by service
        the ``usage`` of the clients that endpoints share."""
        listed = self.get_endpoints()
        models: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for info in listed:
            models.setdefault(info["model"], {}).setdefault(info["type"], []).append(info)
        with self._lock:
            shared = dict(self._shared)
        return {
            "endpoints": len(listed),
            "active_requests": sum(info["active_requests"] for info in listed),
            "models": models,
            "usage": {service: client.snapshot()["usage"] for service, client in shared.items()},
        }

    def test_hardware(self) -> dict[str, Any]:
        """What this machine can compute with: ``cpu``, ``cuda``, ``rocm``, ``mps``, ``xpu``, ``openvino``, each True or
        False, and ``details``, which say what was found or why there is nothing."""
        from ipfs_accelerate_py.runtimes.hardware import find_hardware

        return find_hardware()

    def get_model_type(self, model: str) -> str:
        """The type of a model on this machine (``bert``, ``llama``, ...), as its own configuration names it.

        Raises `RuntimeUnavailable` where the model is not here: a service does not tell, and a name proves nothing.
        """
        from ipfs_accelerate_py.runtimes.models import find_model

        path = find_model(model) / "config.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("model_type")
        except (OSError, ValueError, AttributeError) as problem:
            raise ConfigurationError(f"the configuration of {model!r} cannot be read: {problem}") from None
        if not isinstance(found, str):
            raise ConfigurationError(f"the configuration of {model!r} does not name its type ({path})")
        return found

    def close(self) -> None:
        """Close the connections. The object may be used again, and then opens new ones."""
        for client in self._clients():
            client.close()

    async def aclose(self) -> None:
        """The awaitable twin of `close`."""
        for client in self._clients():
            await Pending(client.portal(), client.asynchronous.aclose)

    def __enter__(self) -> ipfs_accelerate_py:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- within --------------------------------------------------------------------------------------------------

    def _client(self, service: str, options: dict[str, Any]) -> Client:
        if options:
            return open_client(service, self.metadata, {**self._settings, **options})
        with self._lock:
            found = self._shared.get(service)
            if found is None:
                found = self._shared[service] = open_client(service, self.metadata, self._settings)
            return found

    def _all(self) -> list[Endpoint]:
        with self._lock:
            return [each for types in self._endpoints.values() for listed in types.values() for each in listed]

    def _clients(self) -> Iterable[Client]:
        found = {id(each.client): each.client for each in self._all() if each.client is not None}
        with self._lock:
            found |= {id(client): client for client in self._shared.values()}
        return found.values()

    def _of(self, model: str, endpoint_type: str | None) -> list[Endpoint]:
        """The endpoints of a pair, at least one."""
        with self._lock:
            types = self._endpoints.get(model, {})
            if endpoint_type is None:
                found = [each for listed in types.values() for each in listed]
            else:
                found = list(types.get(endpoint_type, ()))
        if not found:
            where = "" if endpoint_type is None else f" of type {endpoint_type!r}"
            raise ConfigurationError(f"there is no endpoint{where} for the model {model!r}; {self._known()}")
        return found

    def _known(self) -> str:
        with self._lock:
            pairs = [f"{model} ({', '.join(types)})" for model, types in self._endpoints.items()]
        return f"there are: {', '.join(pairs)}" if pairs else "none has been added (add_endpoint, init_endpoints)"

    def _choose(self, model: str, endpoint_type: str | None) -> Endpoint:
        found = self._of(model, endpoint_type)
        with self._lock:
            self._choices += 1
            best = min(found, key=lambda each: each.load)
            best.chosen = self._choices
        return best

    def _handler(self, model: str, endpoint_type: str | None) -> Handler:
        def handler(data: Any, **options: Any) -> HandlerResult:
            """Ask the model, at the endpoint with the least to do."""
            return self.infer(model, data, endpoint_type=endpoint_type, **options)

        return handler

    def _queries(self, model: str | None, endpoint_type: str | None) -> list[Pending[dict[str, Any]]]:
        asked = self._all() if model is None else self._of(model, endpoint_type)
        return [
            Pending(portals.portal() if each.client is None else each.client.portal(), each.query)
            for each in asked
            if endpoint_type in (None, each.type)
        ]

    def _drop(self, unwanted: Callable[[Endpoint], bool]) -> int:
        with self._lock:
            before = len(self._all())
            kept = {
                model: {kind: [each for each in listed if not unwanted(each)] for kind, listed in types.items()}
                for model, types in self._endpoints.items()
            }
            kept = {model: {kind: listed for kind, listed in types.items() if listed} for model, types in kept.items()}
            self._endpoints = {model: types for model, types in kept.items() if types}
            return before - len(self._all())


class EndpointHandlers(Mapping[str, Mapping[str, Handler]]):
    """Handlers by model and type, and called with a pair the handler of that pair; what there is no endpoint of is an
    error that names those there are."""

    def __init__(self, owner: ipfs_accelerate_py, model: str | None = None) -> None:
        self._owner = owner
        self._model = model

    def __call__(self, model: str | None = None, endpoint_type: str | None = None) -> Any:
        return self._owner.get_endpoint_handler(model, endpoint_type)

    def __getitem__(self, name: str) -> Any:
        if self._model is None:
            self._owner.get_endpoint_handler(name)
            return EndpointHandlers(self._owner, name)
        return self._owner.get_endpoint_handler(self._model, name)

    def _names(self) -> list[str]:
        listed = self._owner.get_endpoints(self._model)
        return list(dict.fromkeys(info["model" if self._model is None else "type"] for info in listed))

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401  # this is what it suggests

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def _listed(models: Any) -> Iterator[tuple[str, str, Any]]:
    """What `init_endpoints` takes, as what `add_endpoint` takes."""
    if isinstance(models, str):
        models = [models]
    if not isinstance(models, Iterable):
        raise ConfigurationError(f"models must be a mapping or a list, not {type(models).__name__}")
    for item in models.items() if isinstance(models, Mapping) else models:
        if isinstance(item, str):
            yield _on_this_machine(item), "local", None
            continue
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise ConfigurationError("each model is a name, or (name, types)")
        model, types, *endpoint = item
        if isinstance(types, str):
            types = {types: endpoint[0] if endpoint else None}
        for kind in types:
            yield model, kind, types[kind] if isinstance(types, Mapping) else None


def _on_this_machine(name: str) -> str:
    from ipfs_accelerate_py.runtimes.models import list_models

    names = [model.name for model in list_models()]
    if name in names:
        return name
    raise ConfigurationError(
        f"where is {name!r} served? Say so: {{{name!r}: 'openai'}}, or another type. "
        f"On this machine are: {', '.join(names) or '(none)'}"
    )
