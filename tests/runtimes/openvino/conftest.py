"""Tiny checkpoints, and one cache for all tests of OpenVINO, so that each graph is exported once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ipfs_accelerate_py.runtimes.engines.base import Source
from ipfs_accelerate_py.runtimes.families.catalog import open_source
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

# Not imported to see whether it is there: `extras.require` has something to settle first.
collect_ignore_glob = [] if find_spec("openvino") else ["test_*.py"]

Open = Callable[[str, str, str], tuple[Source, TaskSpec]]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("openvino-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPFS_ACCELERATE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Open:
    made: dict[tuple[str, str], Path] = {}

    def opened(model_type: str, auto: str, task: str) -> tuple[Source, TaskSpec]:
        if (model_type, auto) not in made:
            folder = tmp_path_factory.mktemp(model_type)
            made[model_type, auto] = write_tiny(model_type, folder, auto=auto)
        return open_source(model_type, made[model_type, auto], task)

    return opened
