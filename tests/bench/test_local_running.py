"""A session from end to end, with contestants that are played, and processes that end or hang."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.bench.contestant import CannotRun, Contestant, Entrant
from ipfs_accelerate_py.bench.local.base import Sizes, Taken, Trial
from ipfs_accelerate_py.bench.local.text_generation import TextGeneration
from ipfs_accelerate_py.bench.models import ALL, Subject, find_subjects
from ipfs_accelerate_py.bench.pairing import compare
from ipfs_accelerate_py.bench.running import BANDWIDTH, Plan, measure
from ipfs_accelerate_py.errors import ConfigurationError

SIZES = Sizes(batches=(2,), tokens=4, prompt=6, lengths=(8, 16), seconds=1.0, side=32)


class _Played:
    """Writes 10 tokens a second by torch, twice that by openvino, and falls ill when it is told to."""

    log: list[str]

    def __init__(self, entrant: Entrant, log: list[str], falls: str = "") -> None:
        self.entrant, self.log, self.falls = entrant, log, falls
        self.facts: dict[str, Any] = {}
        self.asked = 0

    def open(self) -> dict[str, Any]:
        self.log.append(f"open {self.entrant.runtime or self.entrant.kind}")
        if self.entrant.runtime == "llvm":
            raise CannotRun("skipped", "it does not write")
        kind = self.entrant
        self.facts = {"runtime": kind.runtime, "precision": kind.precision, "device": kind.device, "weights": 1000}
        return {**self.facts, "load_s": 0.0}

    def ask(self, trial: Trial, number: int) -> tuple[dict[str, Taken], dict[str, int]]:
        self.log.append(self.entrant.runtime)
        self.asked += 1
        if self.falls == self.entrant.runtime and self.asked == 3:
            raise CannotRun("failed", "its process ended with -9")
        speed = 20.0 if self.entrant.runtime == "openvino" else 10.0
        figures = {"tokens/s": Taken(speed), "decode": Taken(speed)}
        return figures, {"process memory": 300, "model memory": 200}

    def fresh(self) -> None:
        self.log.append("fresh")

    def read(self) -> float:
        self.log.append("read")
        return 20_000.0

    def close(self) -> None:
        self.log.append(f"close {self.entrant.runtime}")


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return Subject("m", TextGeneration, "text-generation", tmp_path)


def play(log: list[str], falls: str = "") -> Callable[[Entrant], _Played]:
    return lambda entrant: _Played(entrant, log, falls)


def test_turns_figures_and_the_share_of_the_bandwidth(subject: Subject) -> None:
    log: list[str] = []
    plan = Plan(("torch", "openvino", "llvm"), ("float32",), rounds=2, threads=3, sizes=SIZES,
                absent={"cuda": "no CUDA device: this build of torch is for processors alone"})  # fmt: skip
    session = measure([subject], plan, "bench", start=play(log))
    assert log[log.index("fresh") - 1 : -3] == [
        *("torch", "fresh", "openvino", "fresh"), *("read", "torch", "openvino"), *("read", "openvino", "torch"),
    ]  # fmt: skip
    assert session.threads == 3
    one, other = session.find("tokens/s")
    assert compare(other, one).median == 2
    assert [each.case.parameters["weights"] for each in (one, other)] == ["its own"] * 2
    # 1000 bytes for each of 10 / 2 steps a second, of 20,000 bytes a second
    assert session.find("bandwidth bound", runtime="torch")[0].values == [0.25, 0.25]
    assert session.find(BANDWIDTH)[0].values == [20_000.0] * 2
    assert session.find("model memory", runtime="torch")[0].median == 200
    assert {(left.case.runtime, left.case.device, left.outcome) for left in session.left} == {
        ("llvm", "cpu", "skipped"), ("torch", "cuda", "untested"), ("openvino", "cuda", "untested"),
        ("llvm", "cuda", "untested"),
    }  # fmt: skip
    assert sorted(each for each in log if each.startswith("close")) == [
        "close llvm", "close openvino", "close torch", "close torch",
    ]  # fmt: skip


def test_who_falls_in_the_middle_has_no_figures_and_the_others_go_on(subject: Subject) -> None:
    plan = Plan(("torch", "openvino"), ("float32",), rounds=3, sizes=SIZES)
    session = measure([subject], plan, "bench", start=play([], falls="openvino"))
    assert [each.case.runtime for each in session.find("tokens/s")] == ["torch"]
    assert session.find("tokens/s")[0].rounds == [0, 1, 2]
    (left,) = session.left
    assert (left.case.runtime, left.outcome, left.reason) == ("openvino", "failed", "its process ended with -9")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('out of luck')", "its process ended with 1: out of luck"),
        ("import time; time.sleep(600)", "no answer within 0.2 s"),
        ('import sys; sys.stdin.readline(); print(\'{"outcome": "failed", "reason": "no"}\')', "^no$"),
    ],
    ids=["ends", "hangs", "says no"],
)
def test_a_process_that_ends_or_hangs(monkeypatch: pytest.MonkeyPatch, script: str, reason: str) -> None:
    popen = subprocess.Popen
    monkeypatch.setattr("subprocess.Popen", lambda command, **given: popen([sys.executable, "-c", script], **given))
    limit = 0.2 if "hangs" in reason or "within" in reason else 120.0
    made = Contestant(Entrant("m", "", "vision", "", "torch", "float32", "cpu", 1, limit=limit))
    try:
        with pytest.raises(CannotRun, match=reason) as caught:
            made.open()
        assert caught.value.outcome == "failed"
    finally:
        made.close()


def test_names_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPFS_ACCELERATE_MODELS", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}')
    (tmp_path / "mine" / "model.safetensors").write_bytes(bytes(16))
    shapes = [name for name in ALL if name != "all-MiniLM-L6-v2"]
    found = find_subjects([*shapes, "mine", "gpt2", str(tmp_path / "mine")])
    assert [each.name for each in found] == [*shapes, "mine", "mine"]
    assert found[-1].kind is TextGeneration
    assert not found[-1].shape
    with pytest.raises(ConfigurationError, match=r"Models that can be measured: all, opt-125m, .*, mine"):
        find_subjects(["gpt3"])
    with pytest.raises(ConfigurationError, match="'mine' does text-to-audio; what is measured is text-generation"):
        find_subjects(["mine"], "text-to-audio")
