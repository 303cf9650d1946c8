"""Runs and their results, in SQLite: every run is kept, and a row is there as soon as it was found."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.matrix.schema import COLUMNS, KEY, SCHEMA, columns_of, make_tables
from ipfs_accelerate_py.runtimes.probes.results import UNTESTED, Cell, Result
from ipfs_accelerate_py.wal import use_wal

__all__ = ["Run", "Store"]

# All names in these statements are those of the schema.
_PUT = f"INSERT OR REPLACE INTO results (run, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"  # noqa: S608  # the schema's names
_PLAN = (
    "INSERT INTO planned VALUES (?, ?, ?, ?, ?, ?) "  # noqa: S608  # the schema's names
    f"ON CONFLICT (run, {KEY}) DO UPDATE SET place = excluded.place WHERE place != excluded.place"
)
_LEFT = (
    f"SELECT {KEY} FROM planned LEFT JOIN results USING (run, {KEY}) "  # noqa: S608  # the schema's names
    "WHERE run = ? AND outcome IS NULL ORDER BY place"
)


@dataclass(slots=True)
class Run:
    """One run of the matrix.

    Attributes:
        id: sortable by time.
        started, ended: seconds since 1970; ``ended`` is None while it is under way, or after it was interrupted.
        label: a name given to it.
        command: what made it.
        machine: as `describe_machine` says, without versions.
        versions: of the libraries that compute, by distribution.
        plan: what was asked for: runtimes, precisions, limits.
    """

    id: str
    started: float
    ended: float | None = None
    label: str = ""
    command: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """A file of runs. Several processes may have it open; one connection is for one thread.

    Args:
        path: made if it is not there.
        read_only: refuse to make a new file.

    Raises:
        ConfigurationError: it is no such file, or one of a newer release.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        if read_only and not self.path.exists():
            raise ConfigurationError(f"there is no matrix at {self.path}; `ipfs-accelerate matrix` makes one")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA:
                raise ConfigurationError(f"{self.path} was written by a newer release of this program")
            if not read_only:
                use_wal(self._db, 30)
                make_tables(self._db)
            self._columns = columns_of(self._db)
            if not self._columns:
                raise ConfigurationError(f"{self.path} is a database, but not one of this program's matrices")
        except sqlite3.DatabaseError as exc:
            raise ConfigurationError(f"{self.path} is not a matrix that can be read: {exc}") from exc

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- runs ----------------------------------------------------------------------------------------------------

    def begin(
        self,
        cells: Sequence[Cell],
        *,
        machine: Mapping[str, Any],
        versions: Mapping[str, str],
        plan: Mapping[str, Any],
        label: str = "",
        command: str = "",
    ) -> Run:
        """Write down a new run and the cells that it will try."""
        now = time.time()
        run = Run(
            time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + uuid.uuid4().hex[:6],
            now,
            None,
            label,
            command,
            machine,
            versions,
            plan,
        )
        with self._transaction():
            self._insert_run(run)
            self._db.executemany(
                "INSERT OR IGNORE INTO planned VALUES (?, ?, ?, ?, ?, ?)",
                [(run.id, place, *cell) for place, cell in enumerate(cells)],
            )
        return run

    def extend(self, run: str, cells: Sequence[Cell]) -> None:
        """Have a run try further cells; those that it has already stay as they are."""
        with self._transaction():
            last = self._db.execute("SELECT COALESCE(MAX(place), -1) FROM planned WHERE run = ?", (run,)).fetchone()[0]
            self._db.executemany(
                "INSERT OR IGNORE INTO planned VALUES (?, ?, ?, ?, ?, ?)",
                [(run, last + 1 + place, *cell) for place, cell in enumerate(cells)],
            )
            self._db.execute("UPDATE runs SET ended = NULL WHERE id = ?", (run,))

    def end(self, run: str) -> None:
        """Note that a run has tried all its cells."""
        self._db.execute("UPDATE runs SET ended = ? WHERE id = ?", (time.time(), run))

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        return [_run(row) for row in self._db.execute("SELECT * FROM runs ORDER BY started, id")]

    def run(self, name: str = "latest") -> Run:
        """A run by its id, the beginning of it, its label, ``latest``, or ``latest~1`` for the one before.

        Raises:
            ConfigurationError: there is none, or there are several.
        """
        runs = self.runs()
        back, _, steps = name.partition("~")
        if back == "latest":
            if not steps.isdigit() and steps:
                raise ConfigurationError(f"{name!r} is no run: after latest~ comes a number")
            at = int(steps or 0)
            if at >= len(runs):
                raise ConfigurationError(f"there is no run {name!r} in {self.path}: it has {len(runs)}")
            return runs[-1 - at]
        found = [each for each in runs if each.id == name] or [
            each for each in runs if each.label == name or each.id.startswith(name)
        ]
        if len(found) != 1:
            known = ", ".join(each.label or each.id for each in runs[-8:]) or "none"
            what = "no run" if not found else f"{len(found)} runs"
            raise ConfigurationError(f"there is {what} {name!r} in {self.path}; the last ones are: {known}")
        return found[0]

    # --- results -------------------------------------------------------------------------------------------------

    def put(self, run: str, result: Result) -> None:
        """Keep a result; it is on disk when this returns."""
        row = result.plain()
        self._db.execute(_PUT, (run, *(row[name] for name in COLUMNS)))

    def left(self, run: str) -> list[Cell]:
        """Cells of a run's plan that have no result yet, in the order of the plan."""
        return [Cell(*row) for row in self._db.execute(_LEFT, (run,))]

    def results(self, run: str, *, untested: bool = True) -> list[Result]:
        """What a run found, in the order of its plan; with ``untested``, cells without a result too."""
        results = self._results("run = ?", (run,))
        return results if untested else [each for each in results if each.outcome != UNTESTED]

    def results_of(self, run: str, subject: str) -> list[Result]:
        """The same of one subject."""
        return self._results("run = ? AND subject = ?", (run, subject))

    def _results(self, which: str, values: tuple[str, ...]) -> list[Result]:
        query = (
            f"SELECT {', '.join(self._columns)} FROM planned LEFT JOIN results USING (run, {KEY}) "  # noqa: S608  # the schema's names
            f"WHERE {which} ORDER BY place"
        )
        rows = map(dict, self._db.execute(query, values))
        return [Result.of({**row, "outcome": row["outcome"] or UNTESTED}) for row in rows]

    def series(self, runs: Sequence[str]) -> Iterator[tuple[str, Cell, dict[str, Any]]]:
        """Of these runs, each cell's outcome and times: run, cell, and the row's other columns."""
        times = [name for name in ("outcome", "latency_ms", "cpu_ms", "gauge_ms") if name in self._columns]
        query = f"SELECT run, {KEY}, {', '.join(times)} FROM results WHERE run = ?"  # noqa: S608  # the schema's names
        for run in runs:
            for row in self._db.execute(query, (run,)):
                yield run, Cell(*row[1:5]), dict(zip(times, row[5:], strict=True))

    # --- runs of other files -------------------------------------------------------------------------------------

    def planned(self, run: str) -> list[Cell]:
        """Cells of a run's plan, in its order."""
        return [
            Cell(*row)
            for row in self._db.execute(f"SELECT {KEY} FROM planned WHERE run = ? ORDER BY place", (run,))  # noqa: S608  # the schema's names
        ]

    def keep(self, run: Run, cells: Sequence[Cell], results: Iterable[Result]) -> bool:
        """Write down a run that was made elsewhere, or what is new of it; whether anything was.

        Of a result that is here already the one that was measured later stays.
        """
        before = self._db.total_changes
        with self._transaction():
            self._insert_run(run)
            self._db.execute(
                "UPDATE runs SET started = ?, ended = ?, plan = ? "
                "WHERE id = ? AND (started, ended, plan) IS NOT (?, ?, ?)",
                (*(kept := (run.started, run.ended, _json(run.plan))), run.id, *kept),
            )
            self._db.executemany(
                _PLAN,
                [(run.id, place, *cell) for place, cell in enumerate(cells)],
            )
            here = {each.cell: each.measured_at for each in self.results(run.id, untested=False)}
            for result in results:
                if result.outcome != UNTESTED and here.get(result.cell, -1.0) < result.measured_at:
                    self.put(run.id, result)
        return self._db.total_changes != before

    def forget(self, run: str) -> None:
        """Take a run out, with all it found."""
        with self._transaction():
            for table, column in (("results", "run"), ("planned", "run"), ("runs", "id")):
                self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (run,))  # noqa: S608  # the schema's names

    def _insert_run(self, run: Run) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.id,
                run.started,
                run.ended,
                run.label,
                run.command,
                *map(_json, (run.machine, run.versions, run.plan)),
            ),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value))


def _run(row: Iterable[Any]) -> Run:
    identity, started, ended, label, command, machine, versions, plan = row
    return Run(identity, started, ended, label, command, json.loads(machine), json.loads(versions), json.loads(plan))
