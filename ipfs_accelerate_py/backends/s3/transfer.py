"""Objects to and from files: in parts, resumed where they broke off, checked by their SHA-256, and told as they go.

The hash travels in the object's own metadata (``x-amz-meta-sha256``). S3 itself checks what it receives by the hash
that each request is signed with.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ipfs_accelerate_py.backends.s3.access import Keys, loaded
from ipfs_accelerate_py.backends.s3.failures import Changed, translated
from ipfs_accelerate_py.backends.s3.files import Note, PartFile, digest_of, off_loop, open_regular
from ipfs_accelerate_py.errors import AccelerateError, IntegrityError, ProtocolError, StoreError, StreamCut

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

__all__ = ["SHA256", "Progress", "Target", "download", "upload"]

Progress = Callable[[int, int], object]
#: Called with the bytes done and those there are, on the event loop.

SHA256 = "sha256"
#: S3 takes no more parts than this.
MOST_PARTS = 10_000
#: Bytes are written to disk in blocks of at least this size.
BLOCK = 1 << 20
#: How long a cancelled upload may take to clear up after itself (seconds).
CLEARING = 10.0


class Target:
    """A bucket that is open, and what it is called in errors."""

    def __init__(self, store: S3Store, bucket: str, keys: Keys | None) -> None:
        self.store = store
        self.bucket = bucket
        self.keys = keys

    def name(self, key: str) -> str:
        return f"object {key!r} in the bucket {self.bucket!r}"

    def translated(self, key: str) -> Any:
        return translated(self.name(key), self.keys)

    def where(self, key: str) -> dict[str, Any]:
        return {"bucket": self.bucket, "key": key}


# --- up ----------------------------------------------------------------------------------------------------------


async def upload(
    target: Target,
    path: Path,
    key: str,
    *,
    part_size: int,
    parts_at_once: int,
    attributes: Mapping[str, str] | None = None,
    known_sha256: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Send a file. One that fits into a part goes whole; a larger one in parts, which are taken back if one fails.

    The object is there when this returns, and not before. A file that changes meanwhile is a `StoreError`. With more
    than one of ``parts_at_once`` an upload is faster, and one that fails may leave parts behind: S3 does not promise
    that parts on their way are gone when they are taken back.
    """
    file, size = open_regular(path)
    source: _Parts | None = None
    try:
        sha256 = known_sha256 or (await asyncio.to_thread(digest_of, path))[0]
        part_size = max(part_size, -(-size // MOST_PARTS))
        source = _Parts(file, path, size, part_size, sha256, progress)
        labels = {**(attributes or {}), SHA256: sha256}
        if size <= part_size:
            data = await source.whole()
            with target.translated(key):
                result = await loaded().put_async(target.store, key, data, attributes=labels, use_multipart=False)
        else:
            result = await _in_parts(target, key, source, labels, part_size, parts_at_once)
    finally:
        if source is not None:
            await source.settled()
        file.close()
    if progress is not None:
        progress(size, size)
    return {
        **target.where(key),
        "size": size,
        "sha256": sha256,
        "etag": result["e_tag"],
        "version_id": result["version"],
    }


async def _in_parts(
    target: Target, key: str, source: _Parts, labels: dict[str, str], part_size: int, parts_at_once: int
) -> Any:
    async def put() -> Any:
        with target.translated(key):
            return await loaded().put_async(
                target.store,
                key,
                source,
                attributes=labels,
                use_multipart=True,
                chunk_size=part_size,
                max_concurrency=parts_at_once,
            )

    # obstore takes its parts back when its source fails, and leaves them there when it is cancelled.
    putting = asyncio.ensure_future(put())
    try:
        return await asyncio.shield(putting)
    except asyncio.CancelledError:
        source.stop()
        try:
            await asyncio.wait([putting], timeout=CLEARING)
        finally:
            putting.cancel()
            await asyncio.wait([putting])
            _heard(putting)
        raise
    except AccelerateError:
        if source.failure is not None:  # obstore says it in its own words
            raise source.failure from None
        raise


def _heard(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


class _Parts:
    """A file as parts for obstore, hashed on the way: what was sent must be what was promised."""

    def __init__(
        self, file: IO[bytes], path: Path, size: int, part_size: int, sha256: str, progress: Progress | None
    ) -> None:
        self._file = file
        self._path = path
        self._size = size
        self._part_size = part_size
        self._sha256 = sha256
        self._progress = progress
        self._digest = hashlib.sha256()
        self._done = 0
        self._stopped = False
        self._reading: asyncio.Future[bytes] | None = None
        self.failure: Exception | None = None

    def stop(self) -> None:
        self._stopped = True

    async def whole(self) -> bytes:
        data = await self._read()
        self._check()
        return data

    async def settled(self) -> None:
        """Nobody reads from the file any more."""
        if self._reading is not None and not self._reading.done():
            await asyncio.wait([self._reading])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        try:
            return await self._next()
        except StopAsyncIteration:
            raise
        except Exception as failure:
            # Said at the next time of asking. For now there is nothing to send, so that obstore waits for the part
            # on its way: none must be when those that were sent are taken back.
            self.failure = failure
            return b""

    async def _next(self) -> bytes:
        if self._stopped:
            raise StoreError("the upload was cancelled")
        if self._progress is not None and 0 < self._done < self._size:
            self._progress(self._done, self._size)
        data = await self._read()
        self._done += len(data)
        if not data:
            self._check()
            raise StopAsyncIteration
        return data

    async def _read(self) -> bytes:
        # obstore may leave in the middle of it, and the file is closed after that.
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._read_part))
        return await asyncio.shield(self._reading)

    def _read_part(self) -> bytes:
        wanted = self._part_size
        pieces = []
        while wanted and (piece := self._file.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        data = b"".join(pieces)
        self._digest.update(data)
        return data

    def _check(self) -> None:
        if self._digest.hexdigest() != self._sha256:
            raise StoreError(f"the file {str(self._path)!r} changed while it was being uploaded; nothing was stored")


# --- down --------------------------------------------------------------------------------------------------------


async def download(
    target: Target,
    key: str,
    destination: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> tuple[PartFile, dict[str, Any]]:
    """Fetch an object into the ``.part`` beside ``destination``, whole, checked and on disk; to be committed.

    What an earlier attempt left is gone on from where the object is still the same one, and else begun anew.
    ``sha256`` and ``size`` are what it must be; its own metadata count where they are not given. Raises `NotFound`,
    and `IntegrityError` for other bytes than it must have.
    """
    part = PartFile(destination)
    try:
        await off_loop(part.recall)
        resumed = await _fill(target, key, part, progress)
        if _wrong(part, sha256, size) and resumed:
            # What was left here may be at fault, and not what is stored.
            await off_loop(part.restart)
            resumed = await _fill(target, key, part, progress)
        if wrong := _wrong(part, sha256, size):
            await off_loop(part.discard)
            raise IntegrityError(f"the {target.name(key)} is not what it must be: {wrong}")
        await off_loop(part.settle)
    except BaseException:
        part.close()
        raise
    note = part.note
    assert note is not None
    if progress is not None:
        progress(part.size, part.size)
    return part, {
        **target.where(key),
        "size": part.size,
        "sha256": part.sha256,
        "etag": note.etag,
        "resumed_from": resumed,
    }


def _wrong(part: PartFile, sha256: str | None, size: int | None) -> str:
    note = part.note
    assert note is not None
    for wanted, who in ((sha256, "the manifest"), (note.sha256, "its metadata")):
        if wanted and part.sha256 != wanted.lower():
            return f"its SHA-256 is {part.sha256}, and not {wanted}, as {who} says"
    if size is not None and part.size != size:
        return f"it has {part.size} bytes, and not {size}"
    return ""


async def _fill(target: Target, key: str, part: PartFile, progress: Progress | None) -> int:
    """Bring the part to the object's size, and say from where it was gone on."""
    note = part.note
    begun = note is not None and part.size > 0 and (note.bucket, note.key) == (target.bucket, key)
    if begun and note is not None:
        try:
            if part.size == note.size:
                await _ask(target, key, {"if_match": note.etag, "head": True})
                return part.size
            result = await _ask(target, key, {"if_match": note.etag, "range": {"offset": part.size}})
        except Changed:
            pass  # another object by now
        else:
            if result.range[0] == part.size and result.meta["size"] == note.size:
                offset = part.size
                await _take(target, key, result, part, progress)
                return offset
    await off_loop(part.restart)
    result = await _ask(target, key, {})
    meta = result.meta
    etag = meta["e_tag"]
    if not etag:
        raise ProtocolError(f"the answer for the {target.name(key)} has no ETag, and is not S3's")
    labels = {name.lower(): value for name, value in result.attributes.items()}
    await off_loop(part.begin, Note(target.bucket, key, etag, meta["size"], labels.get(SHA256)))
    await _take(target, key, result, part, progress)
    return 0


async def _ask(target: Target, key: str, options: dict[str, Any]) -> GetResult:
    with target.translated(key):
        result: GetResult = await loaded().get_async(target.store, key, options=options)
        return result


async def _take(target: Target, key: str, result: GetResult, part: PartFile, progress: Progress | None) -> None:
    note = part.note
    assert note is not None
    stream = result.stream(min_chunk_size=BLOCK)
    while True:
        with target.translated(key):
            try:
                data = await anext(stream)
            except StopAsyncIteration:
                break
        await off_loop(part.write, data)
        if progress is not None and part.size < note.size:
            progress(part.size, note.size)
    if part.size != note.size:
        raise StreamCut(f"the {target.name(key)} ended after {part.size} of {note.size} bytes")
