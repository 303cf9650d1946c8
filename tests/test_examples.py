"""The programs in examples/ run as they are; simulators and a store on this machine stand for the services."""

from __future__ import annotations

import contextlib
import logging
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import SimulatorThread
from tests.conftest import ROOT
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Peer, store

#: Those that are older, with their own tests: in tests/api_backends/test_example.py, tests/gateway/test_config.py.
ELSEWHERE = {"quickstart_openai"}
SERVICES = {
    "claude": ("anthropic", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    "gemini": ("gemini", "GOOGLE_BASE_URL", "GOOGLE_API_KEY"),
    "ollama": ("ollama", "OLLAMA_API_URL", ""),
    "ovms": ("ovms", "OVMS_API_URL", ""),
    "hf_tgi": ("tgi", "TGI_URL", ""),
    "llvm": ("openai", "LLVM_API_ENDPOINT", ""),
}


def run(name: str, *words: str, **given: Any) -> None:
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](*words, **given)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with store(tmp_path_factory.mktemp("moto")) as made:
        yield made


@contextlib.contextmanager
def simulated(backend: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[SimulatorThread]:
    service, address, key = SERVICES[backend]
    with SimulatorThread(service, **options) as simulator:
        monkeypatch.setenv(address, simulator.url)
        if key:
            monkeypatch.setenv(key, "sk-1")
        yield simulator


def test_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    run("library")
    printed = capsys.readouterr().out
    assert "after two failures: 3 attempts" in printed
    assert "at once: 20 answers, 5 at a time" in printed


def test_everyone_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    run("ask_everyone", "--simulated")
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {
        "openai", "claude", "groq", "gemini", "ollama", "hf_tgi", "llvm", "ovms", "opea",
    }  # fmt: skip
    assert all("tokens: " in line for line in lines), lines


def test_those_that_are_configured_are_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("ask_everyone")
    assert "nothing is configured" in capsys.readouterr().out
    with simulated("gemini", monkeypatch, api_keys=["another"]), simulated("claude", monkeypatch) as simulator:
        run("ask_everyone", "Why", "is", "it", "so?")
        assert simulator.requests[0].body["messages"][0]["content"] == "Why is it so?"
    lines = sorted(capsys.readouterr().out.splitlines())
    assert lines[0].startswith("claude")
    assert lines[1].startswith("gemini   AuthenticationError")


@pytest.mark.parametrize("backend", ["", *SERVICES])
def test_an_agent(backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if not backend:
        run("agent")
    else:
        with simulated(backend, monkeypatch) as simulator:
            run("agent", f"{backend}/m-1")
            assert len(simulator.requests) == 2
    printed = capsys.readouterr().out
    assert printed.count("calls:  get_temperature {") == 1
    answer = printed.partition("answer:")[2].strip()
    assert answer


def test_a_router(capsys: pytest.CaptureFixture[str]) -> None:
    run("router")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[2].strip() for line in lines if ":" in line] == [
        "openai/gpt-4o, 1 attempt",
        "claude/claude-sonnet-4-5, 4 attempts",
        "llama3.2, 20 words",
        "CircuitOpen; then claude/claude-sonnet-4-5: ReadTimeout (200), ollama/llama3.2: RateLimited (429)",
        "openai claude openai claude",
        "1 target",
    ]


def test_models_on_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the [local] extra is not installed")
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    for name in ("bert", "gpt2"):
        write_tiny(name, tmp_path / name)
    run("local_models", str(tmp_path))
    printed = capsys.readouterr().out
    assert "bert: bert, fill-mask, " in printed
    assert "  Fills(masks=[[Fill(" in printed
    assert "  Text(text=" in printed


def test_production(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])  # the program logs to the terminal, as programs do
    run("production")
    said = dict(re.findall(r"^([a-z][a-z ]+): +(.*)$", printed := capsys.readouterr().out, re.MULTILINE))
    assert said["asked"] == "openai/gpt-4o, 0.000230 USD"
    assert said["asked again"] == "the cache (exact), 0.000000 USD"
    assert said["eight at once"] == "1 call"
    assert said["the first is down"] == "claude/claude-sonnet-4-5, 0.000339 USD"
    assert said["the next is slow"] == "20 words of llama3.2"
    assert said["over its budget"].startswith("call 3. Budget 'tenant:globex/day'")
    assert said["over its limit"].startswith("Limit 'tenant:batch'")
    assert "CRITICAL: breaker_open" in said["the log"]
    assert said["the report"].startswith("17 calls, 2 refused, ")
    rows = [line.split() for line in printed.splitlines() if line.startswith("  ") and "calls," in line]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("acme", "claude-sonnet-4-5", "1"),
        ("acme", "gpt-4o", "10"),
        ("acme", "llama3.2", "1"),
        ("batch", "llama3.2", "1"),
        ("batch", "smart", "1"),
        ("globex", "gpt-4o", "2"),
        ("globex", "smart", "1"),
    ]


def test_models_in_a_store(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.empty()
    given = {
        "S3_ENDPOINT": peer.url,
        "S3_ACCESS_KEY": ACCESS_KEY,
        "S3_SECRET_KEY": SECRET_KEY,
        "S3_BUCKET": BUCKET,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "sub" / "weights.bin").write_bytes(bytes(1000))
    run("model_storage", str(model), "team/tiny", "2.0")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "stored:  team/tiny 2.0, 2 files, 1002 bytes"
    assert printed[1].startswith("again:   0 sent")
    assert printed[2] == "models:  ['team/tiny 2.0']"
    assert printed[3] == "fetched: the same"
    assert printed[4].startswith("refused: ")
    assert printed[5].startswith(f"to share for ten minutes: {peer.url}")


def test_anthropics_client(capsys: pytest.CaptureFixture[str]) -> None:
    run("anthropic_sdk")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "openai/gpt-4o",
        "openai/gpt-4o, streamed",
        "gemini/gemini-2.5-flash",
        "gemini/gemini-2.5-flash, streamed",
    ]
    assert all(line.partition(": ")[2] for line in lines)


def test_a_server_under_load(capsys: pytest.CaptureFixture[str]) -> None:
    run("load", seconds=0.8)
    printed = capsys.readouterr().out
    assert "| llvm | 10/s | " in printed
    assert printed.splitlines()[-1].startswith("in short: llvm: ")


def test_every_example_is_run() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert {name for name in names - ELSEWHERE if f'run("{name}"' not in source} == set()
