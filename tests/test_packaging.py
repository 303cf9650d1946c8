"""What a user gets who installs this: a small set of distributions that work by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tests.conftest import PERSONAL, ROOT

MOST_DISTRIBUTIONS = 12
MOST_MEGABYTES = 44


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """pip as whoever runs the tests has configured it, and on the network: packages come from an index."""
    environment = {**PERSONAL, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pip", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building writes into the source folder."""
    source = tmp_path_factory.mktemp("source")
    there = pip("download", "--no-deps", "--dest", str(source / "probe"), "setuptools>=77")
    if there.returncode != 0:
        reason = there.stderr.strip().splitlines()[-1:] or ["no pip here"]
        pytest.skip(f"no package index to build and install from: {reason[0]}")
    shutil.copytree(ROOT / "ipfs_accelerate_py", source / "ipfs_accelerate_py")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = pip("wheel", "--no-deps", "--wheel-dir", str(source / "dist"), str(source))
    assert built.returncode == 0, built.stderr
    (found,) = (source / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with this package, what it needs, and nothing else (no pip either)."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=os.name == "posix")
    done = pip("--python", str(folder / "bin" / "python"), "install", str(wheel))
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


def test_the_base_installation_is_small(installed: Path) -> None:
    (packages,) = installed.glob("lib/python*/site-packages")
    sizes = {name_of(each): size(each) for each in distributions(path=[str(packages)])}
    total = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file()) / 1e6
    for name, megabytes in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{megabytes:8.2f} MB  {name}")
    print(f"{total:8.2f} MB  {len(sizes)} distributions, with byte code")
    assert len(sizes) <= MOST_DISTRIBUTIONS
    assert total <= MOST_MEGABYTES


def run(installed: Path, cwd: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(installed / "bin" / program), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_line_works_by_itself(installed: Path, tmp_path: Path) -> None:
    asked = run(installed, tmp_path, "ipfs-accelerate", "--help")
    assert asked.returncode == 0, asked.stderr
    assert "serve" in asked.stdout


def test_a_missing_extra_is_named_by_the_library(installed: Path, tmp_path: Path) -> None:
    program = "from ipfs_accelerate_py import Client\nClient('local').embed('all-MiniLM-L6-v2', ['a'])"
    refused = run(installed, tmp_path, "python", "-c", program)
    assert refused.returncode == 1
    assert "MissingExtra" in refused.stderr
    assert "ipfs-accelerate-py[local" in refused.stderr


@pytest.mark.parametrize("arguments", [["serve"], ["config", "check", "gateway.yaml"]])
def test_a_missing_extra_is_named_by_the_command_line(installed: Path, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "gateway.yaml").write_text("model_list: []\n")
    refused = run(installed, tmp_path, "ipfs-accelerate", *arguments)
    assert refused.returncode not in {0, 1}
    assert 'pip install "ipfs-accelerate-py[gateway]"' in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_wheel_holds_the_package_and_no_more(wheel: Path) -> None:
    from zipfile import ZipFile

    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        described = archive.read(metadata).decode()
    assert {"ipfs_accelerate_py/py.typed", "ipfs_accelerate_py/credentials.template"} <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"ipfs_accelerate_py"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in described
    assert "torch==" not in described  # a pin is for constraints.txt


def name_of(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"])


def size(distribution: Distribution) -> float:
    """Megabytes of a distribution's files, byte code included."""
    found = (Path(str(distribution.locate_file(file))) for file in distribution.files or ())
    return sum(file.stat().st_size for file in found if file.is_file()) / 1e6
