"""The manager, with models that weigh what a test says: who is loaded, who goes, who waits, and what is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import (
    MemoryExhausted,
    QueueTimeout,
    RuntimeUnavailable,
    UnsupportedOperation,
)
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.serving.entries import Progress
from ipfs_accelerate_py.runtimes.serving.manager import ModelManager

from .fakes import KB, Shelf, until


async def test_a_model_is_loaded_once_for_all_who_wait_for_it(build: Callable[..., ModelManager], shelf: Shelf) -> None:
    manager = build(budget=10_000)
    shelf.gate.clear()
    seen = []

    async def use() -> None:
        async with manager.lease(f"a-{KB}", "t") as servable:
            seen.append(servable)

    waiting = [asyncio.ensure_future(use()) for _ in range(20)]
    await until(lambda: [each.phase for each in manager.progress()] == ["loading"])
    assert (manager.progress()[0].name, manager.progress()[0].total) == (f"a-{KB}", 1000)
    waiting[0].cancel()
    shelf.gate.set()
    await asyncio.wait(waiting)
    assert len(shelf.made) == 1
    assert seen == [shelf.made[0]] * 19
    assert manager.snapshot()["models"][0]["leases"] == 0
    assert manager.progress() == []


async def test_what_was_used_longest_ago_goes_first_and_what_is_leased_stays(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=3000)
    for name in "abc":
        await manager.load(f"{name}-{KB}")
    async with manager.lease(f"a-{KB}"):
        await manager.load(f"d-{KB}")
        assert sorted(shelf.open) == [f"{name}-{KB}" for name in "acd"]
        await manager.load(f"e-{2 * KB}")
        assert sorted(shelf.open) == [f"a-{KB}", f"e-{2 * KB}"]
    assert manager.snapshot()["memory"] == 3000
    assert [each.closed for each in shelf.made] == [0, 1, 1, 1, 0]


async def test_a_model_larger_than_the_budget_is_refused_unloaded_with_both_sizes(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=3000)
    await manager.load(f"a-{KB}")
    with pytest.raises(MemoryExhausted, match=r"'big-1000' needs 4 kB \(4000 bytes\).* budget .* 3 kB \(3000 bytes\)"):
        await manager.load("big-1000")
    assert shelf.open == [f"a-{KB}"]
    # It would fit where its weights are rounded.
    assert (await manager.load("big-1000", plan=LoadPlan(precision="bfloat16"))).name == "big-1000"


async def test_what_pinned_models_hold_is_not_waited_for(build: Callable[..., ModelManager], shelf: Shelf) -> None:
    manager = build(budget=3000, pinned=(f"b-{KB}",))
    await manager.load(f"a-{KB}", pin=True)
    await manager.load(f"b-{KB}")
    with pytest.raises(MemoryExhausted, match="pinned models hold 2 kB"):
        await manager.load(f"c-{2 * KB}")
    manager.pin(f"a-{KB}", False)
    await manager.load(f"c-{2 * KB}")
    assert sorted(shelf.open) == [f"b-{KB}", f"c-{2 * KB}"]


async def test_memory_that_leases_hold_is_waited_for_until_the_deadline(
    build: Callable[..., ModelManager], shelf: Shelf, now: list[float]
) -> None:
    manager = build(budget=1000)
    async with manager.lease(f"a-{KB}"):
        with pytest.raises(QueueTimeout, match=f"b-{KB}.*taken, by models that calls are using: a-{KB}"):
            await manager.load(f"b-{KB}", deadline=now[0] + 0.05)
        patient = asyncio.ensure_future(manager.load(f"b-{KB}"))
        await until(lambda: [each.phase for each in manager.progress()] == ["waiting"])
    assert (await patient).name == f"b-{KB}"
    async with manager.lease(f"b-{KB}"):
        hopeless = asyncio.ensure_future(manager.load(f"a-{KB}"))
        await until(lambda: [each.phase for each in manager.progress()] == ["waiting"])
        now[0] += 61
        with pytest.raises(QueueTimeout):
            await hopeless
    assert shelf.open == [f"b-{KB}"]


async def test_who_stops_waiting_takes_nothing_with_him(build: Callable[..., ModelManager], shelf: Shelf) -> None:
    manager = build(budget=1000)
    async with manager.lease(f"a-{KB}"):
        gone = asyncio.ensure_future(manager.load(f"b-{KB}"))
        await until(lambda: [each.phase for each in manager.progress()] == ["waiting"])
        gone.cancel()
        await until(lambda: not manager.progress())
        await manager.load(f"a-{KB}", "other")
    assert [model["name"] for model in manager.snapshot()["models"]] == [f"a-{KB}"]


async def test_a_lease_that_comes_as_its_caller_goes_is_given_back(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=1000)
    rng = random.Random(7)
    for _ in range(50):
        waiting = [asyncio.ensure_future(manager.load(f"a-{KB}")) for _ in range(5)]
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)
        await until(lambda: not manager.progress())
        assert all(model["leases"] == 0 for model in manager.snapshot()["models"])
        await manager.unload(f"a-{KB}")
    assert shelf.open == []


async def test_idle_models_go_after_their_time(
    build: Callable[..., ModelManager], shelf: Shelf, now: list[float]
) -> None:
    manager = build(budget=10_000, idle_timeout=100, pinned=(f"c-{KB}",))
    for name in "abc":
        await manager.load(f"{name}-{KB}")
    now[0] += 99
    await manager.load(f"b-{KB}")
    assert await asyncio.to_thread(manager.sweep) == []
    now[0] += 1
    async with manager.lease(f"b-{KB}"):
        assert await asyncio.to_thread(manager.sweep) == [f"a-{KB}"]
        now[0] += 500
        assert await asyncio.to_thread(manager.sweep) == []
    assert await asyncio.to_thread(manager.sweep) == []
    now[0] += 100
    assert await asyncio.to_thread(manager.sweep) == [f"b-{KB}"]
    assert shelf.open == [f"c-{KB}"]


async def test_what_grows_past_the_budget_pushes_out_what_is_idle(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=3000)
    for name in "ab":
        await manager.load(f"{name}-{KB}")
    shelf.made[1].weight = 2500
    assert await asyncio.to_thread(manager.sweep) == [f"a-{KB}"]
    assert manager.loaded()[0].memory == 2500


async def test_another_task_of_a_model_is_made_ready_beside_and_accounted(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=3000)
    for name in "ab":
        await manager.load(f"{name}-{KB}", "one")
    shelf.extra = 2000
    await manager.load(f"b-{KB}", "two")
    assert [fake.tasks for fake in shelf.made if not fake.closed] == [["one", "two"]]
    assert manager.snapshot()["memory"] == 3000
    with pytest.raises(MemoryExhausted, match="needs 5 kB"):
        await manager.load(f"b-{KB}", "three")
    shelf.extra = 0
    with pytest.raises(UnsupportedOperation):
        await manager.load(f"b-{KB}", "impossible")
    assert manager.snapshot()["models"][0]["tasks"] == ["one", "two"]


async def test_a_load_that_fails_tells_all_and_may_be_tried_again(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    told: list[Progress] = []
    manager = build(told.append, budget=3000)
    shelf.failure = RuntimeUnavailable("its weights are torn")
    shelf.gate.clear()
    waiting = [asyncio.ensure_future(manager.load(f"a-{KB}")) for _ in range(3)]
    await until(lambda: bool(manager.progress()))
    shelf.gate.set()
    for each in waiting:
        with pytest.raises(RuntimeUnavailable, match="torn"):
            await each
    assert manager.snapshot()["memory"] == 0
    shelf.failure = None
    await manager.load(f"a-{KB}")
    assert [each.phase for each in told] == ["found", "loading", "failed", "found", "loading", "ready"]
    assert told[2].error == "its weights are torn"
    assert shelf.made[0].closed == 1


async def test_how_many_bytes_are_loaded_is_told(masked: Path) -> None:
    told: list[Progress] = []
    manager = ModelManager(find=lambda name: masked, told=told.append)
    await manager.load("masked", "fill-mask", LoadPlan(runtime="torch", threads=1))
    await manager.aclose()
    size = (masked / "model.safetensors").stat().st_size
    read = [each for each in told if each.phase == "loading" and each.done]
    assert [each.done for each in read] == sorted(each.done for each in read)
    assert len(read) > 10
    assert (read[-1].done, read[-1].total) == (size, size)
