"""The writer: a thread that takes records out of a buffer and hands them on in batches (to a `sink.Sink`).

Whoever gives it a record never waits.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.ledger.rows import Row, row_of
from ipfs_accelerate_py.ledger.sink import Sink
from ipfs_accelerate_py.ledger.stores import Store
from ipfs_accelerate_py.records import CallRecord

__all__ = ["Writer"]

#: What a fork has inherited and must not touch, nor let be collected: closing it would end the parent's connection.
_inherited: list[Any] = []


class Writer:
    """See the module. Its thread starts with the first record.

    Args:
        window: seconds that a record waits for others to be written with it. A process that is killed loses at most
            what came in that time, and in the time of the write under way.
        batch: rows of one write.
        most: records in memory at most; more are lost (and counted) rather than waited for.
        keep_days, retry: see `Sink`.
    """

    def __init__(
        self,
        store: Store,
        *,
        window: float = 0.05,
        batch: int = 500,
        keep_days: float | None = None,
        most: int = 100_000,
        retry: tuple[float, float] = (0.5, 15.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.window = window
        self.batch = batch
        self.most = most
        self._make_sink: Callable[[], Sink] = functools.partial(
            Sink, store, batch=batch, keep_days=keep_days, most=most, retry=retry, clock=clock
        )
        self._renew()

    def _renew(self) -> None:
        self.sink = self._make_sink()
        self._pending: deque[CallRecord | threading.Event] = deque()
        self._numbered = 0
        self._woken = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def forked(self) -> None:
        """In a forked child: begin anew. What the buffer held is the parent's, and the parent writes it."""
        _inherited.append((self.sink.connection, self._thread, self._wake, self._starting))
        self.sink.spill.forget()
        self._renew()

    # --- for those who have records ------------------------------------------------------------------------------

    def add(self, record: CallRecord) -> None:
        """Take a record; never waits. Any thread may call it."""
        pending = self._pending
        if len(pending) >= self.most:
            self.sink.lose(1, "the buffer is full")
            return
        pending.append(record)
        if not self._woken:
            self._woken = True
            if self._thread is None:
                self._start()
            self._wake.set()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all records that came before are in the database, or in the file that stands in for it.

        False where ``timeout`` seconds were not enough.
        """
        if self._thread is None:
            return True
        done = threading.Event()
        self._pending.append(done)
        self._hurry.set()
        self._wake.set()
        return done.wait(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """`flush`, and end the thread. A later record starts another one. False: ``timeout`` was not enough."""
        thread = self._thread
        if thread is None:
            return True
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        thread.join(timeout)
        return not thread.is_alive()

    def snapshot(self) -> dict[str, Any]:
        """Counts, as plain data; see `Ledger.snapshot`."""
        sink = self.sink
        return {
            "written": sink.written,
            "waiting": len(self._pending) + len(sink.held),
            "in_file": sink.spill.count,
            "spilled": sink.spilled,
            "lost": sink.lost,
            "trouble": sink.trouble,
        }

    # --- the thread ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="ipfs-accelerate-ledger", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                self._wake.wait(self.sink.until_retry())
                if not self._hurry.is_set() and self._pending:
                    self._hurry.wait(self.window)
                self._hurry.clear()
                self._wake.clear()
                self._woken = False
                self._drain()
                self.sink.catch_up(now=self._stopping)
                if self._stopping and not self._pending:
                    break
        finally:
            self.sink.disconnect()
            self._thread = None
            self._woken = False
            if self._pending:  # one came while this ended
                self._woken = True
                self._start()
                self._wake.set()

    def _drain(self) -> None:
        pending = self._pending
        rows: list[Row] = []
        waiters: list[threading.Event] = []
        while True:
            try:
                item = pending.popleft()
            except IndexError:
                break
            if isinstance(item, threading.Event):
                waiters.append(item)
                continue
            self._numbered += 1
            try:
                rows.append(row_of(item, f"{self.sink.prefix}-{self._numbered:x}"))
            except Exception:
                self.sink.lose(1, "a record could not be read", exception=True)
            if len(rows) >= self.batch:
                self.sink.write(rows)
                rows = []
        if rows:
            self.sink.write(rows)
        for waiter in waiters:
            waiter.set()
