"""Runs of several files in one; shards become the one run that they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.merging import merge
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.runtimes.probes.results import Cell, Result
from tests.matrix.support import MACHINE, VERSIONS, kept, measured

TYPES = ("albert", "bert", "clip", "deit", "electra")
CELLS = [cell for name in TYPES for cell in (Cell(name), Cell(name, "openvino"))]


class Files:
    """Stores of a folder, by name."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._folder, self._opened = folder, opened

    def __call__(self, name: str) -> Store:
        return self._opened.enter_context(Store(self._folder / f"{name}.sqlite"))

    def shard(self, name: str, number: int, of: int = 2, label: str = "nightly", **run: Any) -> Store:
        """A file with one shard: its types, dealt out in turns."""
        types = TYPES[number - 1 :: of]
        store = self(name)
        plan = {"sample": 0, "shard": f"{number}/{of}"}
        kept(store, [measured(cell) for cell in CELLS if cell.subject in types], label=label, plan=plan, **run)
        return store


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with ExitStack() as opened:
        yield Files(tmp_path, opened)


def state(store: Store) -> Sequence[tuple[Run, list[Result]]]:
    return [(run, store.results(run.id)) for run in store.runs()]


def test_runs_of_another_file_are_taken_over_whole(files: Files) -> None:
    one, other = files("one"), files("other")
    kept(one, [measured(CELLS[0])], label="here")
    run = kept(other, [measured(CELLS[1]), Result(CELLS[2])], label="there", ended=False)
    assert merge(one, [other]).changed == (run.id,)
    assert one.run("there") == run
    assert one.results(run.id) == other.results(run.id)
    assert one.left(run.id) == [CELLS[2]]


def test_shards_become_one_run(files: Files) -> None:
    into = files("whole")
    done = merge(into, [files.shard("a", 1), files.shard("b", 2)])
    (run,) = into.runs()
    assert done.changed == (run.id,)
    assert done.missing == {}
    assert run.label == "nightly"
    assert run.ended is not None
    assert run.plan == {"sample": 0, "shards": dict(done.shards[run.id])}
    assert [each.cell for each in into.results(run.id)] == CELLS  # in turns, as they were dealt out
    assert {each.outcome for each in into.results(run.id)} == {"ok"}


def test_merging_again_changes_nothing(files: Files) -> None:
    into, shards = files("whole"), [files.shard("a", 1), files.shard("b", 2)]
    merge(into, shards)
    before = state(into)
    assert merge(into, shards).changed == ()
    assert merge(into, []).changed == ()
    assert state(into) == before
    elsewhere = files("elsewhere")
    merge(elsewhere, shards[::-1])
    assert state(elsewhere) == before


def test_a_shard_that_comes_late_completes_the_run(files: Files) -> None:
    into = files("whole")
    first = merge(into, [files.shard("a", 1)])
    (run,) = into.runs()
    assert first.missing == {run.id: ("2/2",)}
    assert run.ended is None
    second = merge(into, [files.shard("b", 2)])
    assert second.missing == {}
    assert [each.id for each in into.runs()] == [run.id]
    assert into.run().ended is not None
    assert {each.cell for each in into.results(run.id)} == set(CELLS)


def test_a_shard_that_was_gone_on_with_brings_the_rest(files: Files) -> None:
    into, part = files("whole"), files("part")
    run = kept(part, [measured(CELLS[0]), Result(CELLS[1])], ended=False, label="x", plan={"shard": "1/2"})
    merge(into, [part])
    assert len(into.left(into.run().id)) == 1
    part.put(run.id, measured(CELLS[1]))
    merge(into, [part])
    assert into.left(into.run().id) == []


def test_the_shard_that_was_made_in_the_file_itself_is_taken_in(files: Files) -> None:
    into = files.shard("whole", 1)
    merge(into, [files.shard("b", 2)])
    (run,) = into.runs()
    assert {each.cell for each in into.results(run.id)} == set(CELLS)


def test_the_next_matrix_of_another_label_is_a_run_of_its_own(files: Files) -> None:
    into = files("whole")
    merge(into, [files.shard("a", 1), files.shard("b", 2)])
    merge(into, [files.shard("c", 1, label="tomorrow"), files.shard("d", 2, label="tomorrow")])
    assert [run.label for run in into.runs()] == ["nightly", "tomorrow"]


def test_the_same_shard_twice_is_refused(files: Files) -> None:
    into = files("whole")
    with pytest.raises(ConfigurationError, match="both shard 1/2: give each matrix a label"):
        merge(into, [files.shard("a", 1), files.shard("b", 1)])
    assert into.runs() == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"machine": {**MACHINE, "processors": 64}}, "processors 2 and 64"),
        ({"versions": {**VERSIONS, "torch": "2.14.0"}}, "torch '2.13.0' and '2.14.0'"),
    ],
)
def test_shards_measured_apart_are_joined_only_by_force(files: Files, other: dict[str, Any], said: str) -> None:
    into, shards = files("whole"), [files.shard("a", 1), files.shard("b", 2, **other)]
    with pytest.raises(ConfigurationError, match=said):
        merge(into, shards)
    assert into.runs() == []
    merge(into, shards, force=True)
    assert len(into.results(into.run().id)) == len(CELLS)
    if "machine" in other:
        assert into.run().machine not in (MACHINE, other["machine"])  # so that its times are compared with no other's
