"""The cache on disk: whole entries only, one builder at a time, the oldest goes first."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.runtimes.engines.artifacts import Artifacts


def _write(text: str, count: list[int] | None = None) -> Any:
    def build(folder: Path) -> Mapping[str, Any]:
        if count is not None:
            count.append(1)
        (folder / "graph.bin").write_text(text)
        return {"text": text}

    return build


def test_is_built_once_and_then_found(tmp_path: Path) -> None:
    store, count = Artifacts("kind", tmp_path), list[int]()
    with store.entry("k", _write("one", count)) as first:
        assert first.built
    with store.entry("k", _write("two", count)) as second:
        assert not second.built
        assert second.facts == {"text": "one"}
        assert (second.folder / "graph.bin").read_text() == "one"
    assert len(count) == 1


@pytest.mark.parametrize("harm", ["changed", "cut", "gone", "no manifest", "no json", "json of another shape"])
def test_a_corrupt_entry_is_built_again(tmp_path: Path, harm: str) -> None:
    store = Artifacts("kind", tmp_path)
    with store.entry("k", _write("one")) as entry:
        file, manifest = entry.folder / "graph.bin", entry.folder / "entry.json"
    if harm == "changed":
        file.write_text("eno")
    elif harm == "cut":
        file.write_text("on")
    elif harm == "gone":
        file.unlink()
    elif harm == "no manifest":
        manifest.unlink()
    elif harm == "no json":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps({"files": [1]}))
    assert store.read("k") is None
    with store.entry("k", _write("two")) as again:
        assert again.built
        assert (again.folder / "graph.bin").read_text() == "two"


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = Artifacts("kind", tmp_path)

    def fail(folder: Path) -> Mapping[str, Any]:
        (folder / "half").write_text("x")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"), store.entry("k", fail):
        pass
    assert [each.name for each in (tmp_path / "kind").iterdir()] == ["locks"]


def test_over_the_limit_the_one_used_longest_ago_goes(tmp_path: Path) -> None:
    store = Artifacts("kind", tmp_path, limit=20_000)
    for at, key in enumerate(("a", "b", "c")):
        with store.entry(key, _write("x" * 4000)) as entry:
            os.utime(entry.folder / "entry.json", (at, at))
    assert store.read("a") is None
    with store.entry("b", _write("never")) as found:
        assert not found.built


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    store = Artifacts("kind", tmp_path, limit=1)
    with store.entry("a", _write("x" * 100)) as held:
        with store.entry("b", _write("y" * 100)):
            pass
        assert (held.folder / "graph.bin").exists()


def _child(root: str, go: Any, told: Any) -> None:
    def build(folder: Path) -> Mapping[str, Any]:
        (folder / "who").write_text(str(os.getpid()))
        return {}

    go.wait()
    with Artifacts("kind", Path(root)).entry("k", build) as entry:
        told.put((entry.built, (entry.folder / "who").read_text()))


def test_of_several_processes_one_builds(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    go, told = fork.Event(), fork.Queue()
    children = [fork.Process(target=_child, args=(str(tmp_path), go, told)) for _ in range(3)]
    for child in children:
        child.start()
    go.set()
    found = [told.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert sorted(built for built, _ in found) == [False, False, True]
    assert len({who for _, who in found}) == 1


def test_limit_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPFS_ACCELERATE_CACHE_LIMIT", "2G")
    assert Artifacts("kind", tmp_path).limit == 2 << 30
    monkeypatch.setenv("IPFS_ACCELERATE_CACHE_LIMIT", "much")
    with pytest.raises(ConfigurationError, match="IPFS_ACCELERATE_CACHE_LIMIT"):
        Artifacts("kind", tmp_path)
