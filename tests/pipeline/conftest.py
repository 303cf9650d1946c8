"""A clock and settings for each test."""

from __future__ import annotations

import pytest

from ipfs_accelerate_py.settings import Settings

from .support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings() -> Settings:
    return Settings()
