"""The six verbs of single objects, under the names and arguments that users of boto3 expect."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.backends.s3.access import loaded
from ipfs_accelerate_py.backends.s3.failures import translated
from ipfs_accelerate_py.backends.s3.files import commit, off_loop
from ipfs_accelerate_py.backends.s3.names import check_key, unsafe
from ipfs_accelerate_py.backends.s3.transfer import SHA256, Progress, Target, download, upload
from ipfs_accelerate_py.errors import ConfigurationError, MissingCredential, UnsupportedOperation

__all__ = ["Objects"]

#: A week is the longest that S3 lets a signature hold (seconds).
MOST_EXPIRY = 7 * 24 * 3600
_METHODS = {"get_object": "GET", "put_object": "PUT", "head_object": "HEAD", "delete_object": "DELETE"}
_HEADERS = {
    "content_type": "Content-Type",
    "content_encoding": "Content-Encoding",
    "content_disposition": "Content-Disposition",
    "content_language": "Content-Language",
    "cache_control": "Cache-Control",
}
_PAGE = 1000


class Objects:
    """The verbs, on one bucket that is open."""

    def __init__(self, target: Target, *, part_size: int, parts_at_once: int) -> None:
        self._target = target
        self._part_size = part_size
        self._parts_at_once = parts_at_once

    async def upload_file(
        self,
        file_path: str | os.PathLike[str],
        key: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        part_size: int | None = None,
        progress: Progress | None = None,
        **headers: str,
    ) -> dict[str, Any]:
        """Store a file; the key is its name unless one is given."""
        path = Path(file_path)
        return await upload(
            self._target,
            path,
            check_key(path.name if key is None else key),
            part_size=_size(part_size, self._part_size),
            parts_at_once=self._parts_at_once,
            attributes=_attributes(metadata, headers),
            progress=_callable(progress),
        )

    async def download_file(
        self,
        key: str,
        file_path: str | os.PathLike[str] | None = None,
        *,
        sha256: str | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Fetch an object into a file, which appears when it is whole; where it broke off before, it goes on."""
        key = check_key(key)
        destination = _destination(file_path, key.rpartition("/")[2])
        part, found = await download(self._target, key, destination, sha256=sha256, progress=_callable(progress))
        await off_loop(commit, part, destination)
        return {"file_path": str(destination), **found}

    async def head_object(self, key: str) -> dict[str, Any]:
        """What an object is: ``size``, ``etag``, ``last_modified``, ``content_type``, ``metadata``, ``sha256``."""
        key = check_key(key)
        with self._target.translated(key):
            found = await loaded().get_async(self._target.store, key, options={"head": True})
        labels: dict[str, str] = dict(found.attributes)
        headers = {name: labels.pop(header, None) for name, header in _HEADERS.items()}
        labels.pop("Storage-Class", None)
        metadata = {name.lower(): value for name, value in labels.items()}
        return {**self._described(found.meta), **headers, "metadata": metadata, SHA256: metadata.get(SHA256)}

    async def delete_object(self, key: str) -> dict[str, Any]:
        """Take an object away. One that is not there is no error, as it is none of S3's."""
        key = check_key(key)
        with self._target.translated(key):
            await loaded().delete_async(self._target.store, key)
        return {**self._target.where(key), "deleted": True}

    async def list_objects(
        self,
        prefix: str = "",
        *,
        delimiter: str | None = None,
        max_keys: int | None = None,
        start_after: str | None = None,
    ) -> dict[str, Any]:
        """The objects whose keys begin with ``prefix``, in order: ``objects``, ``prefixes``, ``truncated``.

        With the delimiter ``/``, keys that go on after the next slash are left out, and said once in ``prefixes``.
        """
        if delimiter not in (None, "", "/"):
            raise UnsupportedOperation(f"keys are grouped by '/', and not by {delimiter!r}")
        if max_keys is not None and (isinstance(max_keys, bool) or not isinstance(max_keys, int) or max_keys < 0):
            raise ConfigurationError(f"max_keys must be a whole number, not {max_keys!r}")
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix must be a text, not {type(prefix).__name__}")
        folder = prefix.rpartition("/")[0]  # obstore lists by whole segments
        if folder:
            check_key(folder)
        if delimiter:
            objects, prefixes = await self._level(folder, prefix, start_after)
            truncated = False
            if max_keys is not None:
                truncated, objects = len(objects) > max_keys, objects[:max_keys]
        else:
            prefixes = []
            objects, truncated = await self._all(folder, prefix, max_keys, start_after)
        return {
            "bucket": self._target.bucket,
            "prefix": prefix,
            "objects": objects,
            "prefixes": prefixes,
            "truncated": truncated,
        }

    async def _level(self, folder: str, prefix: str, start_after: str | None) -> tuple[list[dict[str, Any]], list[str]]:
        with translated(f"list of the bucket {self._target.bucket!r}", self._target.keys):
            found = await loaded().list_with_delimiter_async(self._target.store, folder or None)
        objects = [self._described(meta) for meta in found["objects"]]
        after = start_after or ""
        return (
            [each for each in objects if each["key"].startswith(prefix) and each["key"] > after],
            sorted(each.rstrip("/") + "/" for each in found["common_prefixes"] if each.startswith(prefix.rstrip("/"))),
        )

    async def _all(
        self, folder: str, prefix: str, most: int | None, start_after: str | None
    ) -> tuple[list[dict[str, Any]], bool]:
        objects: list[dict[str, Any]] = []
        with translated(f"list of the bucket {self._target.bucket!r}", self._target.keys):
            pages = loaded().list(self._target.store, folder or None, offset=start_after, chunk_size=_PAGE)
            async for page in pages:
                for meta in page:
                    if not meta["path"].startswith(prefix):
                        continue
                    if most is not None and len(objects) >= most:
                        return objects, True
                    objects.append(self._described(meta))
        return objects, False

    async def create_presigned_url(self, key: str, expiration: float = 3600, *, method: str = "GET") -> dict[str, Any]:
        """A URL that lets whoever has it do one thing (``GET``, ``PUT``, ``HEAD``, ``DELETE``) for some seconds."""
        key = check_key(key)
        verb = _METHODS.get(method, method.upper() if isinstance(method, str) else "")
        if verb not in _METHODS.values():
            raise ConfigurationError(f"method must be one of {', '.join(_METHODS.values())}, not {method!r}")
        if (
            isinstance(expiration, bool)
            or not isinstance(expiration, int | float)
            or not 1 <= expiration <= MOST_EXPIRY
        ):
            raise ConfigurationError(f"expiration must be between 1 and {MOST_EXPIRY} seconds, not {expiration!r}")
        if self._target.keys is None:
            raise MissingCredential("Authentication error: a URL is signed with keys, and there are none")
        with self._target.translated(key):
            url = await loaded().sign_async(self._target.store, verb, key, timedelta(seconds=int(expiration)))
        return {**self._target.where(key), "url": url, "method": verb, "expires_in": int(expiration)}

    def _described(self, meta: Mapping[str, Any]) -> dict[str, Any]:
        modified = meta["last_modified"]
        return {
            **self._target.where(meta["path"]),
            "size": meta["size"],
            "etag": meta["e_tag"],
            "last_modified": modified.isoformat() if isinstance(modified, datetime) else modified,
            "version_id": meta["version"],
        }


