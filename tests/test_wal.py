"""SQLite files that several processes open for the first time at the same moment."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ipfs_accelerate_py.wal import use_wal

ROOT = Path(__file__).resolve().parent.parent
#: Opens the file when it is told to; the modules are there by then.
OPEN = """
import sys
from pathlib import Path
from ipfs_accelerate_py.ledger.sqlite import SqliteStore
from ipfs_accelerate_py.pipeline.cache import DiskStore
opened = {"cache": DiskStore, "ledger": lambda path: SqliteStore(path).connect().close()}[sys.argv[1]]
print("ready", flush=True)
sys.stdin.readline()
opened(Path(sys.argv[2]))
print("opened")
"""


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)


def test_it_waits_for_who_is_in_the_file(tmp_path: Path) -> None:
    with contextlib.closing(connect(tmp_path / "a")) as other, contextlib.closing(connect(tmp_path / "a")) as ours:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            use_wal(ours, 0.0)
        leaves = threading.Timer(0.05, other.execute, ["COMMIT"])
        leaves.start()
        use_wal(ours, 10.0)
        leaves.join()
        assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("kind", ["cache", "ledger"])
def test_processes_that_make_one_file_at_once(kind: str, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, kind, str(tmp_path / "file")],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    said = [each.communicate(timeout=300) for each in processes]
    assert [out for out, _ in said] == ["opened\n"] * 4, said
