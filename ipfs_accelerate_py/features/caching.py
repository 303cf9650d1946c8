"""Exact and semantic caches, switched on and off. docs/caching.md has the whole of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.features.host import FeatureHost

# The caches themselves are imported where one is asked for: who uses none does not wait for them.
if TYPE_CHECKING:
    from ipfs_accelerate_py.pipeline.cache.stores import CacheStore

__all__ = ["CachingFeatures"]

_MEGABYTE = 1 << 20


class CachingFeatures(FeatureHost):
    """Answers that are given again. A call says ``cache="off"`` (neither look nor keep), ``"refresh"`` (ask anew, and
    keep the answer) or ``"on"`` (where the cache would leave it alone)."""

    async def enable_cache(
        self,
        store: str | CacheStore = "memory",
        *,
        path: str | Path | None = None,
        url: str | None = None,
        max_bytes: int | None = None,
        max_entry_bytes: int = 8 * _MEGABYTE,
        ttl: float | None = 3600.0,
        only_deterministic: bool = False,
        opt_in: bool = False,
        namespace: str | None = None,
        time_limit: float = 0.25,
    ) -> None:
        """Answer a request that was answered before with that answer: the whole of it must be the same, and the tenant.

        Args:
            store: "memory"; "disk" (a file at ``path``: survives a restart, may be used by several processes); "redis"
                (at ``url``, shared by whoever uses it); or a store of your own (`CacheStore`).
            max_bytes: most that is kept: 256 MiB in memory, 1 GiB on disk; Redis has a bound of its own.
            max_entry_bytes: answers larger than this are not kept.
            ttl: seconds an answer is kept at most; None: until there is no room.
            only_deterministic: leave alone what may be answered differently the next time (a chat without
                ``temperature=0`` or ``seed``).
            opt_in: leave alone every call without ``cache="on"``.
            namespace: of a store that is shared, whose answers these are. By default: backend, address and headers (of
                a router: of its aliases' targets), so that two services are never mixed.
            time_limit: seconds that a look-up may take; a store that fails or is slow is left out, and no call fails.

        Raises `ConfigurationError`, and `MissingExtra` for Redis without ``[redis]``. A cache that was there is closed.
        """
        chosen = _store(store, path, url, max_bytes, time_limit)
        from ipfs_accelerate_py.pipeline.cache.exact import ExactCache, ExactCachePolicy

        cache = ExactCache(
            chosen,
            ttl=_number("ttl", ttl, optional=True),
            max_entry_bytes=_whole("max_entry_bytes", max_entry_bytes),
            only_deterministic=_flag("only_deterministic", only_deterministic),
            opt_in=_flag("opt_in", opt_in),
            namespace=self._namespace(namespace),
            time_limit=_number("time_limit", time_limit) or 0.25,
            pricer=lambda: self.usage_policy.pricer,
        )
        await self.disable_cache()
        self.front.install("exact_cache", lambda inner: ExactCachePolicy(inner, cache))

    async def disable_cache(self) -> None:
        """Take the exact cache out, and close its store; what is on disk or in Redis stays there."""
        policy = self.front.get("exact_cache")
        if policy is not None:
            self.front.remove("exact_cache")
            await policy.cache.aclose()

    async def enable_semantic_cache(
        self,
        *,
        similarity_threshold: float = 0.85,
        cache_size: int = 1000,
        ttl: float | None = 3600.0,
        embedding_model: str = "mini",
        embed: Any = None,
        guard: bool | Callable[[str, str], bool] = True,
        multi_turn: bool = False,
        opt_in: bool = False,
        max_bytes: int = 256 * _MEGABYTE,
        embedding_timeout: float = 0.5,
        most_characters: int = 1000,
        store: str | CacheStore | None = None,
        path: str | Path | None = None,
        url: str | None = None,
        namespace: str | None = None,
    ) -> None:
        """Answer a question that was asked before in other words with the answer it had then.

        Only the last text of a user may be in other words; tenant, model, system text, options, tools and everything
        else must be the same.

        Args:
            similarity_threshold: least cosine of the two questions' embeddings, from 0 to 1.
            cache_size: most entries; the least recently used give way, as they do beyond ``max_bytes``.
            ttl: seconds an answer is kept at most; None: until there is no room.
            embedding_model: the model for embeddings; "mini" is all-MiniLM-L6-v2.
            embed: where embeddings come from: None for a model in this process (it is loaded when this returns), a
                client or router, or a function of a text, plain or ``async``.
            guard: whether two questions differ in nothing but their wording must be told from their words too, for
                embeddings do not tell a changed number, name or "not". True for our own rules, or a function of both
                texts. False: embeddings alone decide.
            multi_turn: questions in the midst of a conversation too; what was said before must be the same.
            opt_in: leave alone every call without ``cache="on"``.
            embedding_timeout: seconds that a call waits for its embedding; one that fails or is slow fails no call.
            most_characters: longer questions are left alone.
            store, path, url, namespace: keep entries on disk or in Redis too, as for `enable_cache`; None: in memory
                alone.

        Raises `ConfigurationError`, `MissingExtra` (``[semantic]``, ``[local]``) and `RuntimeUnavailable`.
        """
        threshold = _number("similarity_threshold", similarity_threshold)
        if threshold is None or not 0 < threshold <= 1:
            raise ConfigurationError(f"similarity_threshold must be above 0 and up to 1, not {similarity_threshold!r}")
        if not (isinstance(guard, bool) or callable(guard)):
            raise ConfigurationError("guard must be True, False, or a function of two texts")
        size = _whole("cache_size", cache_size)
        lifetime = _number("ttl", ttl, optional=True)
        patience = _number("embedding_timeout", embedding_timeout) or 0.5
        most = _whole("most_characters", most_characters)
        room = _whole("max_bytes", max_bytes)
        turns, asked = _flag("multi_turn", multi_turn), _flag("opt_in", opt_in)
        kept = None if store in (None, "memory") else _store(store or "memory", path, url, None, 0.25)
        # numpy is the runtimes' own: the pipeline is given what it needs of them.
        from ipfs_accelerate_py.runtimes.vector_index import VectorIndex

        index = VectorIndex()
        from ipfs_accelerate_py.features.embedding import open_embedding
        from ipfs_accelerate_py.pipeline.cache.semantic import SemanticCache, SemanticCachePolicy
        from ipfs_accelerate_py.pipeline.cache.wording import same_question

        embedding = await open_embedding(embed, embedding_model)
        cache = SemanticCache(
            embedding,
            index,
            similarity_threshold=threshold,
            cache_size=size,
            max_bytes=room,
            ttl=lifetime,
            multi_turn=turns,
            guard=same_question if guard is True else None if guard is False else guard,
            opt_in=asked,
            embedding_timeout=patience,
            most_characters=most,
            store=kept,
            namespace=self._namespace(namespace),
            embedding_model=embedding.name,
            pricer=lambda: self.usage_policy.pricer,
        )
        await cache.meanings.load()
        await self.disable_semantic_cache()
        self.front.install("semantic_cache", lambda inner: SemanticCachePolicy(inner, cache))

    async def disable_semantic_cache(self) -> None:
        """Take the semantic cache out, and close its store and its model."""
        policy = self.front.get("semantic_cache")
        if policy is not None:
            self.front.remove("semantic_cache")
            await policy.cache.aclose()
            await policy.cache.embed.aclose()

    def cache_stats(self) -> dict[str, Any]:
        """Under ``exact`` and ``semantic``, of those that are on: ``hits``, ``misses``, ``hit_rate`` (0 to 1),
        ``bypassed``, ``kept``, ``not_kept``, ``tokens_saved``, ``cost_saved`` (US dollars, where prices are known),
        ``entries``, ``bytes``, and more."""
        found = {}
        for name in ("exact", "semantic"):
            policy = self.front.get(f"{name}_cache")
            if policy is not None:
                found[name] = policy.cache.snapshot()
        return found

    async def clear_cache(self, *, tenant: str | None = None, model: str | None = None) -> int:
        """Throw away what the caches hold: all of it, or what belongs to a tenant, a model (as callers name it), or
        both; gives how many answers these were. A shared store is cleared for everybody who shares it."""
        count = 0
        for name in ("exact_cache", "semantic_cache"):
            policy = self.front.get(name)
            if policy is not None:
                count += await policy.cache.clear(tenant=tenant, model=model)
        return count

    async def close_caches(self) -> None:
        """Write what waits, and let go of files, connections and models; the caches stay on, and open them again."""
        for name in ("exact_cache", "semantic_cache"):
            policy = self.front.get(name)
            if policy is not None:
                await policy.cache.aclose()
                if name == "semantic_cache":
                    await policy.cache.embed.aclose()

    def _namespace(self, given: str | None) -> str:
        if given is not None:
            if not isinstance(given, str):
                raise ConfigurationError(f"namespace must be a text, not {type(given).__name__}")
            return given
        # What tells services apart. It is hashed: headers may hold secrets, and a store's names must not.
        return hashlib.blake2b(repr(self._identity()).encode(), digest_size=12).hexdigest()

    def _identity(self) -> Any:
        """What an answer depends on beside the request: which services are asked."""
        opened = getattr(self, "_backend", None)
        if opened is not None:
            return [opened.spec.name, opened.base_url, sorted((opened.headers or {}).items()), str(opened.options)]
        aliases = getattr(self, "_configs", None)
        if isinstance(aliases, dict):
            return [
                (name, [(each.backend, each.model, each.base_url, str(each.headers)) for each in alias.targets])
                for name, alias in sorted(aliases.items())
            ]
        return type(self).__name__


def _store(
    store: str | CacheStore, path: str | Path | None, url: str | None, max_bytes: int | None, time_limit: float
) -> CacheStore:
    if max_bytes is not None:
        _whole("max_bytes", max_bytes)
    if not isinstance(store, str):
        if not all(hasattr(store, name) for name in ("get", "put", "clear", "names", "flush", "aclose", "immediate")):
            raise ConfigurationError('store must be "memory", "disk", "redis", or a CacheStore')
        return store
    if (path is not None) != (store == "disk") or (url is not None) != (store == "redis"):
        raise ConfigurationError('store="disk" needs a path, store="redis" a url, and no other takes them')
    if store == "memory":
        from ipfs_accelerate_py.pipeline.cache.memory_store import MemoryStore

        return MemoryStore(max_bytes or 256 * _MEGABYTE)
    if store == "disk":
        assert path is not None
        from ipfs_accelerate_py.pipeline.cache.disk_store import DiskStore

        return DiskStore(path, max_bytes or 1024 * _MEGABYTE)
    if store == "redis":
        assert url is not None
        if max_bytes is not None:
            raise ConfigurationError("Redis has a bound of its own (maxmemory): leave max_bytes out")
        from ipfs_accelerate_py.pipeline.cache.redis_store import RedisStore

        return RedisStore(url, time_limit=time_limit)
    raise ConfigurationError(f'store must be "memory", "disk" or "redis", not {store!r}')


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number of at least 1, not {value!r}")
    return value


def _number(name: str, value: Any, *, optional: bool = False) -> float | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(f"{name} must be a number above 0{' or None' * optional}, not {value!r}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, not {value!r}")
    return value
