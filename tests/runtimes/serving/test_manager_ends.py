"""The manager: unloading, closing, forks, several event loops, and many rounds of coming and going."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import pytest

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import ConfigurationError, MemoryExhausted, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.serving.manager import ModelManager
from ipfs_accelerate_py.runtimes.serving.settings import ServingSettings

from .fakes import KB, Shelf, until


async def test_unloading_waits_for_leases_and_lets_newcomers_load_anew(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=10_000)
    async with manager.lease(f"a-{KB}") as servable:
        await manager.load(f"a-{KB}", plan=LoadPlan(precision="bfloat16"))
        unloading = asyncio.ensure_future(manager.unload(f"a-{KB}"))
        await until(lambda: len(shelf.open) == 1)
        async with manager.lease(f"a-{KB}") as other:
            assert other is not servable
        assert not unloading.done()
        await servable.run(None)  # type: ignore[arg-type]
    assert await unloading == 2
    assert shelf.open == [f"a-{KB}"]
    assert await manager.unload("nobody") == 0


async def test_closing_ends_everything_and_refuses_what_comes(build: Callable[..., ModelManager], shelf: Shelf) -> None:
    manager = build(budget=10_000)
    await manager.load(f"a-{KB}")
    shelf.gate.clear()
    late = asyncio.ensure_future(manager.load(f"b-{KB}"))
    await until(lambda: bool(manager.progress()) and len(shelf.made) == 2)
    closing = asyncio.ensure_future(manager.aclose())
    await until(lambda: shelf.open == [f"b-{KB}"])
    shelf.gate.set()
    await closing
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        await late
    assert shelf.open == []
    with pytest.raises(RuntimeUnavailable, match="closed"):
        await manager.load(f"a-{KB}")


async def test_a_forked_child_begins_with_no_models(
    build: Callable[..., ModelManager], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = build(budget=10_000)
    await manager.load(f"a-{KB}")
    with monkeypatch.context() as child:
        child.setattr(forks, "_generation", -1)
        assert manager.loaded() == []
        await manager.load(f"a-{KB}")
        assert len(shelf.made) == 2
        manager.close()


def test_a_manager_serves_several_event_loops(build: Callable[..., ModelManager], shelf: Shelf) -> None:
    manager = build(budget=10_000)

    async def use() -> None:
        async with manager.lease(f"a-{KB}", "t") as servable:
            await servable.run(None)  # type: ignore[arg-type]

    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(use())
    assert len(shelf.made) == 1


async def test_ten_models_in_a_budget_for_three_over_two_hundred_rounds(
    build: Callable[..., ModelManager], shelf: Shelf
) -> None:
    manager = build(budget=3000)
    rng = random.Random(3)
    before = threading.active_count()
    most = 0

    async def use(number: int) -> None:
        nonlocal most
        async with manager.lease(f"m{number}-{KB}", rng.choice(("", "t"))) as servable:
            await servable.run(None)  # type: ignore[arg-type]
            most = max(most, len(shelf.open))
            await asyncio.sleep(0)

    for _ in range(200):
        await asyncio.gather(*(use(rng.randrange(10)) for _ in range(rng.randrange(1, 6))))
        assert manager.snapshot()["memory"] <= 3000
    assert most <= 3
    assert all(fake.closed <= 1 for fake in shelf.made)
    assert all(model["leases"] == 0 for model in manager.snapshot()["models"])
    await manager.aclose()
    assert shelf.open == []
    await until(lambda: threading.active_count() <= before + 1)  # the loop's executor keeps a thread


async def test_preloading_tells_what_went_wrong(build: Callable[..., ModelManager], shelf: Shelf) -> None:
    manager = build(budget=1000, preload=(f"a-{KB}", f"b-{2 * KB}"))
    outcome = await manager.preload()
    assert outcome[f"a-{KB}"] is None
    assert isinstance(outcome[f"b-{2 * KB}"], MemoryExhausted)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="isolation"):
        ModelManager(ServingSettings(isolation="magic"))
    with pytest.raises(ConfigurationError, match="budget"):
        ModelManager(ServingSettings(budget=-1))
