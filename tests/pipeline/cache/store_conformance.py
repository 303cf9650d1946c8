"""What every store of answers has to do. A store's tests subclass `StoreConformance` and say how one is made."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ipfs_accelerate_py.pipeline.cache.stores import CacheStore, Pattern, entry_name

__all__ = ["StoreConformance", "name"]


def name(number: int, *, scope: str = "s", tenant: str = "t", model: str = "m") -> str:
    return entry_name(scope, tenant, model, number.to_bytes(16, "big"))


class StoreConformance(ABC):
    """``pass_time`` lets seconds go by, as the store sees them."""

    @abstractmethod
    async def make(self) -> tuple[CacheStore, Callable[[float], Any]]:
        """An empty store, and how time passes for it (a function, maybe ``async``)."""

    @pytest.fixture
    async def made(self, request: pytest.FixtureRequest) -> AsyncIterator[tuple[CacheStore, Callable[[float], Any]]]:
        self.request = request
        made = await self.make()
        yield made
        await made[0].aclose()

    @pytest.fixture
    def store(self, made: tuple[CacheStore, Any]) -> CacheStore:
        return made[0]

    @staticmethod
    async def one(store: CacheStore, key: str) -> bytes | None:
        [found] = await store.get([key])
        return found

    async def test_what_is_put_is_there(self, store: CacheStore) -> None:
        values = [b"", b"x", bytes(range(256)) * 300]
        for number, value in enumerate(values):
            assert store.put(name(number), value, None)
        await store.flush()
        assert await store.get([name(2), name(9), name(0), name(1)]) == [values[2], None, values[0], values[1]]

    async def test_the_later_one_counts(self, store: CacheStore) -> None:
        store.put(name(1), b"old", None)
        store.put(name(1), b"new", None)
        await store.flush()
        assert await self.one(store, name(1)) == b"new"

    async def test_time_to_live(self, made: tuple[CacheStore, Callable[[float], Any]]) -> None:
        store, pass_time = made
        store.put(name(1), b"short", 0.4)
        store.put(name(2), b"long", 1000)
        store.put(name(3), b"for ever", None)
        await store.flush()
        assert await store.get([name(1), name(2)]) == [b"short", b"long"]
        passed = pass_time(0.5)
        if passed is not None:
            await passed
        assert await store.get([name(1), name(2), name(3)]) == [None, b"long", b"for ever"]
        assert sorted(await store.names(Pattern("s"))) == sorted([name(2), name(3)])

    async def test_what_is_put_again_lives_anew(self, made: tuple[CacheStore, Callable[[float], Any]]) -> None:
        store, pass_time = made
        store.put(name(1), b"a", 0.4)
        store.put(name(1), b"b", 1000)
        await store.flush()
        passed = pass_time(0.5)
        if passed is not None:
            await passed
        assert await self.one(store, name(1)) == b"b"

    async def test_clearing_by_scope_tenant_and_model(self, store: CacheStore) -> None:
        names = {
            (scope, tenant, model): name(1, scope=scope, tenant=tenant, model=model)
            for scope in ("s", "other")
            for tenant in ("", "a", "b")
            for model in ("m", "n")
        }
        for key in names.values():
            store.put(key, b"v", None)
        await store.flush()

        async def left() -> set[tuple[str, str, str]]:
            found = await store.get(list(names.values()))
            return {parts for parts, value in zip(names, found, strict=True) if value is not None}

        assert sorted(await store.names(Pattern("s", model="n"))) == sorted(
            key for (scope, _, model), key in names.items() if scope == "s" and model == "n"
        )
        assert await store.clear(Pattern("s", tenant="a", model="m")) == 1
        assert await left() == set(names) - {("s", "a", "m")}
        assert await store.clear(Pattern("s", tenant="a")) == 1
        assert await store.clear(Pattern("s", model="m")) == 2
        assert await left() == {("s", "", "n"), ("s", "b", "n")} | {each for each in names if each[0] == "other"}
        assert await store.clear(Pattern("s")) == 2
        assert await left() == {each for each in names if each[0] == "other"}

    async def test_many_at_once(self, store: CacheStore) -> None:
        async def one(number: int) -> None:
            store.put(name(number % 20), b"%d" % (number % 20), 100)
            await store.flush()
            assert await self.one(store, name(number % 20)) == b"%d" % (number % 20)

        await asyncio.gather(*(one(number) for number in range(100)))

    async def test_it_can_be_used_after_it_was_closed(self, store: CacheStore) -> None:
        store.put(name(1), b"v", None)
        await store.aclose()
        await store.aclose()
        assert await self.one(store, name(1)) == b"v"

    async def test_its_state_is_plain_data(self, store: CacheStore) -> None:
        store.put(name(1), b"v", None)
        await store.flush()
        assert all(isinstance(value, int | float | str) for value in store.snapshot().values())
        assert store.name
        assert name(1) not in repr(store)
