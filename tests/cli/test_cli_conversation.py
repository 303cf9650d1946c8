"""``chat`` without a prompt, on a terminal."""

from __future__ import annotations

import stat
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
    shown.type("\x04")
    assert shown.end() == 0


def test_what_was_said_goes_along(sim: SimulatorThread) -> None:
    with on_terminal(*TALK, "--system", "Be brief.", "--show-usage") as shown:
        shown.wait_for("llvm/first-model. /help lists")
        shown.wait_for("> ")
        shown.type("One?\n")
        shown.wait_for("An answer.\n")
        shown.wait_for(" out, ")
        shown.wait_for("> ", 2)
        shown.type("Two?\n")
        shown.wait_for("An answer.\n", 2)
        shown.wait_for("> ", 3)
        _leave(shown)
    first = [("system", "Be brief."), ("user", "One?")]
    assert _asked(sim) == [first, [*first, ("assistant", "An answer."), ("user", "Two?")]]


def test_commands(sim: SimulatorThread) -> None:
    with on_terminal(*TALK) as shown:
        shown.type("One?\n")
        shown.wait_for("An answer.\n")
        shown.type("/help\n/nonsense\n/usage\n/clear\n/system Be kind.\n/model vllm/second-model\n")
        shown.wait_for("/exit   leave".replace("   ", "          "))
        shown.wait_for("there is no /nonsense")
        shown.wait_for(" tokens in, ")
        shown.type('"""Two\nlines?"""\n')
        shown.wait_for("An answer.\n", 2)
        shown.type("/exit\n")
        assert shown.end() == 0
    assert _asked(sim)[1] == [("system", "Be kind."), ("user", "Two\nlines?")]
    assert [request.body["model"] for request in sim.requests] == ["first-model", "second-model"]


def test_a_failed_question_is_reported_and_forgotten(sim: SimulatorThread) -> None:
    sim.script(Fault.status(503), Fault.ok())
    with on_terminal(*TALK) as shown:
        shown.type("One?\n")
        shown.wait_for("error: ")
        shown.wait_for("> ", 2)
        shown.type("Two?\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert _asked(sim)[1] == [("user", "Two?")]


def test_ctrl_c_breaks_off_an_answer_and_not_the_conversation(sim: SimulatorThread) -> None:
    sim.script(Fault.silence(after=1), Fault.ok())
    with on_terminal(*TALK) as shown:
        shown.type("One?\n")
        shown.wait_for("An")
        shown.wait_for("One?\nAn")
        shown.type("\x03")
        shown.wait_for("(broken off;")
        shown.type("\x03")
        shown.wait_for("(Ctrl-D leaves)")
        shown.type("Two?\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert _asked(sim)[1] == [("user", "Two?")]


def test_earlier_input_is_kept_for_its_owner_alone(sim: SimulatorThread, home: Path) -> None:
    pytest.importorskip("readline")
    file = home / ".local/state/ipfs-accelerate/chat_history"
    with on_terminal(*TALK, "--no-history") as shown:
        shown.type("Secret?\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert not file.exists()
    with on_terminal(*TALK) as shown:
        shown.type("One?\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert "One?" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with on_terminal(*TALK) as shown:
        shown.wait_for("> ")
        shown.type("\x1b[A\n")
        shown.wait_for("An answer.\n")
        _leave(shown)
    assert _asked(sim)[2] == [("user", "One?")]
