"""A ledger in a file of SQLite: several processes may write it, and reading never waits for writing (WAL)."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ipfs_accelerate_py.ledger.rows import NAMES, Row
from ipfs_accelerate_py.ledger.schema import TABLE, VERSIONS, is_current, migrate
from ipfs_accelerate_py.wal import use_wal

__all__ = ["SqliteStore"]

_KINDS: Final = {"text": "TEXT", "real": "REAL", "int": "INTEGER"}
#: Seconds to wait for another process that is writing.
_BUSY: Final = 5.0
_ROW: Final = f"({', '.join('?' * len(NAMES))})"
_INSERT: Final = f"INSERT INTO {TABLE} ({', '.join(NAMES)}) VALUES "  # noqa: S608


class SqliteStore:
    """A file, made when it is first connected to, for its owner's eyes alone."""

    expressions: Mapping[str, str] = {
        "month": "strftime('%Y-%m', day * 86400, 'unixepoch')",
        "hour": "CAST(started / 3600 AS INTEGER)",
        "tag": "json_extract(tags, '$.\"' || ? || '\"')",
    }
    data_errors: tuple[type[Exception], ...] = (
        sqlite3.IntegrityError,
        sqlite3.DataError,
        sqlite3.InterfaceError,
        OverflowError,
        UnicodeError,
    )

    def __init__(self, path: Path, *, full: bool = False) -> None:
        self.path = path
        self._full = full
        self.name = str(path)
        self.spill_to = path

    def connect(self) -> SqliteConnection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            use_wal(connection, _BUSY)
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._full else 'NORMAL'}")
            made = SqliteConnection(connection)
            there = made.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSIONS,))
            if not there or not is_current(made.execute):
                connection.execute("BEGIN IMMEDIATE")
                migrate(made.execute, _KINDS, self.name)
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return made


#: The most rows of one statement.
_ROWS_AT_ONCE = 128


class SqliteConnection:
    """See `stores.Connection`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        variables = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        self._rows_at_once = min(_ROWS_AT_ONCE, 1 << (max(1, variables // len(NAMES)).bit_length() - 1))

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    def insert(self, rows: Sequence[Row]) -> None:
        # One statement with many rows: SQLite works it off in one go, and other threads run meanwhile. With one
        # statement a row, each would ask for Python's lock again, and wait for a busy loop each time.
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            start, size = 0, self._rows_at_once
            while start < len(rows):
                # By powers of two: each number of rows is a statement of its own, which SQLite keeps prepared, and with
                # many rows one takes a megabyte.
                while size > len(rows) - start:
                    size //= 2
                some = rows[start : start + size]
                sql = f"{_INSERT}{', '.join([_ROW] * size)} ON CONFLICT (uid) DO NOTHING"
                connection.execute(sql, [value for row in some for value in row])
                start += size
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()
