"""The exact cache: the same request of the same tenant again is answered with what was answered before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.pipeline.cache import answers
from ipfs_accelerate_py.pipeline.cache.guarded_store import GuardedStore
from ipfs_accelerate_py.pipeline.cache.memory_store import MemoryStore
from ipfs_accelerate_py.pipeline.cache.stats import CacheStats
from ipfs_accelerate_py.pipeline.cache.stores import CacheStore, Pattern, entry_name
from ipfs_accelerate_py.pipeline.cache.vectors import embed_each
from ipfs_accelerate_py.pipeline.fingerprint import deterministic, fingerprint
from ipfs_accelerate_py.records import Pricer
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Handler, Operation, Reply

__all__ = ["ExactCache", "ExactCachePolicy"]


class ExactCache:
    """What the policy keeps across its being made anew: the store, what it is told, and the counts.

    Args:
        store: where answers are kept; memory, 256 MiB, unless told otherwise.
        ttl: seconds an answer is kept at most; None: until there is no room.
        max_entry_bytes: answers larger than this are not kept.
        only_deterministic: leave alone what may be answered differently the next time (a chat without ``temperature=0``
            or ``seed``), unless the call says ``cache="on"``.
        opt_in: leave alone every call that does not say ``cache="on"`` (or "refresh").
        namespace: keeps apart who shares a store: answers of two services must never be mixed.
        time_limit: seconds that a look-up may take; a slower one is a miss.
        pricer: gives whoever knows prices, for what hits save.
    """

    def __init__(
        self,
        store: CacheStore | None = None,
        *,
        ttl: float | None = 3600.0,
        max_entry_bytes: int = 8 << 20,
        only_deterministic: bool = False,
        opt_in: bool = False,
        namespace: str = "",
        time_limit: float = 0.25,
        pricer: Callable[[], Pricer | None] = lambda: None,
    ) -> None:
        self.store = GuardedStore(store or MemoryStore(), time_limit=time_limit)
        self.memory = self.store.store if isinstance(self.store.store, MemoryStore) else None
        self.ttl = ttl
        self.max_entry_bytes = max_entry_bytes
        self.only_deterministic = only_deterministic
        self.opt_in = opt_in
        self.namespace = namespace
        self.stats = CacheStats(pricer)

    def wanted(self, call: Call) -> bool:
        """Whether this call is looked up and kept."""
        wish = call.cache
        if wish == "off" or call.operation not in answers.OPERATIONS:
            return False
        if wish == "":
            return not (self.opt_in or (self.only_deterministic and not deterministic(call)))
        return True

    def name(self, call: Call) -> str | None:
        """The name of a call's answer, or None where it has none."""
        digest = fingerprint(call, stream=not answers.sharable(call))
        return None if digest is None else self.entry(call, digest)

    def entry(self, call: Call, digest: bytes) -> str:
        return entry_name(self.namespace, call.tenant, call.alias or call.request.model, digest)

    def keep(self, call: Call, name: str, reply: Reply) -> None:
        """Keep an answer, when it is complete and if it is good."""
        if reply.cache:
            return  # somebody keeps it already
        stream = reply.stream
        if stream is None:
            self.put(name, answers.pack(reply) if answers.complete(call, reply) else None)
            return
        recorder = answers.Recorder(call, reply, self.max_entry_bytes)
        stream.tap(recorder)

        def done(stream: Stream, error: BaseException | None) -> None:
            self.put(name, recorder.packed(stream) if error is None else None)

        stream.add_done_callback(done)

    def put(self, name: str, data: bytes | None) -> None:
        """Keep what was packed; None is what was not good."""
        if data is not None and len(data) <= self.max_entry_bytes and self.store.put(name, data, self.ttl):
            self.stats.kept += 1
        else:
            self.stats.not_kept += 1

    async def clear(self, *, tenant: str | None = None, model: str | None = None) -> int:
        """Throw away answers: all of them, or a tenant's, or a model's; gives how many."""
        await self.store.flush()  # what is on its way is meant too
        return await self.store.clear(Pattern(self.namespace, tenant, model))

    def snapshot(self) -> dict[str, Any]:
        return {**self.stats.snapshot(), **self.store.snapshot()}

    async def aclose(self) -> None:
        await self.store.aclose()


class ExactCachePolicy:
    """Looks before it asks. Embeddings are looked up a text at a time (see ``vectors``)."""

    def __init__(self, inner: Handler, cache: ExactCache) -> None:
        self._inner = inner
        self.cache = cache

    async def __call__(self, call: Call) -> Reply:
        cache = self.cache
        if not cache.wanted(call):
            cache.stats.bypassed += 1
            return await self._inner(call)
        if call.operation is Operation.EMBED and (call.passthrough is None or call.variants is not None):
            return await embed_each(cache, self._inner, call)
        name = cache.name(call)
        if name is None:
            cache.stats.bypassed += 1
            return await self._inner(call)
        if call.cache != "refresh":
            data = cache.memory.find(name) if cache.memory is not None else (await cache.store.get([name]))[0]
            reply = None if data is None else answers.unpack(call, data)
            if reply is not None:
                reply.cache = "exact"
                cache.stats.hit(call, reply, reply.usage if reply.stream is None else reply.stream.usage)
                return reply
        cache.stats.misses += 1
        reply = await self._inner(call)
        cache.keep(call, name, reply)
        return reply
