"""An answer read through aiohttp."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import AccelerateError, ProtocolError, ReadTimeout, StreamCut, TransportError
from ipfs_accelerate_py.transport.failures import translate
from ipfs_accelerate_py.transport.seam import Limits, earliest

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AiohttpResponse"]

_DEADLINE = "the upstream's answer did not end within the call's limit of time"


class AiohttpResponse:
    """An `HttpResponse`, with its own watchdog.

    The watchdog is one timer for the whole body: a wait notes when it began, and the timer looks at that when it
    fires. A timer set and cancelled for each chunk would cost more than the chunk.
    """

    __slots__ = (
        "_content",
        "_deadline",
        "_failure",
        "_idle",
        "_inflate",
        "_left",
        "_open",
        "_raw",
        "_timer",
        "_waiting",
        "headers",
        "status",
    )

    def __init__(self, raw: aiohttp.ClientResponse, limits: Limits, open_responses: set[AiohttpResponse]) -> None:
        self._raw = raw
        self._open = open_responses
        open_responses.add(self)
        self._content: Any = raw.content
        self.status: int = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._idle = limits.idle
        self._deadline = limits.deadline
        self._left = limits.max_body
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: float | None = None
        #: Why we broke it off ourselves, where we did.
        self._failure: TransportError | None = None
        self._inflate: Any = None
        encoding = raw.headers.get("Content-Encoding")
        if encoding and encoding.lower() != "identity":
            self._inflate = self._inflater(encoding.lower())

    async def read(self) -> bytes:
        length = self._raw.content_length
        if length is not None and length > self._left:
            raise self._oversize()
        parts: list[bytes] = []
        while part := await self.read_some():
            parts.append(part)
        if not parts:
            return b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_some(self) -> bytes:
        while True:
            data = await self._some()
            if not data or self._inflate is None:
                return data
            data = self._inflated(data)
            if data:
                return data

    async def _some(self) -> bytes:
        content = self._content
        try:
            now = time.monotonic()
            if self._deadline is not None and now >= self._deadline:
                self._failure = ReadTimeout(_DEADLINE, status=self.status)
                raise TimeoutError
            # What has come is handed out before it is told that the connection broke afterwards; aiohttp's public
            # read_nowait would tell that first.
            if content._buffer:
                data: bytes = content._read_nowait(-1)
            elif content.exception() is not None:
                raise content.exception()
            elif content.at_eof():
                data = b""
            else:
                self._waiting = now
                if self._timer is None:
                    self._watch()
                data = await content.readany()
                self._waiting = None
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception as error:
            self.abort()
            failure: AccelerateError = self._failure or translate(error, answered=True)
        else:
            return self._taken(data)
        try:
            raise failure  # out here, so that aiohttp's error is not dragged along: it holds our headers
        finally:
            del failure

    def _taken(self, data: bytes) -> bytes:
        if not data:
            self.abort()
            return b""
        self._left -= len(data)
        if self._left < 0:
            raise self._oversize()
        return data

    def wait_at_most(self, idle: float | None, until: float | None) -> None:
        self._idle = idle
        self._deadline = until
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def client_closed(self) -> None:
        """The pool is being closed: whoever reads here must hear of it, which aiohttp does not see to."""
        self._break_off(StreamCut("the client was closed before the upstream's answer had ended", status=self.status))

    def _break_off(self, failure: TransportError) -> None:
        self._failure = failure
        self._raw.close()

    def abort(self) -> None:
        self._open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._raw.closed:
            self._raw.close()

    def _watch(self) -> None:
        # Only while a read waits: a reader that takes its time must not look like a silent upstream.
        waiting = self._waiting
        if waiting is None:
            self._timer = None
            return
        until = earliest(self._deadline, None if self._idle is None else waiting + self._idle)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            words = (
                _DEADLINE
                if until == self._deadline
                else f"the upstream fell silent in the middle of its answer for {self._idle:g} s (idle_timeout)"
            )
            self._timer = None
            self._break_off(ReadTimeout(words, status=self.status))
            return
        self._timer = asyncio.get_running_loop().call_later(left, self._watch)

    # --- compression, which was not asked for --------------------------------------------------------------------

    def _inflater(self, encoding: str) -> Any:
        if encoding in ("gzip", "x-gzip"):
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        if encoding == "deflate":
            return zlib.decompressobj()
        self.abort()
        raise ProtocolError(
            f"the upstream answered in a content encoding that was not asked for: {encoding[:40]!r}", status=self.status
        )

    def _inflated(self, data: bytes) -> bytes:
        # Bounded by what is left of the body's limit, so a small answer cannot swell without end.
        try:
            out: bytes = self._inflate.decompress(data, max(1, self._left))
        except zlib.error as error:
            self.abort()
            raise ProtocolError(f"the answer is not the gzip it says it is: {error}", status=self.status) from None
        self._left -= len(out)
        if self._left <= 0 or self._inflate.unconsumed_tail:
            raise self._oversize()
        return out

    def _oversize(self) -> ProtocolError:
        self.abort()
        return ProtocolError("the upstream's answer is larger than max_body_bytes allows", status=self.status)
