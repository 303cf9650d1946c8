"""Two simulators for each test: on its own loop where its time is virtual, otherwise on threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from ipfs_accelerate_py.simulator import Simulator, SimulatorThread
from tests import virtual_time


@pytest.fixture
def _first() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=20) as sim:
        yield sim


@pytest.fixture
def _second() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=20) as sim:
        yield sim


@pytest.fixture
async def _first_here() -> AsyncIterator[Simulator]:
    async with Simulator("openai", tokens=20) as sim:
        yield sim


@pytest.fixture
async def _second_here() -> AsyncIterator[Simulator]:
    async with Simulator("openai", tokens=20) as sim:
        yield sim


@pytest.fixture
def first(request: pytest.FixtureRequest) -> SimulatorThread:
    """The primary's service. (What tests use of the two kinds is the same.)"""
    return _simulator(request, "_first")


@pytest.fixture
def second(request: pytest.FixtureRequest) -> SimulatorThread:
    """The fallback's service."""
    return _simulator(request, "_second")


def _simulator(request: pytest.FixtureRequest, name: str) -> SimulatorThread:
    here = "_here" if virtual_time.applies(request.node) else ""
    sim: SimulatorThread = request.getfixturevalue(name + here)
    return sim
