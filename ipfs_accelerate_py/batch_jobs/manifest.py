"""What a job is and how far it got, in a file that another process can go on from."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import weakref
from pathlib import Path

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Manifest", "Part", "Place"]

_VERSION = 1


class Part(msgspec.Struct):
    """One job of the provider's.

    ``state`` is "planned", then "creating" (asked for, and nobody knows whether it was made), then "created".
    """

    state: str = "planned"
    file: str = ""
    job: str = ""
    began: float = 0.0
    status: str = ""
    total: int = 0
    completed: int = 0
    failed: int = 0
    results: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    fetched: bool = False


class Manifest(msgspec.Struct):
    """The job.

    ``digest`` is the SHA-256 of its requests. ``limits`` are those by which they were cut into parts: most requests,
    bytes and inputs of one. Names of requests upstream are ``id``, a hyphen, and the place of the request.
    """

    id: str
    via: str
    backend: str
    total: int
    digest: str
    window: str = ""
    key: str = ""
    status: str = "in_progress"
    created: float = 0.0
    limits: tuple[int, int, int] = (0, 0, 0)
    tenant: str = ""
    tags: dict[str, str] | None = None
    concurrency: int = 8
    parts: list[Part] = []
    version: int = _VERSION


def new_id() -> str:
    """``job_`` and 16 hex digits."""
    return f"job_{random.getrandbits(64):016x}"


class Place:
    """Where a job's files are: the manifest, its requests and its results. Without a path, a folder that goes away."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self.kept = path is not None
        self._clean: weakref.finalize[[str, bool], Place] | None = None
        if path is None:
            folder = tempfile.mkdtemp(prefix="ipfs-accelerate-batch-")
            self._clean = weakref.finalize(self, shutil.rmtree, folder, True)
            self.manifest = Path(folder) / "job.json"
        else:
            self.manifest = Path(path)
            if not self.manifest.parent.is_dir():
                raise ConfigurationError(f"the manifest cannot be written: {self.manifest.parent} is no folder")

    @property
    def requests(self) -> Path:
        return self.manifest.with_name(self.manifest.name + ".requests")

    @property
    def results(self) -> Path:
        return self.manifest.with_name(self.manifest.name + ".results")

    def fresh(self) -> Place:
        """Another place beside it, for requests that are not known yet to be those of this job."""
        return Place(self.manifest.with_name(f"{self.manifest.name}.{os.getpid()}.new") if self.kept else None)

    def load(self) -> Manifest:
        """The manifest. Raises `ConfigurationError` where it is none."""
        try:
            found = msgspec.json.decode(self.manifest.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError) as problem:
            raise ConfigurationError(f"{self.manifest} is no manifest of a batch job: {problem}") from None
        if found.version != _VERSION:
            raise ConfigurationError(f"{self.manifest} was written by another version of this package")
        return found

    def save(self, manifest: Manifest) -> None:
        """Write it whole or not at all, and to the disk itself: what follows may be paid for."""
        new = self.manifest.with_name(self.manifest.name + ".tmp")
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, data)
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(new, self.manifest)

    def remove(self) -> None:
        """Take the requests and results away (and the manifest, where it is there)."""
        for path in (self.manifest, self.requests, self.results):
            path.unlink(missing_ok=True)
        if self._clean is not None:
            self._clean()
