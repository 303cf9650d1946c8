"""Lines on disk: a job's requests, and its results in the order in which they come. None of them are kept in memory.

What is written is in the file when the call returns, so that a process that is killed loses nothing of it; a last line
that was cut is dropped when the file is opened again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec

__all__ = ["Requests", "Results"]

_NONE = -1


class _Lines:
    """A file of lines, and where each begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # What people ask is nobody else's business.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = self._whole()

    def _whole(self) -> int:
        """Size of the file up to its last whole line; a torn one goes."""
        size = os.lseek(self._file, 0, os.SEEK_END)
        at = size
        while at:
            start = max(0, at - 65536)
            cut = os.pread(self._file, at - start, start).rfind(b"\n")
            if cut >= 0:
                at = start + cut + 1
                break
            at = start
        if at != size:
            os.ftruncate(self._file, at)
        return at

    def _append(self, line: bytes) -> int:
        """Write a line; gives where it begins."""
        start = self._end
        view = memoryview(line)
        while view:
            written = os.pwrite(self._file, view, self._end)
            self._end += written
            view = view[written:]
        return start

    def _line(self, start: int) -> bytes:
        pieces = []
        size = 8192
        while True:
            piece = os.pread(self._file, size, start)
            cut = piece.find(b"\n")
            if cut >= 0 or not piece:
                pieces.append(piece[: cut if cut >= 0 else None])
                return b"".join(pieces)
            pieces.append(piece)
            start += len(piece)
            size = 1 << 20

    def _all(self) -> Iterator[tuple[int, bytes]]:
        """Each line with where it begins."""
        with open(self.path, "rb") as file:
            start = 0
            for line in file:
                if start >= self._end:
                    return
                yield start, line
                start += len(line)

    def sync(self) -> None:
        """To the disk itself: before something is paid for."""
        os.fsync(self._file)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = _NONE


class Requests(_Lines):
    """A job's requests, in their order."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._offsets = array("q")
        self._hash = hashlib.sha256()
        for start, line in self._all():
            self._offsets.append(start)
            self._hash.update(line)

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, line: bytes) -> None:
        self._offsets.append(self._append(line))
        self._hash.update(line)

    def read(self, index: int) -> bytes:
        return self._line(self._offsets[index])

    @property
    def digest(self) -> str:
        """SHA-256 of all of them."""
        return self._hash.hexdigest()


class _Index(msgspec.Struct):
    index: int
    final: bool = True
    error: msgspec.Raw = msgspec.Raw(b"")


#: What there is of a request: nothing, an answer, an error of its own, an error that another attempt may not meet.
_MISSING, _ANSWERED, _FAILED, _UNLUCKY = range(4)


class Results(_Lines):
    """Results by the place of their request. A later one takes the place of an earlier one."""

    def __init__(self, path: Path, total: int) -> None:
        super().__init__(path)
        self._offsets = array("q", [_NONE]) * total
        self._kinds = bytearray(total)
        #: How many of each kind.
        self._counts = [total, 0, 0, 0]
        decode = msgspec.json.Decoder(_Index).decode
        for start, line in self._all():
            with contextlib.suppress(msgspec.DecodeError):
                found = decode(line)
                kind = _ANSWERED if not bytes(found.error) else _FAILED if found.final else _UNLUCKY
                self._note(found.index, start, kind)

    def _note(self, index: int, start: int, kind: int) -> None:
        if index >= len(self._offsets):
            more = index + 1 - len(self._offsets)
            self._offsets.extend([_NONE] * more)
            self._kinds.extend(bytes(more))
            self._counts[_MISSING] += more
        self._offsets[index] = start
        self._counts[self._kinds[index]] -= 1
        self._counts[kind] += 1
        self._kinds[index] = kind

    def append(self, index: int, line: bytes, *, failed: bool = False, final: bool = True) -> None:
        """``line`` is JSON with ``index``, and with ``error`` and ``final`` where it failed."""
        kind = _ANSWERED if not failed else _FAILED if final else _UNLUCKY
        self._note(index, self._append(line), kind)

    def read(self, index: int) -> bytes | None:
        """The line of a request, or None where it has no result."""
        start = self._offsets[index] if index < len(self._offsets) else _NONE
        return None if start < 0 else self._line(start)

    def has(self, index: int) -> bool:
        """Whether a request has a result that need not be asked for again."""
        return index < len(self._kinds) and self._kinds[index] in (_ANSWERED, _FAILED)

    @property
    def final(self) -> int:
        """How many need not be asked for again."""
        return self._counts[_ANSWERED] + self._counts[_FAILED]

    @property
    def answered(self) -> int:
        return self._counts[_ANSWERED]

    @property
    def failed(self) -> int:
        return self._counts[_FAILED] + self._counts[_UNLUCKY]

    def __len__(self) -> int:
        """How many places there are."""
        return len(self._offsets)
