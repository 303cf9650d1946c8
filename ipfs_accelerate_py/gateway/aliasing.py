"""The configuration's aliases as a router, whose targets are opened by the gateway's own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.backends import Backend, find_backend
from ipfs_accelerate_py.gateway.entries import AliasEntry, ModelEntry
from ipfs_accelerate_py.gateway.opening import OpenedBackends
from ipfs_accelerate_py.gateway.targets import AliasTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipfs_accelerate_py.router.core import AsyncRouter
    from ipfs_accelerate_py.router.targets import Target

__all__ = ["alias_target", "open_router"]

#: What becomes of a stream that breaks, where an alias does not say. (A vendor's client cannot be told to throw away
#: what it has, so an answer is gone on with or ends in its error.)
MID_STREAM = "continue"


def open_router(entries: Iterable[AliasEntry], opened: OpenedBackends, **options: Any) -> AsyncRouter:
    """A router for these aliases. Each target has a queue, a breaker, rates and connections of its own."""
    from ipfs_accelerate_py.router.core import AsyncRouter
    from ipfs_accelerate_py.router.targets import Alias

    made: dict[int, Target] = {}

    def target(entry: ModelEntry) -> Target:
        return made.setdefault(id(entry), _target(entry))

    def open_target(given: Target, settings: dict[str, Any]) -> Backend:
        if find_backend(given.backend).in_process:
            # Models on this machine are queued by the runtime that batches them; their row has its own limits.
            settings = {**given.settings}
        return opened.open(given.backend, given.base_url, given.api_key, given.headers, settings, label=given.name)

    aliases = {
        entry.name: Alias(
            [target(each) for each in entry.targets], shadow=[target(each) for each in entry.shadow], **entry.options
        )
        for entry in entries
    }
    options = {"mid_stream": MID_STREAM, **options}
    return AsyncRouter(aliases, open_target=open_target, **options, **opened.settings)


def _target(entry: ModelEntry) -> Target:
    from ipfs_accelerate_py.router.targets import Target

    backend = entry.target
    keys = None if backend.keys is None else {name: key.reveal() for name, key in backend.keys.items()}
    return Target(
        backend.backend,
        entry.model,
        base_url=backend.base_url,
        api_key=keys,
        headers=backend.headers,
        **entry.options,
        **backend.settings,
    )


def alias_target(entry: AliasEntry, router: AsyncRouter) -> AliasTarget:
    """What the table of models has for an alias."""
    alias = router.aliases[entry.name]
    rescues = alias.mid_stream != "error" and len(alias.chain) > 1
    return AliasTarget(entry.name, router, rescues=rescues)
