"""The near end of a contestant: starts its process, and asks it over a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .local.base import Taken, Trial

__all__ = ["CannotRun", "Contestant", "Entrant"]

#: What libraries read for how many threads they may have, at their start.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Entrant:
    """Who is to be started: a model by one runtime, in one precision, on one device.

    Attributes:
        force: load it although its precision makes it answer too differently.
        limit: seconds that loading, or one turn, may take.
    """

    name: str
    path: str
    kind: str
    task: str
    runtime: str
    precision: str
    device: str
    threads: int
    force: bool = False
    limit: float = 600.0


class CannotRun(RuntimeUnavailable):
    """It has no figures. ``outcome`` is ``skipped`` (it cannot be here) or ``failed`` (it was tried)."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Contestant:
    """One process with one model. Close it."""

    def __init__(self, entrant: Entrant) -> None:
        self.entrant = entrant
        environment = dict(os.environ)
        environment |= dict.fromkeys(_THREADS, str(entrant.threads))
        # Nothing is fetched while it is measured, and tokenizers' threads are part of what is counted.
        environment |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ipfs_accelerate_py.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self._buffer = b""
        self.facts: dict[str, Any] = {}

    def open(self) -> dict[str, Any]:
        """Load the model: what it was loaded as (runtime, precision, device, bytes of weights, seconds).

        Raises:
            CannotRun: why it has no figures.
        """
        do = "bandwidth" if self.entrant.kind == "memory" else "open"
        self.facts = self._request({"do": do, **asdict(self.entrant)})
        return self.facts

    def ask(self, trial: Trial, number: int) -> tuple[dict[str, Taken], dict[str, int]]:
        """One turn: figures, and bytes of memory. Raises `CannotRun`."""
        found = self._request({"do": "ask", "trial": asdict(trial), "number": number})
        figures = {name: Taken(value, raw) for name, (value, raw) in found["figures"].items()}
        return figures, found["memory"]

    def fresh(self) -> None:
        """Count the most memory from now on."""
        self._request({"do": "fresh"})

    def read(self) -> float:
        """Of the one that reads memory: bytes a second, now."""
        return float(self._request({"do": "read"})["bytes/s"])

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._said.close()

    def _request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        answer: dict[str, Any] = json.loads(self._line())
        if "outcome" in answer:
            raise CannotRun(answer["outcome"], answer["reason"])
        return answer

    def _line(self) -> bytes:
        """The next line of its answers; kills it where none comes in time."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        with selectors.DefaultSelector() as waiting:
            waiting.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not waiting.select(self.entrant.limit):
                    self._process.kill()
                    raise CannotRun("failed", f"no answer within {self.entrant.limit:g} s")
                if not (part := os.read(pipe, 1 << 16)):
                    raise self._ended()
                self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> CannotRun:
        self._process.wait()
        self._said.seek(0)
        last = self._said.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        said = f": {last[0][:300]}" if last else ""
        return CannotRun("failed", f"its process ended with {self._process.returncode}{said}")
