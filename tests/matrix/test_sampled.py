"""A sampled run of the real matrix, held against the one that is committed: what was ok there is ok here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from ipfs_accelerate_py.matrix.diff import diff
from ipfs_accelerate_py.matrix.gate import regressions
from ipfs_accelerate_py.matrix.plan import make_plan
from ipfs_accelerate_py.matrix.running import begin, describe, run_cells
from ipfs_accelerate_py.matrix.store import Store
from ipfs_accelerate_py.runtimes.probes.isolation import Limits
from ipfs_accelerate_py.runtimes.probes.results import OK
from tests.conftest import ROOT

COMMITTED = ROOT / "bench" / "results" / "matrix.sqlite"
#: Of a sample whose types are light.
SEED = 3
#: What decides whether a type runs; other versions have other types.
DECIDING = ("torch", "transformers", "openvino")


@pytest.mark.skipif(find_spec("openvino") is None, reason="the [openvino] extra is not installed")
def test_a_sample_of_all_types_does_what_the_committed_run_says(tmp_path: Path) -> None:
    _, versions = describe()
    with Store(COMMITTED, read_only=True) as known, Store(tmp_path / "m.sqlite") as store:
        before = known.run()
        changed = [name for name in DECIDING if versions.get(name) != before.versions.get(name)]
        if changed:
            pytest.skip(f"the committed run is of other versions of {', '.join(changed)}: make matrix makes a new one")
        plan = make_plan(runtimes=("torch", "openvino"), precisions=("float32",), devices=("cpu",), sample=8, seed=SEED)
        made, _ = begin(store, plan)
        rows = list(run_cells(store, made, Limits(jobs=2, timeout=300), seconds=0))
        assert sorted(each.cell for each in rows) == sorted(plan.cells)
        assert sum(each.outcome == OK for each in rows) >= 8
        found = diff(store, before, store.run(), other=known)
        assert found.compared >= len(plan.cells)
        counted, _ = regressions(found, kinds=("broke", "lost", "fails anew"))
        assert [change.line for change in counted] == []
