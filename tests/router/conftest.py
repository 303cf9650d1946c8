"""Two simulators for all the tests of a file, without faults at the beginning of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_accelerate_py.simulator import SimulatorThread


@pytest.fixture(scope="module")
def _first() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=20) as sim:
        yield sim


@pytest.fixture(scope="module")
def _second() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=20) as sim:
        yield sim


@pytest.fixture
def first(_first: SimulatorThread) -> Iterator[SimulatorThread]:
    """The primary's service."""
    yield _first
    _first.clear()


@pytest.fixture
def second(_second: SimulatorThread) -> Iterator[SimulatorThread]:
    """The fallback's service."""
    yield _second
    _second.clear()
