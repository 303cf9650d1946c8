"""Where rows end: in the database, or while that is away, in a file (`spill`), or where that fails too, in memory.

Everything here belongs to the writer's thread, but for the counters, which others may read.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import time
from collections.abc import Callable

from ipfs_accelerate_py.ledger.queries import prune
from ipfs_accelerate_py.ledger.rows import Row
from ipfs_accelerate_py.ledger.spill import Spill, leftovers, read_rows
from ipfs_accelerate_py.ledger.stores import Connection, Store

__all__ = ["Sink"]

_log = logging.getLogger("ipfs_accelerate_py.ledger")
_SUFFIX = ".spill"


class Sink:
    """Takes rows for good: none is lost without being counted.

    Args:
        batch: rows of one write.
        keep_days: older rows are deleted, once an hour; None keeps all.
        most: rows in memory at most, while neither database nor disk takes them.
        retry: seconds until the database is tried again, at first and at most.
    """

    def __init__(
        self,
        store: Store,
        *,
        batch: int,
        keep_days: float | None,
        most: int,
        retry: tuple[float, float],
        clock: Callable[[], float],
    ) -> None:
        self.store = store
        self.batch = batch
        self.written = 0
        self.spilled = 0
        self.lost = 0
        #: Why the database could not be had, while it cannot.
        self.trouble: str | None = None
        #: Begins the uid of each row of this process.
        self.prefix = secrets.token_hex(8)
        self.held: list[Row] = []
        path = store.spill_to
        self.spill = Spill(path.with_name(f"{path.name}.{os.getpid()}-{self.prefix}{_SUFFIX}"))
        self.connection: Connection | None = None
        self._keep_days = keep_days
        self._most = most
        self._retry = retry
        self._clock = clock
        self._delay = retry[0]
        self._next_try = 0.0
        self._next_prune = -math.inf
        self._adopted = False

    def write(self, rows: list[Row]) -> None:
        """Into the database, or else where they wait for it."""
        self.catch_up()
        if self.held or self.spill.count or not self._insert(rows):
            self._set_aside(rows)

    def catch_up(self, *, now: bool = False) -> None:
        """What was set aside goes into the database, where it is time to try that again (or ``now``)."""
        if not self.held and not self.spill.count:
            return
        if now:
            self._next_try = 0.0
        elif self._next_try > self._clock():
            return
        for rows in self.spill.batches(self.batch):
            if not self._insert(rows):
                return
        self.spill.clear()
        if self.held and self._insert(self.held):
            self.held = []

    def until_retry(self) -> float | None:
        """Seconds until `catch_up` has something to do; None where nothing was set aside."""
        if not self.held and not self.spill.count:
            return None
        return max(0.0, self._next_try - self._clock())

    def lose(self, count: int, why: str, *, exception: bool = False) -> None:
        """Count rows that are lost, and log the 1st, the 10th, the 100th, ..."""
        before, self.lost = self.lost, self.lost + count
        if len(str(before)) < len(str(self.lost)) or not before:
            said = "the ledger %s has lost %d records so far: %s"
            _log.error(said, self.store.name, self.lost, why, exc_info=exception)

    def disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    # --- the database --------------------------------------------------------------------------------------------

    def _insert(self, rows: list[Row]) -> bool:
        """Whether they are in the database now. Rows that it will never take are counted as lost."""
        if self._next_try > self._clock():
            return False
        try:
            if self.connection is None:
                self.connection = self.store.connect()
                self._adopt(self.connection)
            try:
                self.connection.insert(rows)
            except self.store.data_errors:
                self._one_by_one(self.connection, rows)
            else:
                self.written += len(rows)
        except Exception as error:
            self._failed(error)
            return False
        if self.trouble is not None:
            _log.warning("the ledger %s is back", self.store.name)
        self.trouble = None
        self._delay = self._retry[0]
        self._prune(self.connection)
        return True

    def _one_by_one(self, connection: Connection, rows: list[Row]) -> None:
        for row in rows:
            try:
                connection.insert([row])
            except self.store.data_errors as error:
                self.lose(1, f"the database refuses a record: {type(error).__name__}")
            else:
                self.written += 1

    def _failed(self, error: Exception) -> None:
        if self.trouble is None:
            _log.warning(
                "the ledger %s cannot be written (%s: %s); records are kept in %s until it is back",
                self.store.name,
                type(error).__name__,
                str(error).strip().partition("\n")[0],
                self.spill.path,
            )
        self.trouble = type(error).__name__
        self.disconnect()
        self._next_try = self._clock() + self._delay
        self._delay = min(self._delay * 2, self._retry[1])

    def _prune(self, connection: Connection) -> None:
        if self._keep_days is None or self._clock() < self._next_prune:
            return
        self._next_prune = self._clock() + 3600.0
        try:
            prune(connection, time.time() - self._keep_days * 86400)
        except Exception as error:
            _log.warning("old calls in the ledger %s could not be deleted: %s", self.store.name, error)

    # --- in its place --------------------------------------------------------------------------------------------

    def _set_aside(self, rows: list[Row]) -> None:
        """Keep rows until the database is back: in the file, or in memory where that cannot be written either."""
        rows = [*self.held, *rows]
        self.held = []
        try:
            self.spill.append(rows)
            self.spilled += len(rows)
        except OSError as error:
            if len(rows) > self._most:
                over = len(rows) - self._most
                self.lose(over, f"{self.spill.path} cannot be written: {error.strerror or error}")
                rows = rows[over:]
            self.held = rows

    def _adopt(self, connection: Connection) -> None:
        """Once: what processes that were killed have left in their files."""
        if self._adopted:
            return
        self._adopted = True
        try:
            with leftovers(self.store.spill_to, _SUFFIX) as paths:
                for path in paths:
                    if path == self.spill.path:
                        continue
                    for rows in read_rows(path, self.batch):
                        connection.insert(rows)
                        self.written += len(rows)
                    path.unlink()
        except OSError as error:
            _log.warning("what another process left could not be taken over: %s", error)
