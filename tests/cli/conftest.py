"""A simulated provider, and the commands run against it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipfs_accelerate_py.cli import main
from ipfs_accelerate_py.simulator import SimulatorThread

#: The key in every test; it must never be seen.
KEY = "sk-this-must-not-be-seen"


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    exit_code: int
    stdout: str
    stderr: str


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
def invoke(home: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process, in pipes. The key must not be in anything that it says."""

    def run(*arguments: str, input: str | bytes = "", env: dict[str, str] | None = None) -> Result:
        given = input if isinstance(input, bytes) else input.encode()
        streams = [io.TextIOWrapper(io.BytesIO(data), encoding="utf-8") for data in (given, b"", b"")]
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = main(arguments)
        said = []
        for stream in streams[1:]:
            stream.flush()
            said.append(stream.buffer.getvalue().decode())
        assert KEY not in "".join(said)
        return Result(code, *said)

    return run
