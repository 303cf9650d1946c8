from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .support import Setup, running


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    """A gateway that wants no key, in front of a simulator."""
    async with running() as made:
        yield made


@pytest.fixture
async def guarded() -> AsyncIterator[Setup]:
    """A gateway that wants a key."""
    async with running(guarded=True) as made:
        yield made
