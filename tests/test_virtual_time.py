"""The clock of `tests.virtual_time`: it passes where everybody waits, and only there."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.upstreams import client_of


@pytest.mark.virtual_time
async def test_a_day_takes_no_time_and_work_none_of_the_days() -> None:
    really, began = time.perf_counter(), time.monotonic()
    await asyncio.sleep(86400)
    assert time.perf_counter() - really < 60
    assert time.monotonic() - began == pytest.approx(86400, abs=0.01)
    began = time.monotonic()
    for _ in range(100):
        time.sleep(0.001)  # noqa: ASYNC251  # busy, or stopped by the system
        await asyncio.sleep(0)
    assert time.monotonic() - began < 0.05


@pytest.mark.virtual_time
async def test_nobody_is_too_late_for_what_is_on_its_way() -> None:
    """Fifty calls at once by sockets, each with less time than all of them take together."""
    async with Simulator(latency=0.01) as sim, client_of(sim.url, max_concurrent_requests=50, max_retries=0) as client:
        await asyncio.gather(*(client.chat("m", f"{n}", timeout=0.2) for n in range(50)))
        sim.always(Fault.drip(size=1, interval=0.009))
        assert (await client.chat("m", "x", idle_timeout=0.01, first_byte_timeout=60, timeout=60)).text


@pytest.mark.virtual_time
async def test_work_of_threads_stops_the_clock() -> None:
    async with asyncio.timeout(0.01):
        await asyncio.to_thread(time.sleep, 0.05)


@pytest.mark.virtual_time
async def test_it_is_nobody_elses_clock() -> None:
    found: list[float] = []
    await asyncio.sleep(3600)
    asker = threading.Thread(target=lambda: found.append(time.monotonic()))
    asker.start()
    await asyncio.to_thread(asker.join)
    assert time.monotonic() - found[0] > 3000


async def test_without_the_mark_time_is_what_it_is() -> None:
    began = time.perf_counter()
    await asyncio.sleep(0.02)
    assert time.perf_counter() - began >= 0.015
