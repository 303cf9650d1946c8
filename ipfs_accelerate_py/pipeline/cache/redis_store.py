"""Answers in Redis, shared by everybody who uses it. The time to live and the bound on memory are Redis' own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from ipfs_accelerate_py.forks import generation
from ipfs_accelerate_py.pipeline.cache.stores import Pattern

__all__ = ["RedisStore"]

#: Before every name. The number counts what is incompatible in how answers are written.
PREFIX = "ipfs-accelerate:cache:1:"
#: What may be on its way, in bytes; beyond it answers are not kept.
MOST_WAITING = 32 << 20
_AT_ONCE = 100


class RedisStore:
    """``url`` as Redis' own clients take it (``redis://[user:password@]host:port/db``, ``rediss://``, ``unix://``).

    Nothing is sent before the first call. Give Redis a ``maxmemory`` and a policy such as ``allkeys-lru``: it bounds
    what is kept. Raises `MissingExtra` without ``[redis]``, and `ConfigurationError` for an address that is none.
    """

    name = "redis"
    immediate = False

    def __init__(self, url: str, *, time_limit: float = 0.25, max_entry_bytes: int = 16 << 20) -> None:
        self._url = url
        self._time_limit = time_limit
        self.max_entry_bytes = max_entry_bytes
        self._client: Any = None
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._failed: Callable[[BaseException], None] = lambda error: None
        #: What is to be written, and who writes it: one after the other, so that of two the later one counts.
        self._pending: dict[str, tuple[bytes, float | None]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._waiting = 0
        self.dropped = 0
        self._made()  # a wrong address, or a package that is missing, is told of here

    def __repr__(self) -> str:
        return "RedisStore()"  # without the address: it may hold a password

    def on_failure(self, failed: Callable[[BaseException], None]) -> None:
        """Whom to tell of a write that failed."""
        self._failed = failed

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = await self._here().mget([PREFIX + name for name in names])
        return found

    def put(self, name: str, value: bytes, ttl: float | None) -> bool:
        size = len(name) + len(value)
        if size > self.max_entry_bytes or self._waiting + size > MOST_WAITING:
            self.dropped += 1
            return False
        client = self._here()
        self._forget(name)
        self._pending[name] = (value, ttl)
        self._waiting += size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write(client))
        return True

    async def clear(self, pattern: Pattern) -> int:
        client = self._here()
        count = 0
        batch: list[Any] = []
        async for name in client.scan_iter(match=PREFIX + pattern.glob(), count=1000):
            batch.append(name)
            if len(batch) >= 1000:
                count += await client.unlink(*batch)
                batch = []
        if batch:
            count += await client.unlink(*batch)
        return count

    async def names(self, pattern: Pattern) -> list[str]:
        found = self._here().scan_iter(match=PREFIX + pattern.glob(), count=1000)
        return [name.decode().removeprefix(PREFIX) async for name in found]

    async def flush(self) -> None:
        if self._writer is not None and self._home == (generation(), asyncio.get_running_loop()):
            await asyncio.wait((self._writer,))

    def snapshot(self) -> dict[str, Any]:
        """Counts of this process; what Redis holds is for Redis to tell."""
        return {"dropped": self.dropped}

    async def aclose(self) -> None:
        if self._client is None or self._home != (generation(), asyncio.get_running_loop()):
            return
        await self.flush()
        client, self._client = self._client, None
        await client.aclose()

    async def _write(self, client: Any) -> None:
        """Write until nothing waits. What fails is told of, and lost: it is a cache."""
        while self._pending:
            try:
                async with asyncio.timeout(self._time_limit), client.pipeline(transaction=False) as batch:
                    for name in list(self._pending)[:_AT_ONCE]:
                        value, ttl = self._forget(name)
                        batch.set(PREFIX + name, value, px=None if ttl is None else max(1, math.ceil(ttl * 1000)))
                    await batch.execute()
            except Exception as error:  # whatever a client of Redis raises
                self._failed(error)

    def _forget(self, name: str) -> tuple[bytes, float | None]:
        """Take out what waits under a name; nothing where nothing does."""
        found = self._pending.pop(name, None)
        if found is None:
            return b"", None
        self._waiting -= len(name) + len(found[0])
        return found

    def _here(self) -> Any:
        """The client of this loop and this process: connections belong to both."""
        home = (generation(), asyncio.get_running_loop())
        if self._client is None or self._home != home:
            self._home = home
            self._client = self._made()
            self._pending = {}
            self._writer = None
            self._waiting = 0
        return self._client

    def _made(self) -> Any:
        try:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise MissingExtra(
                "a cache in Redis needs 'redis', which is not installed: pip install \"ipfs-accelerate-py[redis]\""
            ) from None
        try:
            return Redis.from_url(
                self._url,
                socket_timeout=self._time_limit,
                socket_connect_timeout=self._time_limit,
                retry=Retry(NoBackoff(), 0),  # a look-up that has to be repeated has taken too long already
                decode_responses=False,
            )
        except ValueError:
            raise ConfigurationError(
                "the address of Redis must begin with redis://, rediss:// or unix://, as in redis://127.0.0.1:6379/0"
            ) from None
