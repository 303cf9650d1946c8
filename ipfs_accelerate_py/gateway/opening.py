"""The backends that a configuration describes, each opened once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.backends import Backend, find_backend, open_backend
from ipfs_accelerate_py.gateway.entries import BackendEntry
from ipfs_accelerate_py.router.loops import HOPS_HEADER

__all__ = ["OpenedBackends"]

_ISOLATION = "IPFS_ACCELERATE_LOCAL_ISOLATION"


class OpenedBackends:
    """Opens a backend for an entry; entries that say the same share one, with its queue, breaker and connections."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """``settings`` are those of every backend over HTTP, where its entry does not say otherwise."""
        #: Every backend, by the name that metrics know it by.
        self.backends: dict[str, Backend] = {}
        self.settings = dict(settings)
        self._opened: dict[Any, Backend] = {}

    def __call__(self, entry: BackendEntry) -> Backend:
        """The backend of an entry, opened before or now."""
        keys = None if entry.keys is None else tuple(sorted(entry.keys.items(), key=lambda item: item[0]))
        same = (entry.backend, entry.base_url, keys, _frozen(entry.headers), _frozen(entry.settings))
        found = self._opened.get(same)
        if found is None:
            # Models on this machine are queued by the runtime that batches them; their row has its own limits.
            # A model of theirs that crashes must not take the gateway with it.
            in_process = find_backend(entry.backend).in_process
            base = {"isolation": os.environ.get(_ISOLATION) or "process"} if in_process else self.settings
            keys_by_name = None if entry.keys is None else {name: key.reveal() for name, key in entry.keys.items()}
            found = self._opened[same] = self.open(
                entry.backend, entry.base_url, keys_by_name, entry.headers, {**base, **entry.settings}
            )
        return found

    def open(
        self,
        name: str,
        base_url: str | None,
        api_key: str | Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        settings: Mapping[str, Any],
        *,
        label: str = "",
    ) -> Backend:
        """One that is not shared. ``label`` is what metrics call it."""
        if base_url is not None:
            # It may be a gateway, and even this one: the count tells it when a call goes in a circle.
            headers = {HOPS_HEADER: "1", **(headers or {})}
        made = open_backend(name, base_url=base_url, api_key=api_key, headers=headers, settings=settings)
        self.backends[self._label(made, label)] = made
        return made

    def _label(self, backend: Backend, name: str = "") -> str:
        name = name or backend.spec.name
        if name in self.backends:
            name = f"{name}@{urlsplit(backend.base_url).netloc}"
        label, number = name, 2
        while label in self.backends:
            label, number = f"{name}#{number}", number + 1
        return label

    async def aclose(self) -> None:
        """Close all of them."""
        for backend in self.backends.values():
            await backend.aclose()


def _frozen(mapping: Any) -> frozenset[Any]:
    return frozenset(mapping.items())
