"""Rows in a file, while the database is away: append only, one JSON array a line.

Each process has its own file, and holds a lock on it for as long as it lives. The file of a process that has died is
taken over by the next one that writes the same ledger.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from ipfs_accelerate_py.ledger.rows import COLUMNS, Row

try:
    import fcntl
except ImportError:  # no such locks on this platform: nothing is taken over
    fcntl = None  # type: ignore[assignment]

__all__ = ["Spill", "leftovers", "read_rows"]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list).decode


class Spill:
    """The file of one process; it is there only while it holds something."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        #: Rows in it.
        self.count = 0

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows; they are the kernel's when this returns, so that they outlive this process. Raises ``OSError``."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            _lock(self._file)
        data = b"".join([_encode(row) + b"\n" for row in rows])
        before = os.fstat(self._file.fileno()).st_size
        if self._file.write(data) != len(data):
            self._file.truncate(before)  # a full disk took some of it
            raise OSError(f"{self.path} could not be written whole")
        self.count += len(rows)

    def batches(self, size: int) -> Iterator[list[Row]]:
        """What is in it, in the order of coming."""
        if self.count:
            yield from read_rows(self.path, size)

    def clear(self) -> None:
        """All of it is in the database."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            self._file.close()
            self._file = None
        self.count = 0

    def forget(self) -> None:
        """In a forked child: the file is the parent's."""
        if self._file is not None:
            self._file.close()  # the parent's lock stays, for it has the file open still
        self._file = None
        self.count = 0


@contextlib.contextmanager
def leftovers(beside: Path, suffix: str) -> Iterator[list[Path]]:
    """Files that processes have left which live no longer; others are kept from taking them meanwhile."""
    files: list[IO[bytes]] = []
    found: list[Path] = []
    try:
        for path in sorted(beside.parent.glob(f"{beside.name}.*{suffix}")) if fcntl is not None else ():
            try:
                file: IO[bytes] = open(path, "rb")  # noqa: SIM115  # held until the end
            except OSError:
                continue
            files.append(file)
            if _lock(file) and path.exists():
                found.append(path)
        yield found
    finally:
        for file in files:
            file.close()


def _lock(file: IO[bytes]) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def read_rows(path: Path, size: int) -> Iterator[list[Row]]:
    """The rows of such a file, in batches."""
    batch: list[Row] = []
    with open(path, "rb") as file:
        for line in file:
            try:
                row = tuple(_decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # the last line of a process that was killed while it wrote
            if len(row) == len(COLUMNS):
                batch.append(row)
            if len(batch) >= size:
                yield batch
                batch = []
    if batch:
        yield batch
