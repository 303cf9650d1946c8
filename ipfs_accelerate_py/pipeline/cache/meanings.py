"""The entries of a semantic cache: questions with their vectors and answers, in memory and maybe in a store too."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

import msgspec

from ipfs_accelerate_py.pipeline.cache.guarded_store import GuardedStore
from ipfs_accelerate_py.pipeline.cache.stores import Pattern, entry_name

__all__ = ["Index", "Meaning", "Meanings"]

VERSION = 1
#: What an entry takes beside question, answer and vector: objects, places in three dictionaries, and room for vectors
#: to come. About what tracemalloc finds (800 to 1400, as the blocks are full or not).
ENTRY_OVERHEAD = 1200
#: Other texts that an entry remembers at most.
_MOST_OTHERS = 16
#: Names looked up at once when a store is read.
_AT_ONCE = 100
_encode = msgspec.msgpack.Encoder().encode


class Index(Protocol):
    """Finds what is near (`runtimes.VectorIndex`)."""

    dimensions: int

    def add(self, group: Hashable, number: int, vector: Any) -> None: ...
    def remove(self, number: int) -> None: ...
    def search(self, group: Hashable, vector: Any, threshold: float, limit: int = 8) -> list[tuple[int, float]]: ...
    def clear(self) -> None: ...


class _Kept(msgspec.Struct, array_like=True):
    """An entry at rest in a store."""

    version: int
    partition: bytes
    text: str
    vector: bytes
    data: bytes
    tenant: str
    model: str
    #: Seconds since 1970, or None.
    until: float | None


_decode = msgspec.msgpack.Decoder(_Kept).decode


class Meaning:
    """One question and its answer."""

    __slots__ = ("data", "model", "name", "number", "others", "partition", "size", "tenant", "text", "until")

    def __init__(
        self, number: int, partition: bytes, text: str, data: bytes, tenant: str, model: str, name: str,
        size: int, until: float | None,
    ) -> None:  # fmt: skip
        self.number = number
        self.partition = partition
        self.text = text
        self.data = data
        self.tenant = tenant
        self.model = model
        self.name = name
        self.size = size
        self.until = until
        #: The same question in words that were asked since, with their similarity: these need no embedding any more.
        self.others: dict[str, float] = {}


class Meanings:
    """At most ``cache_size`` entries and ``max_bytes``; each for ``ttl`` seconds at most.

    With a ``store``, entries are kept in it too: those of an earlier process, or of others that share it, are read by
    `load`, and looked for again every ``refresh_interval`` seconds while there are calls.
    """

    def __init__(
        self,
        index: Index,
        *,
        cache_size: int,
        max_bytes: int,
        ttl: float | None,
        store: GuardedStore | None = None,
        scope: str = "",
        refresh_interval: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self.cache_size = cache_size
        self.max_bytes = max_bytes
        self.ttl = ttl
        self.store = store
        self._scope = scope
        self._refresh_interval = refresh_interval
        self._clock = clock
        self._wall = wall
        self._numbers = itertools.count()
        self._by_number: OrderedDict[int, Meaning] = OrderedDict()  # least recently used first
        self._by_text: dict[tuple[bytes, str], Meaning] = {}
        self._by_name: dict[str, Meaning] = {}
        self._ages: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._loaded_at: float | None = None
        self._loading: asyncio.Task[int] | None = None
        self.evictions = 0
        self.expired = 0

    # --- looking -------------------------------------------------------------------------------------------------

    def same(self, partition: bytes, text: str) -> tuple[Meaning, float] | None:
        """The entry of this very text, with its similarity."""
        self._expire()
        found = self._by_text.get((partition, text))
        return None if found is None else (found, found.others.get(text, 1.0))

    def near(self, partition: bytes, vector: Any, threshold: float) -> Iterator[tuple[Meaning, float]]:
        """Entries with a cosine of at least ``threshold``, the nearest first."""
        self._expire()
        for number, similarity in self._index.search(partition, vector, threshold):
            yield self._by_number[number], similarity

    def used(self, meaning: Meaning, text: str, similarity: float) -> None:
        """It was the answer to this text."""
        self._by_number.move_to_end(meaning.number)
        key = (meaning.partition, text)
        if key not in self._by_text and len(meaning.others) < _MOST_OTHERS:
            self._by_text[key] = meaning
            meaning.others[text] = similarity
            size = 2 * len(text) + 300
            meaning.size += size
            self._bytes += size

    # --- keeping -------------------------------------------------------------------------------------------------

    def add(self, partition: bytes, text: str, vector: Any, data: bytes, *, tenant: str, model: str) -> bool:
        """Keep an answer, in the place of an earlier one to the same text. False where there is no room for it."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=partition[:64], digest_size=16).digest()
        name = entry_name(self._scope, tenant, model, digest)
        until = None if self.ttl is None else self._clock() + self.ttl
        if not self._add(partition, text, vector, data, tenant, model, name, until):
            return False
        if self.store is not None:
            ends = None if self.ttl is None else self._wall() + self.ttl
            values = array("f", [float(value) for value in vector]).tobytes()
            packed = _encode(_Kept(VERSION, partition, text, values, data, tenant, model, ends))
            self.store.put(name, packed, self.ttl)
        return True

    def _add(
        self, partition: bytes, text: str, vector: Any, data: bytes, tenant: str, model: str, name: str,
        until: float | None,
    ) -> bool:  # fmt: skip
        size = ENTRY_OVERHEAD + len(data) + len(partition) + 2 * len(text) + 4 * len(vector)
        if size > self.max_bytes or self.cache_size < 1:
            return False
        number = next(self._numbers)
        self._index.add(partition, number, vector)
        former = self._by_text.get((partition, text))
        if former is not None and former.text == text:
            self._drop(former)
        elif former is not None:
            former.others.pop(text)
        made = Meaning(number, partition, text, data, tenant, model, name, size, until)
        self._by_number[number] = made
        self._by_text[partition, text] = made
        self._by_name[name] = made
        if until is not None:
            self._ages.append((until, number))
        self._bytes += size
        while len(self._by_number) > self.cache_size or self._bytes > self.max_bytes:
            self._drop(next(iter(self._by_number.values())))
            self.evictions += 1
        return True

    def _expire(self) -> None:
        now = self._clock()
        ages = self._ages
        while ages and ages[0][0] <= now:
            found = self._by_number.get(ages.popleft()[1])
            if found is not None:
                self._drop(found)
                self.expired += 1

    def _drop(self, meaning: Meaning) -> None:
        del self._by_number[meaning.number]
        for text in (meaning.text, *meaning.others):
            if self._by_text.get((meaning.partition, text)) is meaning:
                del self._by_text[meaning.partition, text]
        if self._by_name.get(meaning.name) is meaning:
            del self._by_name[meaning.name]
        self._index.remove(meaning.number)
        self._bytes -= meaning.size

    # --- the store -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look in the store for what others have put there, in the background, if it is time to."""
        if self.store is None or self._under_way():
            return
        now = self._clock()
        if self._loaded_at is None or now - self._loaded_at >= self._refresh_interval:
            self._loaded_at = now
            self._loading = asyncio.get_running_loop().create_task(self.load())

    def _under_way(self) -> bool:
        task = self._loading  # a forked child may find its parent's, which never ends
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    async def load(self) -> int:
        """Read the entries of the store that are not here yet; gives how many these were."""
        if self.store is None:
            return 0
        self._loaded_at = self._clock()
        names = await self.store.names(Pattern(self._scope))
        new = [name for name in names if name not in self._by_name][-self.cache_size :]
        count = 0
        for at in range(0, len(new), _AT_ONCE):
            part = new[at : at + _AT_ONCE]
            for name, packed in zip(part, await self.store.get(part), strict=True):
                count += packed is not None and name not in self._by_name and self._restore(name, packed)
            await asyncio.sleep(0)
        # Those that are due first must be found first.
        self._ages = deque(sorted(self._ages))
        return count

    def _restore(self, name: str, packed: bytes) -> bool:
        try:
            kept = _decode(packed)
        except (msgspec.MsgspecError, ValueError):
            return False
        if kept.version != VERSION:
            return False
        left = None if kept.until is None else kept.until - self._wall()
        if left is not None and left <= 0:
            return False
        vector = array("f")
        vector.frombytes(kept.vector)
        if self._index.dimensions and len(vector) != self._index.dimensions:
            return False
        until = None if left is None else self._clock() + left
        return self._add(kept.partition, kept.text, vector, kept.data, kept.tenant, kept.model, name, until)

    async def clear(self, tenant: str | None, model: str | None) -> int:
        found = [
            each
            for each in self._by_number.values()
            if (tenant is None or each.tenant == tenant) and (model is None or each.model == model)
        ]
        for each in found:
            self._drop(each)
        if self.store is None:
            return len(found)
        await self.store.flush()
        return max(len(found), await self.store.clear(Pattern(self._scope, tenant, model)))

    def snapshot(self) -> dict[str, Any]:
        return {
            "entries": len(self._by_number),
            "bytes": self._bytes,
            "max_bytes": self.max_bytes,
            "cache_size": self.cache_size,
            "evictions": self.evictions,
            "expired": self.expired,
            **({} if self.store is None else {"store": self.store.snapshot()}),
        }

    async def aclose(self) -> None:
        if self._loading is not None and self._under_way():
            self._loading.cancel()
            await asyncio.wait((self._loading,))
        if self.store is not None:
            await self.store.aclose()
