"""Whether generated modules are whole: they compile, pytest collects them, and they pass with a checkpoint.

Modules run in processes that one with everything imported forks (`runner`), several at a time, each bounded in time: so
a crash or a hang in one is the verdict of one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra

from .generating import header_of
from .results import FAILED, Verdict

__all__ = ["find_modules", "verify"]


def find_modules(places: Iterable[str | Path], types: Sequence[str] = ()) -> list[Path]:
    """Generated modules in those folders and files, in order.

    Args:
        types: only modules of these model types.

    Raises:
        ConfigurationError: a place is not there, or a file is no module that was generated.
    """
    found = []
    for place in map(Path, places):
        if place.is_dir():
            found += [each for each in sorted(place.glob("test_*.py")) if _type_of(each) is not None]
        elif not place.is_file():
            raise ConfigurationError(f"there is no file or folder {place}")
        elif _type_of(place) is None:
            raise ConfigurationError(f"{place} is no generated module: it has no line `# ipfs-accelerate-tests: ...`")
        else:
            found.append(place)
    return [each for each in dict.fromkeys(found) if not types or _type_of(each) in types]


def _type_of(module: Path) -> str | None:
    try:
        header = header_of(module.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return header.type if header is not None else None


def verify(
    modules: Sequence[Path],
    *,
    run: bool = False,
    tiny: bool = False,
    devices: str = "cpu",
    jobs: int = 1,
    timeout: float = 300.0,
) -> Iterator[Verdict]:
    """Verdicts, in the order of the modules, as they come.

    Args:
        modules: as `find_modules` gives them.
        run: run each with the checkpoint that it finds here (skipped where there is none).
        tiny: run each with a small random checkpoint of its type, made on the spot.
        devices: of a run, as ``IPFS_ACCELERATE_TEST_DEVICES``.
        jobs: how many at a time.
        timeout: seconds for one module, over which it has failed.

    Raises:
        MissingExtra: pytest is not installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise MissingExtra(
            "verifying modules needs pytest, which is not installed: pip install 'ipfs-accelerate-py[tests]'"
        )
    mode = "tiny" if tiny else "run" if run else "collect"
    jobs = max(1, min(jobs, len(modules)))
    idle: SimpleQueue[_Runner] = SimpleQueue()
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(max_workers=jobs) as pool:
        for _ in range(jobs):
            idle.put(stack.enter_context(_Runner(devices)))

        def judge(module: Path) -> Verdict:
            runner = idle.get()
            try:
                return _judge(module, mode, timeout, runner)
            finally:
                idle.put(runner)

        yield from pool.map(judge, modules)


def _judge(module: Path, mode: str, timeout: float, runner: _Runner) -> Verdict:
    began = time.monotonic()
    verdict = Verdict(str(module), _type_of(module) or "")
    try:
        compile(module.read_text(encoding="utf-8"), str(module), "exec")
    except (SyntaxError, ValueError) as error:
        verdict.outcome, verdict.stage = FAILED, "compile"
        verdict.reason = f"{type(error).__name__}: {error}"
        return verdict
    told = runner.ask({"module": str(module.absolute()), "type": verdict.type, "mode": mode, "timeout": timeout})
    for name, value in told.items():
        setattr(verdict, name, value)
    verdict.seconds = round(time.monotonic() - began, 2)
    return verdict


class _Runner:
    """One `runner` process, which answers one question at a time."""

    def __init__(self, devices: str) -> None:
        self._devices = devices
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> _Runner:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ipfs_accelerate_py.checkpoint_tests.runner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={
                    **os.environ,
                    "HF_HUB_OFFLINE": "1",
                    "IPFS_ACCELERATE_TEST_DEVICES": self._devices,
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
            )
        return self._process

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """What came of a module. A runner that ends without answering is a verdict too; the next starts anew."""
        with self._lock, tempfile.TemporaryDirectory(prefix="ipfs-accelerate-tests-") as place:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps({**question, "place": place}) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                found: dict[str, Any] = json.loads(line)
                return found
            status = process.wait()
            self._end()
            return {"outcome": FAILED, "stage": "run", "reason": f"the process that runs modules ended with {status}"}

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
