"""A simulated provider on a thread of its own, a gate to hold its answers back, and faces that are closed again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.simulator import SimulatorThread

F = TypeVar("F", bound=ApiBackend)


class Gate:
    """The simulator's ``sleep``: with a latency set, every answer waits here until the gate is opened.

    As a context it is open at the end, so that a test that fails does not wait for threads that wait for it.
    """

    def __init__(self) -> None:
        self._open = threading.Event()

    async def sleep(self, seconds: float) -> None:
        while not self._open.is_set():  # noqa: ASYNC110  # opened from another thread
            await asyncio.sleep(0.002)

    def open(self) -> None:
        self._open.set()

    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None:
        self.open()


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place for a `.env` of the test's own, and no key from anywhere else."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "LLVM_API_KEY", "LLVM_API_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def simulators() -> Iterator[Callable[..., SimulatorThread]]:
    """Makes simulators, and stops them."""
    made: list[SimulatorThread] = []

    def make(**options: Any) -> SimulatorThread:
        made.append(SimulatorThread("openai", **options).start())
        return made[-1]

    yield make
    for simulator in made:
        simulator.stop()


@pytest.fixture
def faces(simulators: object) -> Iterator[Callable[..., Any]]:
    """Makes an object of a class of the older API, quick to retry, and closes it before the simulators stop."""
    made: list[ApiBackend] = []

    def make(kind: type[F], simulator: SimulatorThread | None = None, **settings: Any) -> F:
        if simulator is not None:
            settings = {"base_url": simulator.url, "api_key": "sk-test", **settings}
        face = kind(**{"initial_retry_delay": 0.001, **settings})
        made.append(face)
        return face

    yield make
    for face in made:
        face.close()


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what happens on another thread."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.002)


def question(text: str) -> dict[str, Any]:
    """A chat request's body."""
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
