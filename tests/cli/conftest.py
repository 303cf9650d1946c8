"""A simulated provider, and the commands run against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ipfs_accelerate_py.cli.app import app
from ipfs_accelerate_py.simulator import SimulatorThread

#: The key in every test; it must never be seen.
KEY = "sk-this-must-not-be-seen"

Invoke = Callable[..., Result]


@pytest.fixture
def sim() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", api_keys={"first": KEY}, dimensions=4) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def configured(sim: SimulatorThread, home: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatorThread:
    """The simulator as the one configured backend, which retries nothing that a test does not tell it to."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", sim.url)
    return sim


@pytest.fixture
def invoke(home: Path) -> Invoke:
    """Run a command in this process. The key must not be in anything that it says."""

    def run(*arguments: str, input: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
        options: dict[str, Any] = {"input": input, "env": env, "catch_exceptions": False}
        result = CliRunner().invoke(app, arguments, **options)
        assert KEY not in result.output
        return result

    return run
