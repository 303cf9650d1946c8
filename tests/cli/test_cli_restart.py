"""An answer that another target began anew, on a terminal and in the older API's pieces."""

from __future__ import annotations

from typing import Any

import pytest

from ipfs_accelerate_py import Router
from ipfs_accelerate_py.api_backends.streams import Pieces
from ipfs_accelerate_py.cli.answers import Answer, print_answer
from ipfs_accelerate_py.cli.fallbacks import Targets
from ipfs_accelerate_py.cli.selection import Connection
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.router.support import QUICK, target


@pytest.fixture
def router() -> Any:
    with (
        SimulatorThread("openai", reply="One two three four five.") as first,
        SimulatorThread("openai", reply="Something else.") as second,
        Router({"smart": [target(first, "a"), target(second, "b")]}, **QUICK, max_retries=0) as made,
    ):
        first.always(Fault.cut(after=3))
        yield made


def test_the_terminal_says_so(router: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer(router, Targets("openai", "smart", Connection(), []), "smart", {"mid_stream": "restart"})
    print_answer(Terminal(), answer, "Hello")
    out, err = capsys.readouterr()
    before, _, after = out.partition("\n")
    assert "One two three four five.".startswith(before)
    assert after == "Something else.\n"
    assert "[restarted on b: what came before is void]" in err
    assert answer.reply.text == "Something else."


def test_the_older_api_s_pieces_say_so(router: Any) -> None:
    pieces = list(Pieces(router.stream("smart", "Hello", mid_stream="restart")))
    anew = [number for number, piece in enumerate(pieces) if piece.get("restart")]
    assert len(anew) == 1
    assert "".join(piece["text"] for piece in pieces[anew[0] :]) == "Something else."
    assert pieces[-1]["done"]
    assert not any("restart" in piece for piece in pieces[: anew[0]])
