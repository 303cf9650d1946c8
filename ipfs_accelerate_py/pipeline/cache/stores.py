"""What every store of answers can do, and how names in it are made.

A store keeps bytes by name. A name has four parts, ``scope.tenant.model.digest``, so that a model's or a tenant's
answers can be thrown away without being looked at; all four are hashes, so a store's names tell nobody who asked what.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["CacheStore", "Pattern", "entry_name", "tag"]


class CacheStore(Protocol):
    """Keeps bytes by name, for a time. The conformance suite is ``tests/pipeline/cache/store_conformance.py``.

    A store may fail (raise anything): `GuardedStore` stands before each, and a call never hears of it. It belongs to
    one event loop at a time; in a forked child it begins anew with connections of its own.
    """

    #: What statistics and logs call it.
    name: str
    #: It answers without waiting for anything, so there is nothing to guard.
    immediate: bool

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """What is kept under each name, None for what is not (or no longer)."""
        ...

    def put(self, name: str, value: bytes, ttl: float | None) -> bool:
        """Keep ``value`` for ``ttl`` seconds (None: until there is no room); False where it is not kept.

        It never waits. A store that needs time for it does it afterwards: `flush` waits for that.
        """
        ...

    async def clear(self, pattern: Pattern) -> int:
        """Throw away what fits, and say how many these were."""
        ...

    async def names(self, pattern: Pattern) -> list[str]:
        """The names that fit."""
        ...

    async def flush(self) -> None:
        """Return when everything put before is kept, or has failed."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """``entries`` and ``bytes`` as far as they are known without asking anybody, and counts."""
        ...

    async def aclose(self) -> None:
        """Keep what was put, and let go of connections. The store may be used again."""
        ...


class Pattern:
    """Names by their parts; None is any."""

    __slots__ = ("parts",)

    def __init__(self, scope: str, tenant: str | None = None, model: str | None = None) -> None:
        self.parts = (tag(scope), None if tenant is None else tag(tenant), None if model is None else tag(model))

    def fits(self, name: str) -> bool:
        found = name.split(".", 3)
        return all(want is None or want == have for want, have in zip(self.parts, found, strict=False))

    def glob(self) -> str:
        """For stores that look for names by a pattern with ``*``."""
        return ".".join("*" if part is None else part for part in self.parts) + ".*"


@functools.lru_cache(8192)
def tag(text: str) -> str:
    """16 hex digits that stand for a scope's, a tenant's or a model's name."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def entry_name(scope: str, tenant: str, model: str, digest: bytes) -> str:
    """The name under which an answer is kept."""
    return f"{tag(scope)}.{tag(tenant)}.{tag(model)}.{digest.hex()}"
