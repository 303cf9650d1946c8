"""The walls of the house stand where docs/architecture.md says; pyproject.toml has them as contracts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = "ipfs_accelerate_py"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package that lies in ``root``."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},  # this one, and not the one that is installed
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_contracts_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("errors", "import ipfs_accelerate_py.settings, ipfs_accelerate_py.client", "Layers"),
        ("pipeline/retry", "import ipfs_accelerate_py.dialects.openai.dialect", "Layers"),
        ("simulator/wire", "import ipfs_accelerate_py.gateway", "Layers"),
        ("an_unknown_room", "", "Layers"),
        ("simulator/wire", "import ipfs_accelerate_py.framing", "The simulator"),
        ("cli/__init__", "import ipfs_accelerate_py.api_backends", "the older API"),
        ("backends/http", "def late():\n    import aiohttp", "an HTTP client"),
        ("gateway/__init__", "import torch", "machine-learning"),
        ("client", "import starlette", "a web framework"),
        ("gateway/__init__", "import rich.table", "draws on terminals"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(ROOT / PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / PACKAGE / f"{module}.py").open("a") as file:
        file.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = re.findall(r"(.+?) (KEPT|BROKEN)(?: \(\d+ ignored imports?\))?", " ".join(done.stdout.split()))
    broken = [name for name, verdict in verdicts if verdict == "BROKEN"]
    assert any(contract in name for name in broken), done.stdout
