"""Real models that come and go: memory, threads, files and processes stay as they were."""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.serving.jobs import Job
from ipfs_accelerate_py.runtimes.serving.manager import ModelManager
from ipfs_accelerate_py.runtimes.serving.memory import free_unused, own_memory
from ipfs_accelerate_py.runtimes.serving.nursery import Nursery
from ipfs_accelerate_py.runtimes.serving.settings import ServingSettings
from ipfs_accelerate_py.runtimes.serving.weighing import weigh

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

JOB = Job(task="fill-mask", inputs=["one [MASK] three"])


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


async def use(manager: ModelManager, name: str) -> None:
    async with manager.lease(name, "fill-mask", LoadPlan(threads=1)) as servable:
        assert (await servable.run(JOB)).results


async def rounds(manager: ModelManager, count: int, choose: Callable[[], int]) -> None:
    for _ in range(count):
        await use(manager, f"model{choose()}")


async def test_ten_models_in_a_budget_for_three_leave_nothing_behind(masked: Path) -> None:
    """200 rounds, each a lease and a call. Loading is what takes the time, so three of four rounds are of models that
    were used a moment ago; `test_manager_ends` has 200 rounds of any of ten with models that cost nothing."""
    others = set(threading.enumerate())
    budget = 3 * weigh(masked, LoadPlan()) + 1000
    manager = ModelManager(ServingSettings(budget=budget), find=lambda name: masked)
    rng = random.Random(1)
    recent: list[int] = []

    def choose() -> int:
        # One in four is any of ten; the others are among those used last.
        number = rng.randrange(10) if len(recent) < 3 or rng.random() < 0.25 else rng.choice(recent[-3:])
        recent.append(number)
        return number

    await rounds(manager, 40, choose)
    free_unused()
    before = own_memory(), threading.active_count(), handles()
    await rounds(manager, 160, choose)
    assert manager.snapshot()["memory"] <= budget
    assert manager.snapshot()["loads"] >= 20
    free_unused()
    after = own_memory(), threading.active_count(), handles()
    # A model is about a megabyte with all that belongs to it: those that stayed would be seen.
    assert after[0] - before[0] < 20 << 20
    assert after[1] <= before[1] + 4
    assert after[2] <= before[2] + 2
    await manager.aclose()
    assert not [thread for thread in set(threading.enumerate()) - others if "forward" in thread.name]


async def test_workers_that_come_and_go_leave_nothing_behind(masked: Path, nursery: Nursery) -> None:
    """20 rounds of a process each: born, loaded, asked, ended."""
    manager = ModelManager(
        ServingSettings(isolation="process", budget=1 << 40), find=lambda name: masked, nursery=nursery
    )
    await use(manager, "first")
    worker = manager.loaded()[0].memory
    manager.settings.budget = int(2.5 * worker)
    before = threading.active_count(), handles()
    for number in range(20):
        await use(manager, f"model{number % 4}")
        assert len(manager.loaded()) <= 2
    assert threading.active_count() <= before[0] + 6
    await manager.aclose()
    assert handles() <= before[1]
    assert not nursery.children
