"""Who is asked: a client, a router, or anything that answers a `Call`; with the pipeline in front of it, or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.pipeline.keys import Key, KeyPool, KeysPolicy, Lease
from ipfs_accelerate_py.pipeline.ratelimit import Reservation
from ipfs_accelerate_py.router.core import AsyncRouter
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Handler, RateLimits, Reply, Usage

__all__ = ["LoadTarget", "shown"]


class LoadTarget:
    """Something to be put under load.

    Args:
        opened: a client, or a router (which is always asked with its pipeline: choosing among targets is what it is).
        model: what it is asked for; of a router, the alias.
        through: keep the client's own pipeline in front: its queue, retries, breaker, key pool, limits and caches. Off,
            the service is measured as it is: each call is made once, at once, whatever the ones before it met.
        name: what figures call it; else the backend's name.

    The client's own settings are left as they are. Closing is for whoever has opened it.
    """

    def __init__(
        self, opened: AsyncClient | AsyncRouter, model: str, *, through: bool = False, name: str = "", url: str = ""
    ) -> None:
        self.opened = opened
        self.model = model
        self.through = through or isinstance(opened, AsyncRouter)
        self.settings: Settings = opened.settings
        if isinstance(opened, AsyncRouter):
            backend, address = "router", ""
        else:
            backend, address = opened.backend, opened.base_url
        self.name = name or backend
        self.backend = backend
        self.url = url or shown(address)
        #: Whether models run in this process, whose time is then not the generator's alone.
        self.here = not address
        self.send: Handler = opened.send if self.through else _bare(opened)
        self._secrets = _secrets(opened, address)

    def without_secrets(self, text: str) -> str:
        """``text``, with every key of the client, and what its URL keeps secret, taken out."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text


class _Unjudged(KeyPool):
    """Takes the keys in turn and draws no conclusion from an answer: none rests, none waits, none is passed over."""

    def __init__(self, pool: KeyPool, settings: Settings, needed: Callable[[Call], None]) -> None:
        super().__init__(settings)
        self._keys = pool._keys
        self._check = needed
        self._turn = 0

    def acquire(self, call: Call) -> Lease | float:
        self._check(call)
        keys = list(self._keys.values())
        if call.key_name is not None:
            keys = [key for key in keys if key.name == call.key_name]
            if not keys:
                raise ConfigurationError(f"there is no key named {call.key_name!r}")
        key: Key = keys[self._turn % len(keys)] if keys else self._anonymous
        self._turn += 1
        return Lease(key, self, Reservation(call.request.model))

    def release(self, lease: Lease, usage: Usage | None, error: BaseException | None) -> None:
        lease.settled = True

    def accepted(self, lease: Lease) -> None: ...

    def observe(self, lease: Lease, limits: RateLimits) -> None: ...


def _bare(client: Any) -> Handler:
    """The service behind a client, asked without any policy. A key that is missing is still reported."""
    backend = client._backend
    own: KeyPool = backend.pipeline.keys

    def needed(call: Call) -> None:
        if not len(own) and own._missing:
            own.acquire(call)  # raises what says which variable to set
        if backend._deferred is not None:
            raise backend._deferred

    pool = _Unjudged(own, client.settings, needed)
    inner = KeysPolicy(backend.pipeline.backend, pool)

    async def send(call: Call) -> Reply:
        call.lease = pool.acquire(call)
        return await inner(call)

    return send


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if url else ""


def _secrets(opened: AsyncClient | AsyncRouter, url: str) -> list[str]:
    if isinstance(opened, AsyncRouter):
        backends = [each.backend for each in opened.targets.values()]
    else:
        backends = [opened._backend]
    found = [value for each in backends for value in each.key_values().values()]
    for address in [url, *(each.base_url for each in backends)]:
        parts = urlsplit(address)
        found += [parts.query, parts.password or "", parts.username or "", parts.netloc.rpartition("@")[0]]
    return sorted({each for each in found if each}, key=len, reverse=True)
