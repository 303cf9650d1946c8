"""What README.md shows runs as it is written; only keys and addresses come from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_accelerate_py.gateway import GatewayServer, load_config
from ipfs_accelerate_py.simulator import SimulatorThread
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PROGRAM = Path(sys.executable).with_name("ipfs-accelerate")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", chunk_interval=0.0) as running:
        yield running


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_runs(simulator: SimulatorThread, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAMS[number]
    monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    environment = dict(os.environ)
    if "127.0.0.1:8000" in program:
        if "MiniLM" in program:
            pytest.importorskip("torch")
        with GatewayServer(load_config(), port=0) as gateway:
            program = program.replace("http://127.0.0.1:8000", gateway.url.removesuffix("/v1"))
            done = run(program, environment)
    else:
        done = run(program, environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if "print(" in program:
        assert done.stdout.strip()


def run(program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_gateways_configuration_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "gateway.yaml").write_text(shown)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-environment")
    monkeypatch.setenv("GATEWAY_KEY", "sk-gateway")
    config = load_config(tmp_path / "gateway.yaml")
    assert [model.name for model in config.models] == ["embeddings"]
    assert [alias.name for alias in config.aliases] == ["gpt-4o", "spare"]
    assert config.warnings == ()


def test_every_command_of_the_command_line_is_one(tmp_path: Path) -> None:
    commands = re.findall(r"^\$ ipfs-accelerate (\w+)((?: --?[\w-]+)*)", README, re.MULTILINE)
    known = {
        "batch",
        "chat",
        "check",
        "config",
        "embed",
        "models",
        "serve",
        "simulate",
        "usage",
        "matrix",
        "bench",
        "tests",
    }
    assert {name for name, _ in commands} == known
    for name, _ in commands:
        helped = subprocess.run([PROGRAM, name, "--help"], capture_output=True, text=True, timeout=300, check=False)
        assert helped.returncode == 0, helped.stderr


def test_every_make_target_is_one() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [
        ROOT / name for name in ("README.md", "CONTRIBUTING.md", *(f"docs/{page}.md" for page in ("development",)))
    ]
    for page in pages:
        assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_links_lead_somewhere() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "check_links.py")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
