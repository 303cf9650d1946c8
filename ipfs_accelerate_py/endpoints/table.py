"""The endpoints that there are, by model and type, and the clients behind them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.endpoints.endpoint import Endpoint, open_client
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.sync import Client

__all__ = ["EndpointTable"]


class EndpointTable:
    """The part of `ipfs_accelerate_py` that keeps endpoints, finds them and chooses among them. Thread-safe.

    Args:
        metadata: keys and URLs by the older API's names.
        settings: what each client is made with.
    """

    def __init__(self, metadata: dict[str, Any], settings: dict[str, Any]) -> None:
        self.metadata = metadata
        self._settings = settings
        self._lock = threading.RLock()
        self._endpoints: dict[str, dict[str, list[Endpoint]]] = {}
        #: Those that endpoints without an address or settings of their own share.
        self._shared: dict[str, Client] = {}
        self._choices = 0

    def _client(self, service: str, told: Mapping[str, str], options: dict[str, Any]) -> Client:
        if options:
            return open_client(service, self.metadata, {**self._common(service), **told, **options})
        key = " ".join((service, *told.values()))
        with self._lock:
            found = self._shared.get(key)
            if found is None:
                found = self._shared[key] = open_client(service, self.metadata, {**self._common(service), **told})
            return found

    def _common(self, service: str) -> dict[str, Any]:
        """The settings of all clients; what is for models on this machine alone is not told to services."""
        ours = {option.name for option in find_backend("local").options}
        return {name: value for name, value in self._settings.items() if service == "local" or name not in ours}

    def _folders(self) -> tuple[str, ...]:
        given = self._settings.get("models") or ()
        return (given,) if isinstance(given, str) else tuple(given)

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
