"""``ipfs-accelerate bench load`` as it is typed, against a simulator."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from ipfs_accelerate_py.bench.figures import Session
from ipfs_accelerate_py.bench.load.tables import COLUMNS, comparisons, limits, markdown, rows
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.bench.load_sessions import load_session
from tests.cli.conftest import KEY, Invoke, configured, home, invoke, sim
from tests.cli.program import LONG, run, started, until

__all__ = ["configured", "home", "invoke", "sim"]  # fixtures

QUICK = ("--settle", "0", "--warm-up", "0")


def test_a_line_a_step_in_a_pipe(invoke: Invoke, configured: SimulatorThread) -> None:
    done = invoke("bench", "load", "-m", "openai/m", "--concurrency", "1,2", "--requests", "6", *QUICK)
    assert done.exit_code == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:4] for line in lines] == [["openai", "1 caller", "6", "0"], ["openai", "2 callers", "6", "0"]]
    assert all(len(line) == len(COLUMNS) for line in lines)
    assert "step 2 of 2: openai at 2 callers" in done.stderr
    assert "too few answers for p99" in done.stderr
    assert len(configured.requests) == 12
    assert all(request.body["stream"] for request in configured.requests)


def test_every_file_is_written_and_no_secret_is_in_one(invoke: Invoke, sim: SimulatorThread, home: Path) -> None:
    words = (
        "-m", "m", "--api-key-env", "THE_KEY", "--rate", "200", "--requests", "40", "--slo", "ttft=60s,total=60s",
        "--option", "user=sk-in-an-option", "--out", str(home / "new" / "load"), *QUICK,
    )  # fmt: skip
    sim.always(Fault.status(401, message=f"Incorrect API key: {KEY}"), when=lambda request: request.number == 7)
    done = invoke("bench", "load", "--url", sim.url.removesuffix("/v1"), *words, env={"THE_KEY": KEY})
    assert done.exit_code == 0, done.stderr
    files = sorted(path.name for path in (home / "new").iterdir())
    assert files == ["load.html", "load.json", "load.md", "load.png", "load.svg"]
    said = "".join((home / "new" / name).read_text() for name in files if not name.endswith(".png"))
    assert "sk-in-an-option" not in said + done.stdout + done.stderr
    assert KEY not in said
    assert "AuthenticationError 401" in said
    session = Session.read(home / "new" / "load.json")
    (goodput,) = session.find("goodput share")
    assert goodput.values == [pytest.approx(39 / 40)]
    assert len(session.find("latency")[0].raw[0]) == 39
    assert "already 200 requests/s miss" in "".join(limits(session))


def test_without_matplotlib_there_are_figures_all_the_same(
    invoke: Invoke, configured: SimulatorThread, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = invoke("bench", "load", "-m", "openai/m", "--requests", "2", "--concurrency", "1", "--out", "load", *QUICK)
    assert done.exit_code == 0, done.stderr
    assert "ipfs-accelerate-py[plots]" in done.stderr
    assert sorted(path.name for path in home.iterdir()) == ["load.json", "load.md"]


def test_json_is_the_session(invoke: Invoke, configured: SimulatorThread) -> None:
    done = invoke(
        "bench", "load", "-m", "openai/m", "--kind", "embedding", "--batch-size", "3", "--requests", "4",
        "--concurrency", "1", "--json", "-q", *QUICK,
    )  # fmt: skip
    session = Session.of(json.loads(done.stdout))
    assert session.find("calls")[0].values == [4]
    assert session.measurements[0].case.length == "3 x 128 in"
    assert not session.find("first token")
    assert done.stderr == ""


def test_a_dataset_and_a_search(invoke: Invoke, configured: SimulatorThread, home: Path) -> None:
    (home / "asked.jsonl").write_text('{"prompt": "one", "max_tokens": 3}\n"two"\n')
    done = invoke(
        "bench", "load", "-m", "openai/m", "--dataset", "asked.jsonl", "--find-concurrency", "1:2", "--requests", "4",
        "--slo", "total=100s", "--no-stream", "--duration", "60", *QUICK,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "2 callers keep to total=100s in 0.99 of calls, the highest that was tried" in done.stderr
    prompts = [request.body["messages"][0]["content"] for request in configured.requests]
    assert set(prompts) == {"one", "two"}
    assert "stream" not in configured.requests[0].body


def test_two_targets_are_compared(invoke: Invoke, configured: SimulatorThread) -> None:
    with SimulatorThread("openai") as other:
        done = invoke(
            "bench", "load", "-m", "openai/m", "--beside", other.url, "--concurrency", "2", "--requests", "10",
            "--rounds", "2", *QUICK,
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
        assert len(other.requests) == len(configured.requests) == 20
        assert all(request.key is None for request in other.requests)  # one service's key is not sent to another
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["openai", "llvm"]
    assert "2 callers latency openai: " in done.stderr


def test_nobody_answers(invoke: Invoke, configured: SimulatorThread) -> None:
    configured.always(Fault.status(503))
    done = invoke("bench", "load", "-m", "openai/m", "--requests", "3", "--concurrency", "1", *QUICK)
    assert done.exit_code == 5
    assert "ServerError 503, as in: " in done.stderr
    assert done.stdout.split("\t")[2:4] == ["3", "3"]
    done = invoke("bench", "load", "-m", "openai/m", "--requests", "3", "--concurrency", "1")
    assert done.exit_code == 5  # one call is made to see whether it answers at all
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "no model"),
        (("-m", "openai/m", "--rate", "1", "--concurrency", "1"), "one of them"),
        (("-m", "openai/m", "--rate", "fast"), "no number"),
        (("-m", "openai/m", "--find-rate", "1:8"), "needs an objective"),
        (("-m", "openai/m", "--find-rate", "8", "--slo", "total=1s"), "LOW:HIGH"),
        (("-m", "openai/m", "--slo", "speed=1s"), "no part of an objective"),
        (("-m", "openai/m", "--no-stream", "--slo", "ttft=1s"), "streamed"),
        (("-m", "openai/m", "--retries", "3"), "--through-pipeline"),
        (("-m", "openai/m", "--rate", "1", "--think", "1"), "--think"),
        (("-m", "openai/m", "--arrivals", "constant", "--rate", "1", "--burstiness", "2"), "--burstiness"),
        (("-m", "openai/m", "--concurrency", "9", "--max-in-flight", "8"), "9 callers"),
        (("-m", "openai/m", "--beside", "nobody"), "nobody"),
        (("-m", "openai/m", "--beside-key-env", "X"), "--beside"),
        (("-m", "openai/m", "--beside", "http://127.0.0.1:1", "--beside-key-env", "NOT_SET"), "NOT_SET"),
        (("-m", "openai/m", "--input-tokens", "many"), "no length"),
        (("-m", "openai/m", "--dataset", "nowhere.jsonl"), "nowhere.jsonl"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_asked(
    words: tuple[str, ...], why: str, invoke: Invoke, configured: SimulatorThread
) -> None:
    done = invoke("bench", "load", *words, *QUICK)
    assert done.exit_code in (2, 3), done.stderr
    assert why in done.stderr
    assert configured.requests == []


def test_ctrl_c_keeps_what_was_measured(configured: SimulatorThread, home: Path) -> None:
    words = ("-m", "openai/m", "--concurrency", "2", "--duration", "600", "--json", *QUICK)
    with started("bench", "load", *words) as process:
        until(lambda: len(configured.requests) >= 50)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert b"Stopped before its end" in err
    assert Session.of(json.loads(out)).find("calls")[0].values[0] >= 40


def test_an_address_with_a_secret_in_it(invoke: Invoke, sim: SimulatorThread) -> None:
    """It is no address that can be used; and what is said of that does not hold it."""
    for address in (f"{sim.url}?token={KEY}", sim.url.replace("//", f"//me:{KEY}@")):
        done = invoke("bench", "load", "--url", address, "-m", "m", "--requests", "2", *QUICK)
        assert done.exit_code in (2, 5), done.stderr


def test_the_help_has_its_sections() -> None:
    done = run("bench", "load", "--help")
    assert done.returncode == 0
    for title in ("Target:", "Requests:", "Arrivals:", "How much:", "What is good:", "Examples:"):
        assert title in done.stdout


def test_tables_of_a_session() -> None:
    session = load_session(rates=(2, 8), calls=310)
    found = list(rows(session))
    assert [row[:2] for row in found] == [("llvm A", "2/s"), ("llvm B", "2/s"), ("llvm A", "8/s"), ("llvm B", "8/s")]
    column = dict(zip(COLUMNS, found[0], strict=True))
    assert column["calls"] == "620"
    assert column["failed"] == "6"
    assert column["first p99"].endswith(" ms")
    few = dict(zip(COLUMNS, next(rows(load_session(rates=(2,), calls=100))), strict=True))
    assert few["first p99"] == "few"
    assert limits(session) == [
        "llvm A: 2 requests/s keep to ttft=250ms in 0.99 of calls, 8 do not.",
        "llvm B: 2 requests/s keep to ttft=250ms in 0.99 of calls, 8 do not.",
    ]
    pairs = {(load, figure): text for load, figure, text in comparisons(session)}
    assert pairs["2/s", "first token"].startswith("llvm A: 2.0")
    text = markdown(session)
    assert "| llvm B | 8/s | 620 |" in text
    assert "- llvm A: 2 requests/s keep to" in text
