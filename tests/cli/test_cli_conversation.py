"""``chat`` without a prompt, on a terminal."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.cli.program import OnTerminal, on_terminal

TALK = ("chat", "-m", "first-model", "--retries", "0")


@pytest.fixture
def sim(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", reply="An answer.") as running:
        monkeypatch.setenv("LLVM_API_ENDPOINT", running.url)
        yield running


def _asked(sim: SimulatorThread) -> list[list[Any]]:
    """Role and content of the messages of each request."""
    return [[(each["role"], each["content"]) for each in request.body["messages"]] for request in sim.requests]


def _leave(shown: OnTerminal) -> None:
    shown.at_prompt("\x04")
    assert shown.end() == 0


def test_what_was_said_goes_along(sim: SimulatorThread) -> None:
    with on_terminal(*TALK, "--system", "Be brief.", "--show-usage") as shown:
        shown.wait_for("llvm/first-model. /help lists")
        shown.at_prompt("One?\n")
        shown.wait_for("An answer.\n")
        shown.wait_for(" out, ")
        shown.at_prompt("Two?\n")
        shown.wait_for("An answer.\n", 2)
        _leave(shown)
    first = [("system", "Be brief."), ("user", "One?")]
    assert _asked(sim) == [first, [*first, ("assistant", "An answer."), ("user", "Two?")]]


def test_commands(sim: SimulatorThread) -> None:
    with on_terminal(*TALK) as shown:
        shown.at_prompt("One?\n")
        shown.at_prompt("/help\n")
        shown.wait_for("/exit          leave")
        shown.at_prompt("/nonsense\n")
        shown.wait_for("there is no /nonsense")
        shown.at_prompt("/usage\n")
        shown.wait_for(" tokens in, ")
        for command in ("/clear", "/system Be kind.", "/model vllm/second-model"):
            shown.at_prompt(f"{command}\n")
        shown.at_prompt('"""Two\n')
        shown.type('lines?"""\n')
        shown.at_prompt("/exit\n")
        assert shown.end() == 0
    assert _asked(sim)[1] == [("system", "Be kind."), ("user", "Two\nlines?")]
    assert [request.body["model"] for request in sim.requests] == ["first-model", "second-model"]


def test_a_failed_question_is_reported_and_forgotten(sim: SimulatorThread) -> None:
    sim.script(Fault.status(503), Fault.ok())
    with on_terminal(*TALK) as shown:
        shown.at_prompt("One?\n")
        shown.wait_for("error: ")
        shown.at_prompt("Two?\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert _asked(sim)[1] == [("user", "Two?")]


def test_ctrl_c_breaks_off_an_answer_and_not_the_conversation(sim: SimulatorThread) -> None:
    sim.script(Fault.silence(after=1), Fault.ok())
    with on_terminal(*TALK) as shown:
        shown.at_prompt("One?\n")
        shown.wait_for("\nAn")
        shown.interrupt()
        shown.wait_for("(broken off;")
        shown.at_prompt("half a quest")
        shown.wait_for("half a quest")
        time.sleep(0.04)  # readline writes an echo a little before it waits again, and hears nothing in between
        shown.interrupt()
        shown.wait_for("(Ctrl-D leaves)")
        shown.at_prompt("Two?\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert _asked(sim)[1] == [("user", "Two?")]


def test_earlier_input_is_kept_for_its_owner_alone(sim: SimulatorThread, home: Path) -> None:
    pytest.importorskip("readline")
    file = home / ".local/state/ipfs-accelerate/chat_history"
    with on_terminal(*TALK, "--no-history") as shown:
        shown.at_prompt("Secret?\n")
        _leave(shown)
    assert not file.exists()
    with on_terminal(*TALK) as shown:
        shown.at_prompt("One?\n")
        _leave(shown)
    assert "One?" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with on_terminal(*TALK) as shown:
        shown.at_prompt("\x1b[A\n")
        _leave(shown)
    assert _asked(sim)[2] == [("user", "One?")]
