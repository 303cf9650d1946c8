"""Answers in a file: they survive a restart, and several processes may use the file at once.

SQLite in WAL mode, driven by one thread, so that the loop never waits for a disk. A process that is killed in the
midst of a write leaves the file as it was before that write.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.forks import generation
from ipfs_accelerate_py.pipeline.cache.stores import Pattern
from ipfs_accelerate_py.wal import use_wal

__all__ = ["DiskStore"]

#: "IACa" in SQLite's header: a file that has another one belongs to somebody else.
APPLICATION_ID = 0x49414361
VERSION = 1
#: What may wait to be written, in bytes; beyond it answers are not kept.
MOST_WAITING = 32 << 20
#: How long another process's write is waited for, in seconds.
_BUSY = 1.0
#: What an entry takes beside name and value: its row, and its places in the two indexes.
ROW_OVERHEAD = 200
#: The total is kept by triggers: several processes add and delete, and each must know when the file is full.
_SCHEMA = (
    "CREATE TABLE entries (name TEXT PRIMARY KEY, value BLOB NOT NULL, size INTEGER NOT NULL, expires REAL, "
    "used REAL NOT NULL)",
    "CREATE INDEX by_use ON entries (used)",
    "CREATE INDEX by_expiry ON entries (expires) WHERE expires IS NOT NULL",
    "CREATE TABLE total (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL, entries INTEGER NOT NULL)",
    "INSERT INTO total VALUES (1, 0, 0)",
    "CREATE TRIGGER added AFTER INSERT ON entries BEGIN "
    "UPDATE total SET bytes = bytes + new.size, entries = entries + 1; END",
    "CREATE TRIGGER removed AFTER DELETE ON entries BEGIN "
    "UPDATE total SET bytes = bytes - old.size, entries = entries - 1; END",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
#: Connections that a forked child found: SQLite must not even close what belongs to the parent.
_parents: list[sqlite3.Connection] = []


class DiskStore:
    """``path`` is a file; its folder must be there. At most ``max_bytes`` of answers are kept in it, least recently
    used first to go. (The file itself can be larger by what SQLite keeps for reuse; it does not grow beyond that.)

    Raises `ConfigurationError` where the file cannot be opened, or is none of ours.
    """

    name = "disk"
    immediate = False

    def __init__(self, path: str | Path, max_bytes: int = 1 << 30, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self._clock = clock
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None
        self._generation = generation()
        self._failed: Callable[[BaseException], None] = lambda error: None
        self._waiting = 0
        self._writes: set[Future[None]] = set()
        #: When entries were last asked for, to be written with the next write: a look-up that writes would be slow.
        self._touched: dict[str, float] = {}
        self._seen = {"entries": 0, "bytes": 0}
        self.evictions = 0
        self.dropped = 0
        self._open().close()  # a wrong path is told of here, and not by a counter
        self._connection = None

    def on_failure(self, failed: Callable[[BaseException], None]) -> None:
        """Whom to tell of a write that failed; called on the loop's side or the thread's."""
        self._failed = failed

    # --- the loop's side -----------------------------------------------------------------------------------------

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = await self._run(self._get, list(names))
        return found

    def put(self, name: str, value: bytes, ttl: float | None) -> bool:
        size = len(name) + len(value) + ROW_OVERHEAD
        if size > self.max_bytes:
            return False
        if self._waiting + size > MOST_WAITING:
            self.dropped += 1
            return False
        now = self._clock()
        self._waiting += size
        write = self._thread().submit(self._put, name, value, size, None if ttl is None else now + ttl, now)
        self._writes.add(write)
        write.add_done_callback(functools.partial(self._written, size))
        return True

    async def clear(self, pattern: Pattern) -> int:
        count: int = await self._run(self._clear, pattern.glob())
        return count

    async def names(self, pattern: Pattern) -> list[str]:
        found: list[str] = await self._run(self._names, pattern.glob())
        return found

    async def flush(self) -> None:
        for write in list(self._writes):
            with contextlib.suppress(Exception):  # told of by `_written`
                await asyncio.wrap_future(write)

    def snapshot(self) -> dict[str, Any]:
        """``entries`` and ``bytes`` as of this process's last write or look at the file."""
        return {**self._seen, "max_bytes": self.max_bytes, "evictions": self.evictions, "dropped": self.dropped}

    async def aclose(self) -> None:
        if self._executor is None or self._generation != generation():
            return
        executor, self._executor = self._executor, None
        with contextlib.suppress(sqlite3.Error):  # when an entry was last used is worth no complaint
            await asyncio.wrap_future(executor.submit(self._close))
        await asyncio.to_thread(executor.shutdown)

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.wrap_future(self._thread().submit(work, *arguments))

    def _thread(self) -> ThreadPoolExecutor:
        if self._generation != generation():
            self._generation = generation()
            self._executor = None
            if self._connection is not None:
                _parents.append(self._connection)
            self._connection = None
            self._waiting = 0
            self._writes = set()
            self._touched = {}
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="cache_disk")
        return self._executor

    def _written(self, size: int, write: Future[None]) -> None:
        self._waiting -= size
        self._writes.discard(write)
        if not write.cancelled() and (error := write.exception()) is not None:
            self._failed(error)

    # --- the thread's side ---------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        try:
            connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                with self._transaction(connection):
                    self._create(connection)
                use_wal(connection, _BUSY)
                connection.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise ConfigurationError(f"the cache's file {self.path} cannot be used: {error}") from None
        self._connection = connection
        self._look(connection)
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        """Make the tables where there are none. Raises `ConfigurationError` for a file that is somebody else's.

        In one transaction with the look, for another process may be about to do the same.
        """
        [owner] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            for statement in _SCHEMA:
                connection.execute(statement)
        elif (owner, version) != (APPLICATION_ID, VERSION):
            raise ConfigurationError(
                f"{self.path} is a database, but none of this cache's (version {VERSION}): name another file"
            )

    def _look(self, connection: sqlite3.Connection) -> None:
        [kept, entries] = connection.execute("SELECT bytes, entries FROM total").fetchone()
        self._seen = {"entries": entries, "bytes": kept}

    def _get(self, names: list[str]) -> list[bytes | None]:
        connection = self._open()
        now = self._clock()
        found: list[bytes | None] = []
        for name in names:
            row = connection.execute(
                "SELECT value FROM entries WHERE name = ? AND (expires IS NULL OR expires > ?)", (name, now)
            ).fetchone()
            found.append(None if row is None else row[0])
            if row is not None:
                self._touched[name] = now
        if len(self._touched) > 1000:
            with self._transaction(connection):
                self._touch(connection)
        return found

    def _put(self, name: str, value: bytes, size: int, expires: float | None, now: float) -> None:
        connection = self._open()
        with self._transaction(connection):
            self._touch(connection)
            # Not REPLACE: its deletion goes past the trigger.
            connection.execute("DELETE FROM entries WHERE name = ?", (name,))
            connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (name, value, size, expires, now))
            [kept] = connection.execute("SELECT bytes FROM total").fetchone()
            if kept > self.max_bytes:
                self._make_room(connection, now)
            self._look(connection)

    def _make_room(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM entries WHERE expires <= ?", (now,))
        [kept] = connection.execute("SELECT bytes FROM total").fetchone()
        oldest = connection.execute("SELECT name, size FROM entries ORDER BY used")
        leaving = []
        while kept > self.max_bytes and (row := oldest.fetchone()) is not None:
            leaving.append((row[0],))
            kept -= row[1]
        oldest.close()
        connection.executemany("DELETE FROM entries WHERE name = ?", leaving)
        self.evictions += len(leaving)

    def _touch(self, connection: sqlite3.Connection) -> None:
        touched, self._touched = self._touched, {}
        connection.executemany(
            "UPDATE entries SET used = ? WHERE name = ?", [(used, name) for name, used in touched.items()]
        )

    def _clear(self, glob: str) -> int:
        connection = self._open()
        with self._transaction(connection):
            count = connection.execute("DELETE FROM entries WHERE name GLOB ?", (glob,)).rowcount
            self._look(connection)
        return count

    def _names(self, glob: str) -> list[str]:
        rows = self._open().execute(
            "SELECT name FROM entries WHERE name GLOB ? AND (expires IS NULL OR expires > ?)", (glob, self._clock())
        )
        return [name for (name,) in rows]

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._touched:
                    with self._transaction(connection):
                        self._touch(connection)
            finally:
                connection.close()

    @contextlib.contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Any:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
