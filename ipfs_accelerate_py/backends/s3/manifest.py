"""A model as a whole: the list of its files, each with its size and SHA-256, under a name and a version."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from ipfs_accelerate_py.backends.s3.files import digest_of
from ipfs_accelerate_py.backends.s3.names import unsafe
from ipfs_accelerate_py.errors import ConfigurationError, IntegrityError

__all__ = ["FORMAT", "File", "Manifest", "digest_of_files", "new_manifest", "read_manifest", "scan"]

FORMAT = "ipfs-accelerate-model/1"
MOST_FILES = 100_000


class File(msgspec.Struct, omit_defaults=True):
    """One file: its path in the model's folder, with ``/``."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, omit_defaults=True):
    """A version of a model, which never changes once it is there. ``created`` is in seconds since the epoch."""

    format: str
    name: str
    version: str
    created: float
    files: list[File]
    metadata: dict[str, Any] = {}

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=1)


def read_manifest(data: bytes, name: str, version: str) -> Manifest:
    """A manifest that somebody stored. `IntegrityError` for one that is none, is of another model, or leads astray."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise IntegrityError(f"the manifest of {name!r} {version!r} cannot be read: {problem}") from None
    if manifest.format != FORMAT:
        raise IntegrityError(
            f"the manifest of {name!r} {version!r} is of the format {manifest.format!r}, not {FORMAT!r}"
        )
    if (manifest.name, manifest.version) != (name, version):
        raise IntegrityError(
            f"the manifest of {name!r} {version!r} says that it is of {manifest.name!r} {manifest.version!r}"
        )
    seen: set[str] = set()
    for file in manifest.files:
        wrong = unsafe(file.path)
        if not wrong and (len(file.sha256) != 64 or set(file.sha256) - set("0123456789abcdef") or file.size < 0):
            wrong = "its SHA-256 or its size is none"
        if not wrong and file.path.casefold() in seen:
            wrong = "it is there twice"
        if wrong:
            raise IntegrityError(f"the manifest of {name!r} {version!r} names the file {file.path!r}: {wrong}")
        seen.add(file.path.casefold())
    folders = {parent for path in seen for parent in _parents(path)}
    if clash := folders & seen:
        raise IntegrityError(f"the manifest of {name!r} {version!r} has {min(clash)!r} as a file and as a folder")
    return manifest


def _parents(path: str) -> list[str]:
    segments = path.split("/")
    return ["/".join(segments[:end]) for end in range(1, len(segments))]


def scan(folder: Path, *, follow_symlinks: bool = False) -> list[File]:
    """The files of a folder, hashed, in order of their paths. Blocking.

    A link that leads out of the folder is refused unless links are to be followed, and so is what is no regular file.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{str(folder)!r} is not a folder")
    root = folder.resolve()
    found: list[File] = []
    walked: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in walked:
            raise ConfigurationError(f"the link {place!r} leads to a folder that is there already")
        walked.add((status.st_dev, status.st_ino))
        folders.sort()
        for each in (*folders, *names):
            path = Path(place, each)
            if not follow_symlinks and path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ConfigurationError(
                    f"the link {str(path)!r} leads out of the folder; pass follow_symlinks=True to store it anyway"
                )
        for each in sorted(names):
            path = Path(place, each)
            relative = path.relative_to(folder).as_posix()
            if wrong := unsafe(relative):
                raise ConfigurationError(f"the file {relative!r} cannot be part of a model: {wrong}")
            sha256, size = digest_of(path)
            found.append(File(relative, size, sha256))
            if len(found) > MOST_FILES:
                raise ConfigurationError(f"{str(folder)!r} has more than {MOST_FILES} files")
    if not found:
        raise ConfigurationError(f"{str(folder)!r} has no files")
    return sorted(found, key=lambda file: file.path)


def digest_of_files(files: list[File]) -> str:
    """A name for exactly these files: the SHA-256 of their paths and hashes."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.sha256} {file.size} {file.path}\n".encode())
    return digest.hexdigest()


def new_manifest(name: str, version: str | None, files: list[File], metadata: dict[str, Any]) -> Manifest:
    """A manifest of files as they are; without a version, it is called by what it holds."""
    return Manifest(FORMAT, name, version or digest_of_files(files)[:16], time.time(), files, metadata)
