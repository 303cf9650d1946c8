"""Tables of the store: a row a run, a row a planned cell, a row a result."""

from __future__ import annotations

import sqlite3

from ipfs_accelerate_py.runtimes.probes.results import CHECKS, FIGURES, Cell

__all__ = ["COLUMNS", "KEY", "SCHEMA", "add_columns", "columns_of", "make_tables"]

#: Of the file's ``user_version``. Checks and figures that were added since are no new schema: see `add_columns`.
SCHEMA = 1
_TEXTS = ("outcome", "model_type", "auto", *CHECKS, "failure", "reason", "cause")
_NUMBERS = (*FIGURES, "seconds", "measured_at")
#: Columns of a result, those of its cell first.
COLUMNS = (*Cell._fields, *_TEXTS, *_NUMBERS)
#: What joins a planned cell with its result, beside the run.
KEY = ", ".join(Cell._fields)

_CELL = ", ".join(f"{name} TEXT NOT NULL" for name in Cell._fields)
_TABLES = f"""
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY,
    started REAL NOT NULL,
    ended REAL,
    label TEXT NOT NULL DEFAULT '',
    command TEXT NOT NULL DEFAULT '',
    machine TEXT NOT NULL,
    versions TEXT NOT NULL,
    plan TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS planned (
    run TEXT NOT NULL REFERENCES runs (id),
    place INTEGER NOT NULL,
    {_CELL},
    PRIMARY KEY (run, {KEY})
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    run TEXT NOT NULL REFERENCES runs (id),
    {_CELL},
    {", ".join(f"{name} TEXT" for name in _TEXTS)},
    {", ".join(f"{name} REAL" for name in _NUMBERS)},
    PRIMARY KEY (run, {KEY})
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS results_of_a_subject ON results (subject);
"""


def make_tables(db: sqlite3.Connection) -> None:
    """Make what is not there yet."""
    db.executescript(_TABLES)
    add_columns(db)
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def columns_of(db: sqlite3.Connection) -> tuple[str, ...]:
    """Those of `COLUMNS` that the file has; none where it has no results at all."""
    there = {row[1] for row in db.execute("PRAGMA table_info(results)")}
    return tuple(name for name in COLUMNS if name in there)


def add_columns(db: sqlite3.Connection) -> None:
    """Give a file of an earlier release the checks and figures that came since; its rows have none there."""
    if len(columns_of(db)) == len(COLUMNS):
        return
    db.execute("BEGIN IMMEDIATE")  # another process may be doing the same
    there = columns_of(db)
    for name in COLUMNS:
        if name not in there:
            db.execute(f"ALTER TABLE results ADD COLUMN {name} {'TEXT' if name in _TEXTS else 'REAL'}")
    db.execute("COMMIT")
