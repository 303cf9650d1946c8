"""Fixtures of the tests of telemetry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ipfs_accelerate_py.simulator import SimulatorThread
from tests.telemetry.support import Meters, Spans


@pytest.fixture
def sim() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai") as simulator:
        yield simulator


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


@pytest.fixture
def meters() -> Iterator[Meters]:
    made = Meters()
    yield made
    made.provider.shutdown()
