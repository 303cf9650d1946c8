"""A contestant's own process: one model, its memory and its threads, driven over a pipe.

``python -m ipfs_accelerate_py.bench.worker``: a JSON object a line on stdin, one for each on stdout. ``open`` loads the
model and answers its facts, ``ask`` is one turn, ``fresh`` begins a new count of the most memory. What libraries print
goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ipfs_accelerate_py.bench.local import KINDS
from ipfs_accelerate_py.bench.local.base import Trial
from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConfigurationError,
    MissingExtra,
    RuntimeUnavailable,
    UnsupportedOperation,
)

__all__ = ["Worker", "main"]

#: Errors that say that something cannot be here; every other one is a failure.
_CANNOT = (ConfigurationError, RuntimeUnavailable, UnsupportedOperation)


class Worker:
    """Answers requests, one at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._servable: Any = None
        self._kind: Any = None
        self._memory = _Memory()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What it asks for; an error as ``failed`` or ``skipped`` with its reason."""
        try:
            return dict(getattr(self, f"_{request['do']}")(request))
        except _CANNOT as error:
            return {"outcome": "skipped", "reason": _line(error)}
        except Exception as error:  # whatever a model's code raises is an outcome
            return {"outcome": "failed", "reason": f"{type(error).__name__}: {_line(error)}"}

    def close(self) -> None:
        if self._servable is not None:
            self._servable.close()
        self._loop.close()

    def _open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
        from ipfs_accelerate_py.runtimes.extras import require
        from ipfs_accelerate_py.runtimes.serving.servable import open_servable

        # Libraries are in memory before the model is: what they take is not the model's.
        for library in ("torch", "transformers", *_LIBRARIES.get(request["runtime"], ())):
            with contextlib.suppress(MissingExtra):  # who needs it says so
                require(library)
        self._memory = _Memory()
        plan = LoadPlan(
            runtime=request["runtime"],
            device=request["device"],
            precision=request["precision"],
            threads=request["threads"],
            force=request["force"],
        )
        begun = time.perf_counter()
        task = request["task"]
        self._servable = open_servable(request["name"], Path(request["path"]), task=task, plan=plan)
        facts = self._servable.facts
        self._kind = KINDS[request["kind"]](self._servable, task, self._loop, time.perf_counter)
        return {
            "runtime": facts.runtime,
            "precision": facts.precision,
            "device": facts.device,
            "weights": facts.memory,
            "load_s": time.perf_counter() - begun,
        }

    def _bandwidth(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from ipfs_accelerate_py.runtimes.bandwidth import Bandwidth

        self._kind = Bandwidth(request["threads"])
        return {"runtime": "torch", "precision": "", "device": "cpu", "weights": 0, "load_s": 0.0}

    def _read(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"bytes/s": self._kind()}

    def _fresh(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._memory.fresh()
        return {}

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        found = self._kind.ask(Trial(**request["trial"]), request["number"])
        return {
            "figures": {name: [taken.value, list(taken.raw)] for name, taken in found.items()},
            "memory": self._memory.found(),
        }


#: What a runtime imports when it loads its first model.
_LIBRARIES = {"openvino": ("openvino",), "llvm": ("xllamacpp",)}


class _Memory:
    """What this process takes, and what of that it did not before its model was loaded; bytes."""

    def __init__(self) -> None:
        self._before = _resident()
        self.fresh()

    def fresh(self) -> None:
        """Count the most from now on."""
        from ipfs_accelerate_py.runtimes.probes.memory import Watermark

        self._now, self._mark = _resident(), Watermark()

    def found(self) -> dict[str, int]:
        most = self._now + self._mark.peak()
        return {"process memory": most, "model memory": max(0, most - self._before)}


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:  # another system: nothing is subtracted
        return 0


def _line(error: BaseException) -> str:
    said = error.message if isinstance(error, AccelerateError) else str(error)
    return " ".join(said.split())[:600]


def main(requests: TextIO, answers: TextIO) -> None:
    """Answer until the requests end."""
    worker = Worker()
    try:
        for line in requests:
            answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            answers.flush()
    finally:
        worker.close()


if __name__ == "__main__":
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.stdin, told)
    told.close()
