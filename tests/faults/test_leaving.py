"""Dead upstreams are left alone and found again; callers who go away leave nothing behind."""

from __future__ import annotations

import asyncio
import time

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import (
    AccelerateError,
    ServerError,
)
from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread
from tests.upstreams import client_of, eventually, held, nothing_held, nothing_held_sync

from .playing import (
    SETTINGS,
    TOKENS,
    Outcome,
    ask,
)

pytestmark = pytest.mark.virtual_time

# --- the breaker -------------------------------------------------------------------------------------------------


async def test_a_dead_upstream_is_left_alone_and_found_again() -> None:
    settings = {**SETTINGS, "circuit_failure_threshold": 3, "circuit_reset_timeout": 0.05, "max_retries": 0}
    async with Simulator() as sim, client_of(sim.url, **settings) as client:
        sim.always(Fault.status(503))
        kinds = []
        for _ in range(10):
            with pytest.raises(AccelerateError) as caught:
                await client.chat("m", "x")
            kinds.append(type(caught.value).__name__)
        assert kinds == ["ServerError"] * 3 + ["CircuitOpen"] * 7
        assert len(sim.requests) == 3
        assert client.circuit_state == "OPEN"
        await asyncio.sleep(0.06)
        with pytest.raises(ServerError):
            await client.chat("m", "x")
        assert len(sim.requests) == 4
        sim.clear()
        await asyncio.sleep(0.06)
        assert client.circuit_state == "HALF_OPEN"
        assert (await client.chat("m", "x")).text
        assert client.circuit_state == "CLOSED"
        await nothing_held(client)


# --- callers who go away -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "after"),
    [(None, 0.0), (Fault.hang(), 0.01), (Fault.stall(), 0.02), (Fault.silence(after=3), 0.02)],
    ids=["before", "while none has come", "after the headers", "after the first"],
)
async def test_a_caller_who_leaves(stream: bool, fault: Fault | None, after: float) -> None:
    settings = {**SETTINGS, "idle_timeout": None, "first_byte_timeout": None}
    async with Simulator(tokens=TOKENS) as sim, client_of(sim.url, **settings) as client:
        if fault is not None:
            sim.always(fault)
        task = asyncio.create_task(ask(client, stream, Outcome()))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_held(client)
        await eventually(lambda: sim.in_flight == 0)
        assert client.snapshot()["usage"]["cancelled_requests"] <= 1
        assert client.circuit_state == "CLOSED"
        sim.clear()
        after_all = Outcome()
        await ask(client, stream, after_all)
        assert after_all.text
        await nothing_held(client)


@pytest.mark.parametrize("way", ["close", "with", "drop", "break"])
@pytest.mark.parametrize("fault", [None, Fault.hang(), Fault.stall(), Fault.silence(after=3)], ids=str)
def test_a_sync_caller_who_leaves_a_stream(sim: SimulatorThread, way: str, fault: Fault | None) -> None:
    settings = {**SETTINGS, "idle_timeout": None, "first_byte_timeout": None}
    if fault is not None:
        sim.always(fault)
    with Client("openai", base_url=sim.url, api_key="sk-test", **settings) as client:
        stream = client.stream("gpt-4o", "Hello")
        time.sleep(0.01)
        if fault is None or "silence" in str(fault):
            next(stream)
        if way == "close":
            stream.close()
        elif way == "with":
            with stream:
                pass
        elif way == "break":
            if fault is None:
                for _ in stream:
                    break
            stream = None  # type: ignore[assignment]
        del stream
        nothing_held_sync(client)
        until = time.monotonic() + 20
        while sim.in_flight and time.monotonic() < until:
            time.sleep(0.002)
        assert sim.in_flight == 0
        sim.clear()
        assert client.chat("gpt-4o", "Hello").text
        assert held(client) == {}
