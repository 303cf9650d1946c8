"""One simulator for all the tests of a file, without faults at the beginning of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_accelerate_py.simulator import SimulatorThread

from .playing import TOKENS


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=TOKENS) as sim:
        yield sim


@pytest.fixture
def sim(simulator: SimulatorThread) -> Iterator[SimulatorThread]:
    yield simulator
    simulator.clear()
