"""Tiny models that run in workers of one zygote, and models of plain functions for the manager."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.runtimes.serving.entries import Progress
from ipfs_accelerate_py.runtimes.serving.manager import ModelManager
from ipfs_accelerate_py.runtimes.serving.nursery import Nursery
from ipfs_accelerate_py.runtimes.serving.settings import ServingSettings

from .fakes import Shelf

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Where the workers of all these tests come from: its start is what takes time."""
    pytest.importorskip("transformers")
    cache = str(tmp_path_factory.mktemp("cache"))
    made = Nursery({"OMP_NUM_THREADS": "1", "IPFS_ACCELERATE_CACHE": cache})
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that fills masks."""
    pytest.importorskip("transformers")
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    return write_tiny("bert", tmp_path_factory.mktemp("masked"), auto="AutoModelForMaskedLM")


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2."""
    pytest.importorskip("transformers")
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    return write_tiny("gpt2", tmp_path_factory.mktemp("writer"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def build(shelf: Shelf, now: list[float]) -> Iterator[Callable[..., ModelManager]]:
    built: list[ModelManager] = []

    def build(told: Callable[[Progress], None] | None = None, **settings: Any) -> ModelManager:
        manager = ModelManager(
            ServingSettings(**settings), find=shelf.find, make=shelf, clock=lambda: now[0], told=told
        )
        built.append(manager)
        return manager

    yield build
    shelf.gate.set()
    for manager in built:
        manager.close()
