"""``pull``: a model fetched by a server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.cli.conftest import Invoke
from tests.cli.program import on_terminal


@pytest.fixture
def server(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorThread]:
    """An Ollama server, as OLLAMA_HOST says where it is."""
    with SimulatorThread("ollama", models=["llama3"]) as running:
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{running.port}")
        yield running


def test_the_result_is_the_name_that_the_other_commands_take(server: SimulatorThread, invoke: Invoke) -> None:
    assert invoke("chat", "-m", "ollama/phi4", "Hello").exit_code == 6
    result = invoke("pull", "phi4")
    assert (result.exit_code, result.stdout) == (0, "ollama/phi4\n")
    steps = result.stderr.splitlines()
    assert (steps[0], steps[-1], len(steps)) == ("pulling manifest", "success", len(set(steps)))
    assert invoke("chat", "-m", result.stdout.strip(), "Hello").exit_code == 0
    assert invoke("pull", "-q", "ollama/other").stderr == ""
    assert invoke("pull", "--backend", "ollama", "org/model").exit_code == 0
    assert [request.body["model"] for request in server.requests if request.path == "/api/pull"] == [
        "phi4",
        "other",
        "org/model",
    ]


def test_as_json(server: SimulatorThread, invoke: Invoke) -> None:
    result = invoke("pull", "phi4", "--json", "-q")
    assert json.loads(result.stdout) == {
        "name": "ollama/phi4",
        "backend": "ollama",
        "id": "phi4",
        "status": "success",
    }
    failed = invoke("pull", "missing", "--json", "-q")
    assert (failed.exit_code, failed.stdout) == (6, "")
    assert json.loads(failed.stderr)["error"]["type"] == "ModelNotFound"


def test_a_bar_on_a_terminal(server: SimulatorThread) -> None:
    with on_terminal("pull", "phi4") as shown:
        assert shown.end() == 0
    assert "4.0/4.0 MB" in shown.text
    assert (
        shown.text.index("pulling manifest") < shown.text.index("writing manifest") < shown.text.index("ollama/phi4\n")
    )


def test_a_pull_that_breaks_off_is_a_failure(server: SimulatorThread, invoke: Invoke) -> None:
    server.always(Fault.cut(after=5))
    result = invoke("pull", "phi4", "--retries", "0")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "error:" in result.stderr


@pytest.mark.parametrize("arguments", [["openai/gpt-4o"], ["--backend", "groq", "x"], [" "], []])
def test_wrong_usage(arguments: list[str], invoke: Invoke) -> None:
    assert invoke("pull", *arguments).exit_code == 2
