"""``--fallback`` and ``--ledger``: who is asked next, who is said to have answered, and what is written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault, Request, SimulatorThread
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal, run

CHAT = ("chat", "-m", "openai/gpt-4o", "--retries", "0", "--fallback", "claude/claude-sonnet-4-5")
EMBED = ("embed", "-m", "openai/bge-m3", "--retries", "0", "--fallback", "ollama/bge-m3")


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorThread]:
    with SimulatorThread("anthropic", api_keys={"first": KEY}, reply="Claude says so.") as running:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        yield running


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorThread]:
    with SimulatorThread("ollama", dimensions=4) as running:
        monkeypatch.setenv("OLLAMA_API_URL", running.url)
        yield running


def calls(invoke: Invoke, ledger: Path, *more: str) -> list[dict[str, Any]]:
    result = invoke("usage", "--ledger", str(ledger), "--by", "alias,backend,model,operation,outcome", "--json", *more)
    rows: list[dict[str, Any]] = json.loads(result.stdout)["rows"]
    return rows


# --- chat --------------------------------------------------------------------------------------------------------


def test_the_first_answers(configured: SimulatorThread, claude: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*CHAT, "--show-usage", "Hello")
    assert (result.exit_code, len(result.stdout.split())) == (0, 20)
    [line] = result.stderr.splitlines()
    assert line.endswith(", openai/gpt-4o")
    assert claude.requests == []


@pytest.mark.parametrize("extra", [[], ["--no-stream"]])
def test_the_next_answers_and_it_is_said(
    configured: SimulatorThread, claude: SimulatorThread, invoke: Invoke, extra: list[str]
) -> None:
    configured.always(Fault.status(503))
    result = invoke(*CHAT, "--show-usage", *extra, "Hello")
    assert (result.exit_code, result.stdout) == (0, "Claude says so.\n")
    told, usage = result.stderr.splitlines()
    assert told == "(answered by claude/claude-sonnet-4-5)"
    assert usage.endswith(", claude/claude-sonnet-4-5")
    assert invoke(*CHAT, "-q", *extra, "Hello").stderr == ""
    body = claude.requests[-1].body
    assert isinstance(body, dict)
    assert body["model"] == "claude-sonnet-4-5"


def test_json_names_who_answered(configured: SimulatorThread, claude: SimulatorThread, invoke: Invoke) -> None:
    configured.always(Fault.status(401))
    result = invoke(*CHAT, "--json", "Hello")
    reply = json.loads(result.stdout)
    assert (reply["backend"], reply["target_model"], reply["text"]) == (
        "claude",
        "claude-sonnet-4-5",
        "Claude says so.",
    )
    assert result.stderr == ""


def test_in_order_and_to_the_end(
    configured: SimulatorThread, claude: SimulatorThread, ollama: SimulatorThread, invoke: Invoke
) -> None:
    configured.always(Fault.status(503))
    claude.always(Fault.status(429, retry_after=3600))  # more than is waited for
    three = (*CHAT, "--fallback", "ollama/llama3.2")
    assert "(answered by ollama/llama3.2)" in invoke(*three, "Hello").stderr
    ollama.always(Fault.status(500))
    result = invoke(*three, "Hello")
    assert (result.exit_code, result.stdout) == (5, "")
    assert "HTTP 503" in result.stderr
    assert "; then claude/claude-sonnet-4-5: RateLimited (429), ollama/llama3.2: ServerError (500)" in result.stderr
    error = json.loads(invoke(*three, "--json", "Hello").stderr)["error"]
    assert error["fallbacks"][1] == "ollama/llama3.2: ServerError (500)"


def test_a_wrong_request_goes_to_nobody_else(
    configured: SimulatorThread, claude: SimulatorThread, invoke: Invoke
) -> None:
    configured.always(Fault.status(400))
    result = invoke(*CHAT, "Hello")
    assert result.exit_code == 6
    assert "; then" not in result.stderr
    assert claude.requests == []


def test_key_and_address_on_the_command_line_are_the_first_ones(
    sim: SimulatorThread, claude: SimulatorThread, invoke: Invoke
) -> None:
    asked = (*CHAT, "--base-url", sim.url, "--api-key-env", "MINE", "-v")
    sim.script(Fault.status(503))
    result = invoke(*asked, "Hello", env={"MINE": KEY})
    assert result.exit_code == 0
    assert f"asking gpt-4o of openai at {sim.url}, then claude-sonnet-4-5 of claude at {claude.url}" in result.stderr
    assert claude.requests[-1].key == "first"
    # The same model at its configured address is another place.
    again = (
        "chat",
        "-m",
        "openai/m",
        "--base-url",
        sim.url,
        "--api-key-env",
        "MINE",
        "--fallback",
        "openai/m",
        "Hello",
    )
    assert invoke(*again, env={"MINE": KEY, "OPENAI_API_KEY": KEY}).exit_code == 0


def test_a_stream_that_breaks_off(home: Path) -> None:
    """A person sees the answer begin anew; in a pipe the two would be taken for one."""
    with (
        SimulatorThread("openai", reply="One two three four.") as first,
        SimulatorThread("openai", reply="No.") as last,
    ):
        first.always(Fault.cut(after=2))
        env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": last.url}
        asked = ("chat", "-m", "m", "--base-url", first.url, "--retries", "0", "--fallback", "openai/n", "Hello")
        with on_terminal(*asked, env=env) as shown:
            assert shown.end() == 0
            assert "[restarted on n: what came before is void]" in shown.text
            assert "(answered by openai/n)" in shown.text
            assert "No." in shown.text
        piped = run(*asked, env=env)
        assert piped.returncode == 5
        assert "No." not in piped.stdout
        assert "not the whole answer" in piped.stderr


def test_a_conversation_can_change_the_first(configured: SimulatorThread, claude: SimulatorThread) -> None:
    with on_terminal(*CHAT, "--show-usage", "--no-history") as shown:
        shown.at_prompt("/model gpt-4o-mini\n")
        shown.at_prompt("Hello\n")
        shown.wait_for(" s, openai/gpt-4o-mini")
        configured.always(Fault.status(503))
        shown.at_prompt("Again\n")
        shown.wait_for("(answered by claude/claude-sonnet-4-5)")
        shown.at_prompt("\x04")
        assert shown.end() == 0


@pytest.mark.parametrize(
    ("fallbacks", "said"),
    [
        (["gpt-4o-mini"], "names no backend"),
        (["openai/gpt-4o"], "is what is asked first"),
        (["claude/x", "claude/x"], "given twice"),
    ],
)
def test_wrong_usage(configured: SimulatorThread, invoke: Invoke, fallbacks: list[str], said: str) -> None:
    more = [word for each in fallbacks for word in ("--fallback", each)]
    result = invoke("chat", "-m", "openai/gpt-4o", *more, "Hello")
    assert result.exit_code == 2
    assert said in result.stderr
    assert configured.requests == []


def test_a_fallback_without_a_key_is_told_before_it_is_needed(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*CHAT, "Hello")
    assert result.exit_code == 0
    assert "warning: --fallback claude/claude-sonnet-4-5 has no key and cannot be asked: set ANTHROPIC" in result.stderr


# --- embed -------------------------------------------------------------------------------------------------------


def test_the_same_model_elsewhere(configured: SimulatorThread, ollama: SimulatorThread, invoke: Invoke) -> None:
    def asked(request: Request) -> bool:
        return isinstance(request.body, dict) and "c" in request.body["input"]

    configured.always(Fault.status(503), when=asked)
    result = invoke(*EMBED, "--batch-size", "2", "--parallel", "1", "--show-usage", "a", "b", "c")
    assert (result.exit_code, len(result.stdout.splitlines())) == (0, 3)
    shares, usage = result.stderr.splitlines()
    assert shares == "(3 texts embedded: 2 by openai, 1 by ollama)"
    assert usage.endswith(", openai/bge-m3 and ollama/bge-m3")
    assert ollama.requests[-1].body["model"] == "bge-m3"


@pytest.mark.parametrize("other", ["openai/text-embedding-3-small", "ollama/nomic-embed-text", "hf_tei/bge-m3-large"])
def test_another_models_vectors_are_refused(
    configured: SimulatorThread, ollama: SimulatorThread, invoke: Invoke, other: str
) -> None:
    result = invoke("embed", "-m", "openai/bge-m3", "--fallback", other, "a")
    assert result.exit_code == 2
    assert "another model than openai/bge-m3: vectors of two models cannot be compared" in result.stderr
    assert configured.requests == ollama.requests == []


def test_an_organization_in_front_is_the_same_model(
    configured: SimulatorThread, ollama: SimulatorThread, invoke: Invoke
) -> None:
    configured.always(Fault.status(503))
    result = invoke("embed", "-m", "openai/BAAI/bge-m3", "--retries", "0", "--fallback", "ollama/bge-m3", "a")
    assert (result.exit_code, result.stderr) == (0, "(1 text embedded: 1 by ollama)\n")


def test_vectors_of_another_length_are_an_error(configured: SimulatorThread, invoke: Invoke) -> None:
    configured.always(Fault.status(503), when=lambda request: "b" in request.body["input"])
    with SimulatorThread("ollama", dimensions=5) as other:
        result = invoke(*EMBED, "--batch-size", "1", "--parallel", "1", "a", "b", env={"OLLAMA_API_URL": other.url})
    assert result.exit_code == 5
    assert "a vector of ollama has 5 numbers, and those before had 4" in result.stderr
    assert len(result.stdout.splitlines()) == 1


# --- the ledger --------------------------------------------------------------------------------------------------


def test_calls_are_in_the_ledger(
    configured: SimulatorThread, claude: SimulatorThread, invoke: Invoke, tmp_path: Path
) -> None:
    ledger = tmp_path / "calls.sqlite3"
    written = {"IPFS_ACCELERATE_LEDGER": str(ledger)}
    for words, env in (
        (("chat", "-m", "openai/gpt-4o", "--ledger", str(ledger), "Hello"), {}),
        (("chat", "-m", "openai/gpt-4o", "--no-stream", "Hello"), written),
        (("embed", "-m", "openai/text-embedding-3-small", "--batch-size", "1", "a", "b"), written),
    ):
        assert invoke(*words, env=env).exit_code == 0
    configured.always(Fault.status(503))
    assert invoke(*CHAT, "Hello", env=written).exit_code == 0
    assert invoke("chat", "-m", "openai/gpt-4o", "--retries", "0", "Hello", env=written).exit_code == 5
    assert [
        (row["backend"], row["model"], row["operation"], row["outcome"], row["calls"]) for row in calls(invoke, ledger)
    ] == [
        ("claude", "claude-sonnet-4-5", "chat", "success", 1),
        ("openai", "gpt-4o", "chat", "failure", 1),
        ("openai", "gpt-4o", "chat", "success", 2),
        ("openai", "text-embedding-3-small", "embed", "success", 2),
    ]
    by = json.loads(invoke("usage", "--by", "alias", "--json", env=written).stdout)["rows"]
    assert {row["alias"] for row in by} == {"gpt-4o", "text-embedding-3-small"}


def test_nothing_is_written_unasked(
    configured: SimulatorThread, invoke: Invoke, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    assert invoke("chat", "-m", "openai/gpt-4o", "Hello").exit_code == 0
    assert not (home / "state").exists()


@pytest.mark.parametrize(("where", "code"), [("mysql://h/d", 2), ("key/in/a/file/calls.sqlite3", 5)])
def test_a_ledger_that_cannot_be_had(
    configured: SimulatorThread, invoke: Invoke, home: Path, where: str, code: int
) -> None:
    (home / "key").write_text("")
    result = invoke("chat", "-m", "openai/gpt-4o", "--ledger", where, "Hello")
    assert result.exit_code == code
    assert configured.requests == []  # nobody pays for what cannot be written down
