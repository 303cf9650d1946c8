"""Programs that fork, are interrupted, or simply end, with calls and streams under way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.simulator.wire import Request
from tests.upstreams import QUICK, nothing_held_sync

ROOT = Path(__file__).resolve().parent.parent


def model_is(*names: str) -> Any:
    def when(request: Request) -> bool:
        return isinstance(request.body, dict) and request.body.get("model") in names

    return when


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai") as sim:
        yield sim


@pytest.fixture
def sim(simulator: SimulatorThread) -> Iterator[SimulatorThread]:
    simulator.always(Fault.hang(), when=model_is("hang"))
    simulator.always(Fault.silence(after=3), when=model_is("silent"))
    simulator.always(Fault.latency(0.3), when=model_is("slow"))
    simulator.always(Fault.drip(size=400, interval=0.01), when=model_is("paced"))
    yield simulator
    simulator.clear()


@pytest.fixture
def client(sim: SimulatorThread) -> Iterator[Client]:
    with Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as made:
        yield made
        nothing_held_sync(made)


# --- programs ----------------------------------------------------------------------------------------------------


def run(name: str, sim: SimulatorThread, *, patience: float = 60.0) -> tuple[list[str], float]:
    """Run one of the programs; the lines it printed, and the seconds from its last line to its end."""
    environment = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONPATH": _path()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scripts_for_sync", name, sim.url],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(patience, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        lines, last = [], time.monotonic()
        for line in process.stdout:
            lines.append(line.strip())
            last = time.monotonic()
        code = process.wait()
        ended = time.monotonic() - last
        errors = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    finally:
        killer.cancel()
        killer.join()
    assert code == 0, f"{name} ended with {code}: {lines} {errors}"
    assert errors == "", errors
    return lines, ended


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def test_ctrl_c_cancels_the_call(sim: SimulatorThread) -> None:
    lines, _ = run("interrupted", sim)
    assert lines == ["interrupted", "active 0", "next True"]


def test_ctrl_c_cancels_a_stream(sim: SimulatorThread) -> None:
    lines, _ = run("interrupted_stream", sim)
    assert lines == ["interrupted", "active 0"]


def test_a_fork_harms_neither_side(sim: SimulatorThread) -> None:
    lines, _ = run("forked", sim)
    assert lines.count("slow True") == 3, lines
    rest = [line for line in lines if line != "slow True"]
    assert rest == [
        "child True",
        "child streams True",
        "child done",
        "status 0",
        "parent True",
        "active 0",
    ]


def test_a_forked_childs_threads_may_all_begin_at_once(sim: SimulatorThread) -> None:
    lines, _ = run("forked_threads", sim)
    assert lines == ["child failures []", "child requests 16", "parent True"]


def test_a_parents_stream_does_not_hang_the_child(sim: SimulatorThread) -> None:
    lines, _ = run("forked_stream", sim)
    assert "child hung" not in lines
    assert "child ended" not in lines, "the child took half an answer for the whole"
    assert lines[-1] == "parent True"


@pytest.mark.parametrize("name", ["leaves_streams_open", "leaves_a_thread_waiting", "never_called"])
def test_a_program_ends_promptly_whatever_is_open(sim: SimulatorThread, name: str) -> None:
    lines, ended = run(name, sim)
    assert lines == ["leaving"]
    assert ended < 20
    until = time.monotonic() + 20
    while sim.in_flight and time.monotonic() < until:
        time.sleep(0.005)
    assert sim.in_flight == 0


def test_a_call_made_at_exit_ends(sim: SimulatorThread) -> None:
    lines, ended = run("called_at_exit", sim)
    assert lines[0] == "leaving"
    assert lines[1] in ("late True", "late ConfigurationError")
    assert ended < 20


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="POSIX only")
def test_importing_starts_no_thread_and_loads_no_http_library() -> None:
    code = (
        "import sys, threading, ipfs_accelerate_py\n"
        "assert threading.active_count() == 1\n"
        "assert 'aiohttp' not in sys.modules\n"
        "c = ipfs_accelerate_py.Client('openai', api_key='sk-test')\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": _path()}, check=True)
