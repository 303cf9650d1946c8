"""Stands before a store that may fail or be slow: a call never fails for it, and never waits long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from ipfs_accelerate_py.pipeline.cache.stores import CacheStore, Pattern

__all__ = ["GuardedStore"]

logger = logging.getLogger(__name__)


class GuardedStore:
    """A store whose failures are counted, told of once, and cost at most ``time_limit`` seconds each ``pause``."""

    def __init__(
        self,
        store: CacheStore,
        *,
        time_limit: float = 0.25,
        pause: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.time_limit = time_limit
        self.pause = pause
        self._clock = clock
        self._rests_until = 0.0
        self._told = False
        self.errors = 0
        set_failed = getattr(store, "on_failure", None)
        if set_failed is not None:
            set_failed(self._failed)

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """What is kept; nothing at all where the store fails."""
        store = self.store
        if store.immediate:
            return await store.get(names)
        if self._clock() < self._rests_until:
            return [None] * len(names)
        try:
            async with asyncio.timeout(self.time_limit):
                found = await store.get(names)
        except Exception as error:  # whatever a store fails with, the call goes on without it
            self._failed(error)
            return [None] * len(names)
        self._told = False
        return found

    def put(self, name: str, value: bytes, ttl: float | None) -> bool:
        if not self.store.immediate and self._clock() < self._rests_until:
            return False
        try:
            return self.store.put(name, value, ttl)
        except Exception as error:  # as above
            self._failed(error)
            return False

    async def clear(self, pattern: Pattern) -> int:
        """As the store does, and with its errors: whoever asks for this wants to know."""
        return await self.store.clear(pattern)

    async def names(self, pattern: Pattern) -> list[str]:
        """The names that fit; none where the store fails."""
        try:
            return await self.store.names(pattern)
        except Exception as error:  # as above
            self._failed(error)
            return []

    async def flush(self) -> None:
        await self.store.flush()

    async def aclose(self) -> None:
        """Close; a store that cannot even do that is counted."""
        try:
            await self.store.aclose()
        except Exception as error:  # as above
            self._failed(error)

    def snapshot(self) -> dict[str, Any]:
        return {"store": self.store.name, "errors": self.errors, **self.store.snapshot()}

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self._rests_until = self._clock() + self.pause
        if not self._told:
            self._told = True
            # The kind of the error and no more: messages of clients may hold an address with its password.
            logger.warning(
                "the cache's store (%s) fails with %s, and is left out for %g s at a time until it answers again",
                self.store.name,
                type(error).__name__,
                self.pause,
            )
