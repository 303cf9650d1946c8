"""``batch``: handed in, looked at, fetched and ended from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.batch_jobs import job as jobs
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.cli.conftest import Invoke
from tests.cli.program import on_terminal


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_FIRST_LOOK", 0.001)


def requests_file(folder: Path, count: int = 4, name: str = "in.jsonl", **more: Any) -> Path:
    lines = [{"custom_id": f"q{n}", "messages": f"question {n}", **more} for n in range(count)]
    path = folder / name
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return path


def told(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


def test_from_beginning_to_end(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    requests_file(home)
    result = invoke("batch", "submit", "in.jsonl", "-m", "openai/gpt-4o")
    assert result.exit_code == 0, result.stderr
    found = told(result.stdout)
    assert (found["status"], found["via"], found["total"]) == ("validating", "provider", "4")
    assert found["manifest"] == "in.jsonl.job.json"
    # The same command hands in nothing more.
    assert told(invoke("batch", "submit", "in.jsonl", "-m", "openai/gpt-4o").stdout) == found
    assert sum(r.method == "POST" and r.path.endswith("/batches") for r in configured.requests) == 1
    looked = json.loads(invoke("--json", "batch", "status", "in.jsonl.job.json").stdout)
    assert (looked["status"], looked["completed"], looked["provider_ids"]) == (
        "in_progress",
        2,
        found["provider_ids"].split(", "),
    )
    result = invoke("batch", "results", "in.jsonl.job.json", "--output", "out.jsonl")
    assert (result.exit_code, result.stderr) == (0, "4 results in out.jsonl, 0 of them errors\n")
    lines = [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]
    assert [(line["index"], line["custom_id"]) for line in lines] == [(n, f"q{n}") for n in range(4)]
    assert all(line["text"] and line["usage"]["tier"] == "batch" for line in lines)
    assert "is there already" in invoke("batch", "results", "in.jsonl.job.json", "--output", "out.jsonl").stderr
    by_id = invoke("batch", "results", looked["provider_ids"][0], "--backend", "openai")
    assert [json.loads(line)["text"] for line in by_id.stdout.splitlines()] == [line["text"] for line in lines]


def test_waited_for_on_a_terminal(configured: SimulatorThread, home: Path) -> None:
    requests_file(home)
    configured.always(Fault.latency(0.2))
    with on_terminal("batch", "submit", "in.jsonl", "-m", "openai/gpt-4o", "--wait", "--via", "calls",
                     "--concurrency", "1") as shown:  # fmt: skip
        assert shown.end() == 0
        assert "2/4" in shown.text
        assert "completed" in shown.text
    with on_terminal("batch", "results", "in.jsonl.job.json", "-q") as shown:
        assert shown.end() == 0
        assert shown.text.count('"custom_id"') == 4


def test_by_calls(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    requests_file(home, 6, model="small", temperature="hot")
    result = invoke("batch", "submit", "in.jsonl", "--backend", "openai", "--via", "calls", "--retries", "0")
    found = told(result.stdout)
    assert (found["status"], found["failed"]) == ("completed", "6")
    result = invoke("batch", "results", "in.jsonl.job.json")
    errors = [json.loads(line)["error"] for line in result.stdout.splitlines()]
    assert [(error["type"], error["status"]) for error in errors] == [("InvalidRequest", 400)] * 6


def test_cancelled(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    requests_file(home)
    invoke("batch", "submit", "in.jsonl", "-m", "openai/gpt-4o", "--manifest", "job.json")
    assert told(invoke("batch", "cancel", "job.json").stdout)["status"] == "cancelling"
    assert told(invoke("batch", "status", "job.json").stdout)["status"] == "cancelled"
    lines = invoke("batch", "results", "job.json").stdout.splitlines()
    assert [json.loads(line)["error"]["code"] for line in lines] == ["batch_cancelled"] * 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1 of in.jsonl is not JSON"),
        ("[]", "line 1 of in.jsonl is no JSON object"),
        ('{"messages": "x"}', "request 1 of the batch names no model"),
        ("", "no requests"),
    ],
)
def test_wrong_requests(configured: SimulatorThread, invoke: Invoke, home: Path, text: str, says: str) -> None:
    (home / "in.jsonl").write_text(text)
    result = invoke("batch", "submit", "in.jsonl", "--backend", "openai")
    assert result.exit_code == 2
    assert says in result.stderr
    assert configured.requests == []
    assert not (home / "in.jsonl.job.json").exists()


def test_wrong_use(configured: SimulatorThread, invoke: Invoke, home: Path) -> None:
    assert "need --manifest" in invoke("batch", "submit", "-", input="{}").stderr
    assert "cannot be read" in invoke("batch", "submit", "none.jsonl", "-m", "openai/m").stderr
    assert "no manifest" in invoke("batch", "status", "./none.json", "--backend", "openai").stderr
    configured.always(Fault.status(404, message="No such batch"))
    assert "No such batch" in invoke("batch", "status", "batch_1", "--backend", "openai").stderr
