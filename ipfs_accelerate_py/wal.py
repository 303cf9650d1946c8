"""SQLite's write-ahead log, switched on in a file that several processes may open at the same moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

__all__ = ["use_wal"]

#: Seconds between two attempts.
_PAUSE = 0.005


def use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Set the journal's mode, which is the file's and not the connection's, waiting ``patience`` seconds at most.

    Who changes it has to be alone in the file for a moment, and SQLite does not wait for that by itself, whatever the
    connection's time limit is. Raises ``sqlite3.OperationalError``.
    """
    import sqlite3

    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)
        else:
            return