def _destination(given: str | os.PathLike[str] | None, name: str) -> Path:
    """The file that was asked for; in a folder, or where nothing was said, under the object's own last name."""
    path = Path("." if given is None else given)
    if not path.is_dir():
        return path
    if wrong := unsafe(name):
        raise ConfigurationError(f"the object's name {name!r} cannot be a file's, say file_path: {wrong}")
    return path / name


def _attributes(metadata: Mapping[str, str] | None, headers: Mapping[str, str]) -> dict[str, str]:
    made: dict[str, str] = {}
    for name, value in headers.items():
        if name not in _HEADERS:
            raise ConfigurationError(f"upload_file has no argument {name!r}; headers are: {', '.join(_HEADERS)}")
        made[_HEADERS[name]] = _plain(name, value)
    for name, value in (metadata or {}).items():
        if not isinstance(name, str) or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigurationError(f"{name!r} cannot be the name of an object's metadata")
        if name.lower() == SHA256:
            raise ConfigurationError("the metadata 'sha256' is the file's own, and is set by what sends it")
        made[name.lower()] = _plain(name, value)
    return made


def _plain(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ConfigurationError(f"the header or metadata {name!r} must be a text in printable ASCII")
    return value


def _size(given: Any, default: int) -> int:
    size = default if given is None else given
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigurationError(f"part_size must be a number of bytes, not {size!r}")
    return size


def _callable(progress: Any) -> Progress | None:
    if progress is not None and (not callable(progress) or asyncio.iscoroutinefunction(progress)):
        raise ConfigurationError("progress must be an ordinary function of two numbers: bytes done, and all of them")
    return progress  # type: ignore[no-any-return]  # callable, as was seen
