"""Models in a bucket: a folder as a named, versioned, verified whole.

::

    <prefix>blobs/<sha256>                        a file's bytes, whichever models and versions have it
    <prefix>manifests/<name>/<version>.json       the list of a version's files, written last and never changed

So what was half uploaded is never listed, what is there already is not sent again, and whoever fetches a model can tell
that it is whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ipfs_accelerate_py.backends.s3.access import loaded
from ipfs_accelerate_py.backends.s3.failures import Exists
from ipfs_accelerate_py.backends.s3.files import PartFile, commit, digest_of, off_loop
from ipfs_accelerate_py.backends.s3.manifest import File, Manifest, new_manifest, read_manifest, scan
from ipfs_accelerate_py.backends.s3.names import check_model_name, check_version, inside
from ipfs_accelerate_py.backends.s3.objects import Objects
from ipfs_accelerate_py.backends.s3.transfer import SHA256, Progress, Target, download, upload
from ipfs_accelerate_py.errors import ConfigurationError, IntegrityError, InvalidRequest, NotFound, StoreError

__all__ = ["Models"]

MOST_MANIFEST_BYTES = 64 << 20
T = TypeVar("T")


class Models:
    """The three verbs of models, on one bucket that is open."""

    def __init__(
        self, target: Target, objects: Objects, *, prefix: str, parallel: int, part_size: int, parts_at_once: int
    ) -> None:
        self._target = target
        self._objects = objects
        self._blobs = prefix + "blobs/"
        self._manifests = prefix + "manifests/"
        self._part_size = part_size
        self._parts_at_once = parts_at_once
        self._parallel = parallel

    # --- up ------------------------------------------------------------------------------------------------------

    async def upload_model(
        self,
        path: str | os.PathLike[str],
        name: str,
        version: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        follow_symlinks: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Store a folder as a version of a model; without ``version`` it is called by what it holds.

        The same files under the same version once more are no error and nothing is sent; others are a `StoreError`.
        """
        folder = Path(path)
        check_model_name(name)
        if version is not None:
            check_version(version)
        files = await asyncio.to_thread(scan, folder, follow_symlinks=follow_symlinks)
        manifest = new_manifest(name, version, files, dict(metadata or {}))
        sent: list[File] = []
        there = await self._same(manifest)
        if there is None:
            sent = await self._send(folder, files, progress)
            there = await self._publish(manifest)
        return {**self._described(there), "uploaded": len(sent), "uploaded_bytes": sum(file.size for file in sent)}

    async def _same(self, manifest: Manifest) -> Manifest | None:
        """The version as it is there; None where it is not, and a `StoreError` where it holds other files."""
        try:
            found = await self._manifest(manifest.name, manifest.version)
        except NotFound:
            return None
        if found.files != manifest.files:
            raise StoreError(
                f"the model {manifest.name!r} has a version {manifest.version!r} already, and it holds other files; "
                "a version never changes: choose another name for this one",
                code="version_exists",
            )
        return found

    async def _send(self, folder: Path, files: list[File], progress: Progress | None) -> list[File]:
        unique = list({file.sha256: file for file in files}.values())
        there = await self._each(self._stored(file) for file in unique)
        missing = [file for file, stored in zip(unique, there, strict=True) if not stored]
        tell = _Sum(missing, progress)
        await self._each(
            upload(
                self._target,
                folder / file.path,
                self._blobs + file.sha256,
                part_size=self._part_size,
                parts_at_once=self._parts_at_once,
                known_sha256=file.sha256,
                progress=tell.of(index),
            )
            for index, file in enumerate(missing)
        )
        return missing

    async def _stored(self, file: File) -> bool:
        try:
            found = await self._objects.head_object(self._blobs + file.sha256)
        except NotFound:
            return False
        return (found["size"], found[SHA256]) == (file.size, file.sha256)

    async def _publish(self, manifest: Manifest) -> Manifest:
        key = self._key(manifest.name, manifest.version)
        data = manifest.encode()
        labels = {"Content-Type": "application/json", SHA256: hashlib.sha256(data).hexdigest()}

        async def put(**mode: Any) -> None:
            with self._target.translated(key):
                await loaded().put_async(self._target.store, key, data, attributes=labels, use_multipart=False, **mode)

        try:
            await put(mode="create")
        except Exists:  # somebody was faster: fine, where it is the same
            found = await self._same(manifest)
            if found is None:
                raise StoreError(f"the manifest {key!r} cannot be written: it came and went meanwhile") from None
            return found
        except InvalidRequest as refused:
            if refused.status != 501:
                raise
            await put()  # the store cannot tell; it was looked for a moment ago
        return manifest

    # --- down ----------------------------------------------------------------------------------------------------

    async def download_model(
        self,
        name: str,
        version: str | None = None,
        destination: str | os.PathLike[str] | None = None,
        *,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Fetch a version of a model, the newest unless one is named, into a folder.

        Files that are there already with the right content are not fetched. The others are put in their places when
        all of them are here and have proved right; files that the model does not have are left alone.
        """
        check_model_name(name)
        if destination is None:
            raise ConfigurationError("download_model needs a destination: the folder that the model goes into")
        folder = Path(destination)
        manifest = await self._manifest(name, await self._newest(name) if version is None else check_version(version))
        targets = {file.path: inside(folder, file.path) for file in manifest.files}
        there = await asyncio.to_thread(lambda: [_intact(targets[file.path], file) for file in manifest.files])
        missing = [file for file, intact in zip(manifest.files, there, strict=True) if not intact]
        tell = _Sum(missing, progress)
        parts = await self._each(
            self._fetch(file, targets[file.path], tell.of(index)) for index, file in enumerate(missing)
        )
        for file, part in zip(missing, parts, strict=True):
            inside(folder, file.path)  # nobody has laid a link there since
            await off_loop(commit, part, targets[file.path])
        return {
            **self._described(manifest),
            "destination": str(folder),
            "downloaded": len(missing),
            "downloaded_bytes": sum(file.size for file in missing),
        }

    async def _fetch(self, file: File, destination: Path, progress: Progress | None) -> PartFile:
        key = self._blobs + file.sha256
        part, _ = await download(self._target, key, destination, sha256=file.sha256, size=file.size, progress=progress)
        return part

    async def _newest(self, name: str) -> str:
        found = await self._versions(name)
        if not found:
            raise NotFound(f"there is no model {name!r} in the bucket {self._target.bucket!r}")
        last = max(each["last_modified"] for each in found)
        newest = [each["version"] for each in found if each["last_modified"] == last]
        if len(newest) == 1:
            return str(newest[0])
        # A store tells seconds, and these were made within one.
        manifests = await self._each(self._manifest(name, each) for each in newest)
        return max(manifests, key=lambda manifest: manifest.created).version

    async def _manifest(self, name: str, version: str) -> Manifest:
        key = self._key(name, version)
        try:
            with self._target.translated(key):
                result = await loaded().get_async(self._target.store, key)
            if result.meta["size"] > MOST_MANIFEST_BYTES:
                raise IntegrityError(f"the manifest {key!r} is larger than {MOST_MANIFEST_BYTES} bytes")
            with self._target.translated(key):
                data = bytes(await result.bytes_async())
        except NotFound:
            raise NotFound(
                f"there is no version {version!r} of a model {name!r} in the bucket {self._target.bucket!r}"
            ) from None
        wanted = {label.lower(): value for label, value in result.attributes.items()}.get(SHA256)
        if wanted is not None and hashlib.sha256(data).hexdigest() != wanted:
            raise IntegrityError(f"the manifest {key!r} is not what was stored: its SHA-256 is another")
        return read_manifest(data, name, version)

    # --- what there is -------------------------------------------------------------------------------------------

    async def list_models(self, name: str | None = None) -> dict[str, Any]:
        """Every version of every model, or of one, that is whole: ``name``, ``version``, ``last_modified`` of each."""
        found = await self._versions(None if name is None else check_model_name(name))
        return {"bucket": self._target.bucket, "models": found}

    async def _versions(self, name: str | None) -> list[dict[str, Any]]:
        prefix = self._manifests if name is None else f"{self._manifests}{name}/"
        listed = await self._objects.list_objects(prefix)
        found = []
        for each in listed["objects"]:
            model, _, file = each["key"][len(self._manifests) :].rpartition("/")
            if file.endswith(".json") and (name is None or model == name):
                found.append(
                    {"name": model, "version": file.removesuffix(".json"), "last_modified": each["last_modified"]}
                )
        return found

    # --- parts ---------------------------------------------------------------------------------------------------

    def _key(self, name: str, version: str) -> str:
        return f"{self._manifests}{name}/{version}.json"

    def _described(self, manifest: Manifest) -> dict[str, Any]:
        return {
            "bucket": self._target.bucket,
            "name": manifest.name,
            "version": manifest.version,
            "files": len(manifest.files),
            "size": manifest.size,
            "metadata": manifest.metadata,
        }

    async def _each(self, work: Iterable[Awaitable[T]]) -> list[T]:
        """All of it, a few at a time. The first failure ends the rest, and is raised when nothing runs any more."""
        turn = asyncio.Semaphore(self._parallel)

        async def one(item: Awaitable[T]) -> T:
            async with turn:
                return await item

        items = list(work)
        tasks = [asyncio.ensure_future(one(item)) for item in items]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()  # where one has failed, the others are not done
            return [task.result() for task in tasks]
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # one failure is enough to hear of
            for item in items:
                if asyncio.iscoroutine(item):
                    item.close()  # one whose turn never came


class _Sum:
    """One progress of many files."""

    def __init__(self, files: list[File], progress: Progress | None) -> None:
        self._total = sum(file.size for file in files)
        self._done = [0] * len(files)
        self._progress = progress

    def of(self, index: int) -> Progress | None:
        progress = self._progress
        if progress is None:
            return None
        if not callable(progress):
            raise ConfigurationError("progress must be a function of two numbers: the bytes done, and all of them")

        def tell(done: int, total: int) -> None:
            self._done[index] = done
            progress(sum(self._done), self._total)

        return tell


def _intact(path: Path, file: File) -> bool:
    """Whether a file is there as the manifest has it."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
            return False
    except OSError:
        return False
    return digest_of(path)[0] == file.sha256
