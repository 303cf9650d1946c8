"""Every store by the one suite, and what each has of its own."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from ipfs_accelerate_py.pipeline.cache import DiskStore, MemoryStore, RedisStore
from ipfs_accelerate_py.pipeline.cache.guarded_store import GuardedStore
from ipfs_accelerate_py.pipeline.cache.memory_store import ENTRY_OVERHEAD
from ipfs_accelerate_py.pipeline.cache.stores import CacheStore
from tests.pipeline.cache.store_conformance import StoreConformance, name
from tests.pipeline.support import Clock
from tests.servers import RedisServer


class TestMemory(StoreConformance):
    async def make(self) -> tuple[CacheStore, Callable[[float], Any]]:
        clock = Clock()
        return MemoryStore(clock=clock), clock.advance


class TestDisk(StoreConformance):
    async def make(self) -> tuple[CacheStore, Callable[[float], Any]]:
        folder: Path = self.request.getfixturevalue("tmp_path")
        clock = Clock()
        return DiskStore(folder / "cache.sqlite", clock=clock), clock.advance


class TestRedis(StoreConformance):
    async def make(self) -> tuple[CacheStore, Callable[[float], Any]]:
        server: RedisServer = self.request.getfixturevalue("redis_server")
        # Redis counts the time itself, so here it really passes.
        return RedisStore(server.url, time_limit=5), asyncio.sleep


# --- memory --------------------------------------------------------------------------------------------------------


async def test_memory_is_bounded_by_bytes_least_recently_used_first() -> None:
    size = len(name(0)) + 1000 + ENTRY_OVERHEAD
    store = MemoryStore(3 * size)
    for number in range(3):
        store.put(name(number), bytes(1000), None)
    store.find(name(0))
    store.put(name(3), bytes(1000), None)
    assert [store.find(name(number)) is not None for number in range(4)] == [True, False, True, True]
    assert store.snapshot()["bytes"] == 3 * size
    assert store.snapshot()["evictions"] == 1
    assert not store.put(name(9), bytes(4 * size), None)
    assert store.snapshot()["entries"] == 3  # what can never fit drives nobody out


async def test_memory_counts_what_it_really_takes() -> None:
    tracemalloc.start()
    try:
        store = MemoryStore()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(5000):
            store.put(name(number), b"x" * (number % 500), 3600)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0.95 < store.snapshot()["bytes"] / taken < 1.15


# --- disk ----------------------------------------------------------------------------------------------------------


async def test_the_disk_is_bounded_least_recently_used_first(tmp_path: Path) -> None:
    clock = Clock()
    store = DiskStore(tmp_path / "c", 10_000, clock=clock)
    try:
        for number in range(8):
            store.put(name(number), bytes(1000), None)
            clock.advance(1)
        await store.flush()
        assert store.snapshot()["entries"] == 7
        await store.get([name(1)])
        clock.advance(1)
        store.put(name(8), bytes(1000), None)
        await store.flush()
        left = [value is not None for value in await store.get([name(number) for number in range(9)])]
        assert left == [False, True, False, *[True] * 6]
        assert store.snapshot()["bytes"] <= 10_000
        assert not store.put(name(10), bytes(20_000), None)
    finally:
        await store.aclose()


async def test_expired_entries_go_before_good_ones(tmp_path: Path) -> None:
    clock = Clock()
    store = DiskStore(tmp_path / "c", 5_000, clock=clock)
    try:
        store.put(name(0), bytes(1000), None)
        clock.advance(1)
        for number in (1, 2):
            store.put(name(number), bytes(1000), 5)
        clock.advance(10)
        for number in (3, 4):
            store.put(name(number), bytes(1000), None)
        await store.flush()
        found = await store.get([name(number) for number in range(5)])
        assert [value is not None for value in found] == [True, False, False, True, True]
    finally:
        await store.aclose()


def test_a_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    import sqlite3

    theirs = tmp_path / "theirs.sqlite"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE precious (x)")
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but somebody's notes " * 100)
    before = theirs.read_bytes(), text.read_bytes()
    for path, why in ((theirs, "none of this cache's"), (text, "cannot be used"), (tmp_path / "no" / "x", "cannot be")):
        with pytest.raises(ConfigurationError, match=why):
            DiskStore(path)
    assert (theirs.read_bytes(), text.read_bytes()) == before


# --- Redis ---------------------------------------------------------------------------------------------------------


async def test_redis_that_is_down_is_left_out_and_told_of_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    inner = RedisStore(f"redis://user:geheim@127.0.0.1:{redis_server.port}/0")
    store = GuardedStore(inner, clock=clock)
    redis_server.stop()
    try:
        assert await store.get([name(1)]) == [None]
        for _ in range(3):
            clock.advance(10)
            assert await store.get([name(1), name(2)]) == [None, None]
        assert store.errors == 4
        assert await store.get([name(1)]) == [None]  # it rests: nobody is asked
        assert store.errors == 4
        assert not store.put(name(1), b"v", 10)
        [record] = caplog.records
        assert "redis" in record.message
        assert "geheim" not in record.getMessage() + repr(inner) + repr(store.snapshot())
        clock.advance(10)
        store.put(name(1), b"v", 10)  # it is tried in the background, and its failure counted
        await store.flush()
        await asyncio.sleep(0)
        assert store.errors == 5
    finally:
        await store.aclose()


async def test_redis_comes_back(redis_server: RedisServer) -> None:
    clock = Clock()
    store = GuardedStore(RedisStore(redis_server.url, time_limit=20), time_limit=30, clock=clock)
    try:
        store.put(name(1), b"v", 10)
        await store.flush()
        assert await store.get([name(1)]) == [b"v"]
        redis_server.stop()
        assert await store.get([name(1)]) == [None]
        redis_server.start()
        clock.advance(10)
        store.put(name(1), b"w", 10)
        await store.flush()
        assert await store.get([name(1)]) == [b"w"]
    finally:
        await store.aclose()


async def test_redis_keeps_its_own_time(redis_server: RedisServer) -> None:
    store = RedisStore(redis_server.url, time_limit=20)
    try:
        store.put(name(1), b"v", 100)
        await store.flush()
        assert 90_000 < int(redis_server.command("PTTL", "ipfs-accelerate:cache:1:" + name(1))[1:]) <= 100_000
    finally:
        await store.aclose()


def test_a_wrong_address_is_told_without_being_shown() -> None:
    with pytest.raises(ConfigurationError, match="redis://") as told:
        RedisStore("http://user:geheim@127.0.0.1/")
    assert "geheim" not in str(told.value)


def test_redis_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(MissingExtra, match=r"\[redis\]"):
        RedisStore("redis://127.0.0.1/0")


# --- a store that fails --------------------------------------------------------------------------------------------


class Slow(MemoryStore):
    name = "slow"
    immediate = False

    async def get(self, names: Any) -> list[bytes | None]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_slow_store_is_waited_for_no_longer_than_its_limit() -> None:
    clock = Clock()
    store = GuardedStore(Slow(), time_limit=0.01, clock=clock)
    assert await store.get([name(1)]) == [None]
    assert (store.errors, await store.get([name(1)])) == (1, [None])
    with pytest.raises(asyncio.CancelledError):  # who leaves, leaves: that is no failure of the store's
        clock.advance(10)
        task = asyncio.create_task(store.get([name(1)]))
        await asyncio.sleep(0)
        task.cancel()
        await task
    assert store.errors == 1
