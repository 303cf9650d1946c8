"""Results for other programs: CSV, JSON lines, DuckDB, Parquet. A row a cell, with the run that it is of."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from ipfs_accelerate_py.matrix.store import Run, Store
from ipfs_accelerate_py.runtimes.probes.results import FIGURES, Result

__all__ = ["FORMATS", "export", "rows", "write_csv", "write_json_lines"]

#: By ending of a file's name.
FORMATS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".duckdb": "duckdb",
    ".parquet": "parquet",
}
_NUMBERS = {*FIGURES, "seconds", "measured_at"}
_RUNS = {
    "id": "VARCHAR",
    "started": "DOUBLE",
    "ended": "DOUBLE",
    "label": "VARCHAR",
    "command": "VARCHAR",
    "machine": "VARCHAR",
    "versions": "VARCHAR",
    "plan": "VARCHAR",
}


def rows(store: Store, runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """`Result.plain` of every cell of these runs, planned ones that were not tried too, with ``run`` in front."""
    for run in runs:
        for result in store.results(run.id):
            yield {"run": run.id, **result.plain()}


def columns() -> dict[str, str]:
    """Columns of `rows`, with their types in SQL."""
    from ipfs_accelerate_py.runtimes.probes.results import Cell

    names = ("run", *Result(Cell("")).plain())
    return {name: "DOUBLE" if name in _NUMBERS else "VARCHAR" for name in names}


def write_csv(store: Store, runs: Sequence[Run], file: IO[str]) -> int:
    """Write rows as CSV, with a line of names; how many there were."""
    writer = csv.DictWriter(file, list(columns()), lineterminator="\n")
    writer.writeheader()
    count = 0
    for row in rows(store, runs):
        writer.writerow(row)
        count += 1
    return count


def write_json_lines(store: Store, runs: Sequence[Run], file: IO[str]) -> int:
    """Write rows as JSON, one a line; how many there were."""
    count = 0
    for row in rows(store, runs):
        file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
        count += 1
    return count


def export(store: Store, runs: Sequence[Run], path: Path, form: str = "") -> int:
    """Write rows to a file, in place of what it was; how many there were.

    A DuckDB file has the tables ``results`` and ``runs``; ``machine``, ``versions`` and ``plan`` are JSON there.

    Args:
        form: ``csv``, ``jsonl``, ``duckdb`` or ``parquet``; by the file's name where it is empty.

    Raises:
        ConfigurationError: the name says no form.
        MissingExtra: DuckDB and Parquet need the extra ``duckdb``.
    """
    form = form or FORMATS.get(path.suffix.lower(), "")
    if form not in FORMATS.values():
        raise ConfigurationError(f"{path.name} does not say what to write: it ends on none of {', '.join(FORMATS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if form in ("csv", "jsonl"):
        with path.open("w", encoding="utf-8", newline="") as file:
            return (write_csv if form == "csv" else write_json_lines)(store, runs, file)
    return _write_by_duckdb(store, runs, path, form)


def _write_by_duckdb(store: Store, runs: Sequence[Run], path: Path, form: str) -> int:
    try:
        import duckdb
    except ImportError as exc:
        raise MissingExtra(
            f"{form} files need 'duckdb', which is not installed: pip install \"ipfs-accelerate-py[duckdb]\""
        ) from exc
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        # By way of files: DuckDB takes rows one by one only slowly.
        lines = Path(folder, "results.jsonl")
        with lines.open("w", encoding="utf-8") as file:
            count = write_json_lines(store, runs, file)
        heads = Path(folder, "runs.jsonl")
        heads.write_text("".join(json.dumps(_head(run)) + "\n" for run in runs), encoding="utf-8")
        made = Path(folder, "made")
        options: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(str(made) if form == "duckdb" else ":memory:", config=options) as db:
            for table, source, types in (("results", lines, columns()), ("runs", heads, _RUNS)):
                db.execute(
                    f"CREATE TABLE {table} AS SELECT * FROM "  # noqa: S608  # one of our two names
                    "read_json($path, format = 'newline_delimited', columns = $columns)",
                    {"path": str(source), "columns": types},
                )
            if form == "parquet":
                db.execute("COPY results TO $path (FORMAT parquet, COMPRESSION zstd)", {"path": str(made)})
        made.replace(path)
    return count


def _head(run: Run) -> dict[str, Any]:
    plain = {name: getattr(run, name) for name in _RUNS}
    return {
        name: json.dumps(dict(value)) if name in ("machine", "versions", "plan") else value
        for name, value in plain.items()
    }
