"""Files on this side of a transfer: read, hashed and written off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError, StoreError

__all__ = ["Note", "PartFile", "commit", "digest_of", "off_loop", "open_regular"]

T = TypeVar("T")

_BLOCK = 1 << 20


async def off_loop(function: Callable[..., T], *args: Any) -> T:
    """Run it in a thread, and be cancelled only when it is over: the file that it uses is closed after that."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()
        raise


def open_regular(path: Path) -> tuple[IO[bytes], int]:
    """A file to read, with its size. `ConfigurationError` where it is not there, or is no regular file."""
    try:
        # Not to wait for ever at the end of a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as problem:
        raise ConfigurationError(f"the file {str(path)!r} cannot be read: {problem.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ConfigurationError(f"{str(path)!r} is not a regular file")
    return open(descriptor, "rb", buffering=0), status.st_size


def digest_of(path: Path) -> tuple[str, int]:
    """A file's SHA-256 in hex, and its size."""
    file, _ = open_regular(path)
    with file:
        return _digest(file)


def _digest(file: IO[bytes]) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while block := file.read(_BLOCK):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


class Note(msgspec.Struct):
    """Beside a ``.part`` file: the object that it is the beginning of."""

    bucket: str
    key: str
    etag: str
    size: int
    sha256: str | None = None


class PartFile:
    """The beginning of a download, ``NAME.part``, with its note ``NAME.part.json``; nobody else writes to it meanwhile.

    Both lie beside the destination, so that the finished file is put in its place in one step.
    """

    def __init__(self, destination: Path) -> None:
        self.path = destination.with_name(destination.name + ".part")
        self._note_path = destination.with_name(destination.name + ".part.json")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            # Not through a link that somebody has laid there.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
            self._file = open(os.open(self.path, flags, 0o666), "r+b", buffering=0)  # noqa: SIM115  # for long
        except OSError as problem:
            raise StoreError(f"{str(self.path)!r} cannot be written: {problem.strerror}") from None
        try:
            _lock(self._file, self.path)
        except BaseException:
            self._file.close()
            raise
        self._digest = hashlib.sha256()
        self.size = 0
        self.note: Note | None = None

    def recall(self) -> None:
        """Take up what an earlier download left: its note, its size, and the hash of what is there."""
        try:
            self.note = msgspec.json.decode(self._note_path.read_bytes(), type=Note)
        except (OSError, msgspec.DecodeError):
            self.restart()
            return
        self._digest = hashlib.sha256()
        self.size = 0
        while block := self._file.read(_BLOCK):
            self._digest.update(block)
            self.size += len(block)
        if self.size > self.note.size:
            self.restart()

    def restart(self) -> None:
        """From nothing."""
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.size = 0
        self.note = None
        with contextlib.suppress(FileNotFoundError):
            self._note_path.unlink()

    def begin(self, note: Note) -> None:
        """Say what is coming, before any of it is written."""
        self.note = note
        written = self._note_path.with_name(self._note_path.name + ".new")
        try:
            written.write_bytes(msgspec.json.encode(note))
            os.replace(written, self._note_path)
        except OSError as problem:
            raise StoreError(f"{str(self._note_path)!r} cannot be written: {problem.strerror}") from None

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        left: memoryview[Any] = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as problem:
            raise StoreError(f"{str(self.path)!r} cannot be written: {problem.strerror}") from None
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        """Let go of it, and leave it there for another time; an empty one is taken away."""
        empty = not self._file.closed and self.size == 0 and self.note is None
        self._file.close()
        if empty:
            self.discard()

    def settle(self) -> None:
        """It is whole: to the disk with it."""
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        """Take it away, and its note."""
        self._file.close()
        for path in (self.path, self._note_path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def commit(part: PartFile, destination: Path) -> None:
    """Put a settled part in the place of the file that it is."""
    try:
        os.replace(part.path, destination)
    except OSError as problem:
        raise StoreError(f"{str(destination)!r} cannot be written: {problem.strerror}") from None
    part.discard()


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such lock on Windows, which refuses to replace an open file anyway
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StoreError(f"{str(path)!r} is being downloaded to already") from None
