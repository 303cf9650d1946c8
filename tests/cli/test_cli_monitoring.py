"""``monitoring export``: the dashboard and the rules, in a folder."""

from __future__ import annotations

import json
from pathlib import Path

from ipfs_accelerate_py.cli.monitoring import ASSETS
from tests.cli.conftest import Invoke
from tests.conftest import ROOT


def test_the_files_are_written(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "monitoring"
    done = invoke("monitoring", "export", str(folder))
    assert done.exit_code == 0
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [str(folder / name) for name in ASSETS]
    for name in ASSETS:
        assert (folder / name).read_bytes() == (ROOT / "ipfs_accelerate_py/telemetry/assets" / name).read_bytes()
    json.loads((folder / "grafana.json").read_text())


def test_files_that_are_there_are_left_alone(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text("mine")
    done = invoke("monitoring", "export", str(tmp_path))
    assert done.exit_code == 2
    assert "--force" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.yml"]
    assert (tmp_path / "alerts.yml").read_text() == "mine"
    assert invoke("monitoring", "export", str(tmp_path), "--force", "--json").exit_code == 0
    assert (tmp_path / "alerts.yml").read_text() != "mine"


def test_a_folder_that_cannot_be_made(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = invoke("monitoring", "export", str(tmp_path / "file"))
    assert done.exit_code == 2
    assert "file" in done.stderr


def test_all_files_of_the_package_are_exported() -> None:
    assert sorted(ASSETS) == sorted(path.name for path in (ROOT / "ipfs_accelerate_py/telemetry/assets").iterdir())
