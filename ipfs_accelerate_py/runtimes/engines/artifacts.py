"""What is made of a checkpoint once and kept: exported graphs, compiled modules. On disk, found by content.

An entry is a folder named by the key of what it was made of (`fingerprint.content_key`). It appears whole or not at
all: it is built beside its place and renamed. Every file's SHA-256 is checked before an entry is used; one that does
not agree is built again. A lock for each key keeps several processes from building the same thing, and from deleting
what another is reading. Over the limit, entries used longest ago go first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Artifacts", "Entry", "cache_root", "file_digest", "write_whole"]

#: Bytes of all entries of one kind, where ``IPFS_ACCELERATE_CACHE_LIMIT`` does not say otherwise.
DEFAULT_LIMIT = 50 << 30
_MANIFEST = "entry.json"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def cache_root() -> Path:
    """``IPFS_ACCELERATE_CACHE``, or ``~/.cache/ipfs-accelerate``."""
    named = os.environ.get("IPFS_ACCELERATE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "ipfs-accelerate"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was made. ``facts`` is what its builder returned; ``built`` is whether this call made it."""

    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    built: bool = False


class Artifacts:
    """Entries of one kind. Safe for threads and processes of one machine.

    Args:
        kind: name of the folder under the cache's root.
        root: see `cache_root`.
        limit: most bytes of all entries of this kind; None asks the environment (``20G``, plain bytes).
    """

    def __init__(self, kind: str, root: Path | None = None, limit: int | None = None) -> None:
        self.folder = (root or cache_root()) / kind
        self.limit = _limit_from_environment() if limit is None else limit

    @contextlib.contextmanager
    def entry(self, key: str, build: Callable[[Path], Mapping[str, Any]]) -> Iterator[Entry]:
        """The entry of that key; where there is none, or it is corrupt, ``build`` makes it in the folder it is given
        and returns its facts (JSON). While the context is open nobody removes it.

        Whatever ``build`` raises is passed on, and nothing is left of its work.
        """
        with self._locked(key, shared=True):
            found = self._read(key)
            if found is not None:
                yield found
                return
        with self._locked(key):
            found = self._read(key)  # perhaps another process has just built it
            if found is None:
                found = self._build(key, build)
            self.shrink(keep=key)
            yield found

    def read(self, key: str) -> Entry | None:
        """The entry where it is there and whole."""
        with self._locked(key, shared=True):
            return self._read(key)

    def shrink(self, keep: str = "") -> list[str]:
        """Remove entries used longest ago until the rest is within the limit; those in use stay. Keys removed."""
        entries = []
        for folder in self.folder.glob("*/" + _MANIFEST):
            with contextlib.suppress(OSError):  # another process may remove it meanwhile
                size = sum(each.stat().st_size for each in folder.parent.iterdir())
                entries.append((folder.stat().st_mtime, folder.parent.name, size))
        total = sum(size for _, _, size in entries)
        removed = []
        for _, key, size in sorted(entries):
            if total <= self.limit:
                break
            if key == keep or not self._remove(key):
                continue
            total -= size
            removed.append(key)
        return removed

    def _read(self, key: str) -> Entry | None:
        folder = self.folder / key
        try:
            manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            for name, said in manifest["files"].items():
                path = folder / name
                if path.stat().st_size != said["bytes"] or file_digest(path) != said["sha256"]:
                    return None
            os.utime(folder / _MANIFEST)
            return Entry(folder, manifest["facts"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _build(self, key: str, build: Callable[[Path], Mapping[str, Any]]) -> Entry:
        place = self.folder / key
        beside = self.folder / f"{key}.{os.getpid()}.part"
        for old in self.folder.glob(f"{key}.*.part"):  # of a process that died: we hold the lock
            shutil.rmtree(old, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            facts = build(beside)
            files = {
                each.name: {"bytes": each.stat().st_size, "sha256": file_digest(each)}
                for each in sorted(beside.iterdir())
                if each.is_file()
            }
            manifest = {"key": key, "made": time.time(), "files": files, "facts": dict(facts)}
            (beside / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            beside.rename(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        # Through JSON, so that who built it sees what who finds it will see.
        return Entry(place, json.loads(json.dumps(manifest["facts"])), built=True)

    def _remove(self, key: str) -> bool:
        try:
            with self._locked(key, wait=False):
                shutil.rmtree(self.folder / key, ignore_errors=True)
        except BlockingIOError:
            return False
        return True

    @contextlib.contextmanager
    def _locked(self, key: str, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with open(locks / key, "ab") as file:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            yield  # closing the file lets go of the lock


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file so that readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _limit_from_environment() -> int:
    said = os.environ.get("IPFS_ACCELERATE_CACHE_LIMIT", "").strip().lower().removesuffix("b").removesuffix("i")
    if not said:
        return DEFAULT_LIMIT
    number, unit = (said[:-1], said[-1]) if said[-1].isalpha() else (said, "")
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        raise ConfigurationError(
            f"IPFS_ACCELERATE_CACHE_LIMIT is {said!r}: give bytes, or a number with k, m, g or t"
        ) from None
