"""Work in processes of its own: what one loses, the others keep."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfs_accelerate_py.runtimes.probes.isolation import Limits, Lost, isolated


def _work() -> Callable[[str], str]:
    seen: list[str] = []

    def does(piece: str) -> str:
        if piece == "crash":
            os._exit(3)
        if piece == "killed":
            os.kill(os.getpid(), 9)
        if piece == "hang":
            Path(os.environ.get("HANGING", os.devnull)).write_text("")
            time.sleep(600)
        if piece == "hungry":
            return str(len(bytearray(8 << 30)))
        seen.append(piece)
        return f"{os.getpid()} {','.join(seen)}"

    return does


def _answers(groups: list[list[str]], limits: Limits) -> dict[str, str | Lost]:
    return {done.piece: done.answer for done in isolated(groups, _work, limits)}


def test_one_cannot_take_the_others_along() -> None:
    found = _answers([["a", "crash", "b"], ["killed"], ["c"]], Limits(jobs=2, timeout=60))
    assert found["crash"] == Lost("crash", "Crash: its process ended with status 3")
    assert found["killed"] == Lost("crash", "Crash: its process ended by SIGKILL")
    assert str(found["b"]).endswith(" b")  # by another worker, which knows nothing of the first
    assert str(found["c"]).endswith(" c")


def test_a_group_shares_its_worker() -> None:
    found = _answers([["a", "b"], ["c"]], Limits(jobs=1))
    first, second = str(found["a"]).split(), str(found["b"]).split()
    assert first[0] == second[0]
    assert second[1] == "a,b"
    assert str(found["c"]).split()[1] == "c"


def test_a_piece_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Time passes when the piece has begun to hang, and for nobody else.
    hanging = tmp_path / "hanging"
    monkeypatch.setenv("HANGING", str(hanging))
    limits = Limits(timeout=300.0)
    answers = isolated([["hang", "a"]], _work, limits, lambda: 1000.0 if hanging.exists() else 0.0)
    found = {done.piece: done.answer for done in answers}
    assert found["hang"] == Lost("timeout", "Timeout: no answer in 300 s")
    assert str(found["a"]).endswith(" a")


def test_memory_is_limited() -> None:
    lost = _answers([["hungry", "a"]], Limits(memory=1 << 30, timeout=60))
    assert isinstance(lost["hungry"], Lost)
    assert str(lost["a"]).endswith(" a")


def test_no_piece_is_begun_after_the_budget() -> None:
    now = iter(range(0, 10_000, 10))
    found = [
        done.piece for done in isolated([[str(n)] for n in range(50)], _work, Limits(budget=100.0), lambda: next(now))
    ]
    assert 0 < len(found) < 50
    assert found == [str(n) for n in range(len(found))]


def test_closing_ends_what_is_at_work() -> None:
    answers = isolated([["a"], ["hang"], ["hang"]], _work, Limits(jobs=3, timeout=600))
    assert str(next(answers).answer).endswith(" a")
    begun = time.monotonic()
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 60
