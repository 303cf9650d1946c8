"""An answer of a model in this process, as it is written: chunks from the servable to a `Stream`."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import AccelerateError, ReadTimeout, RuntimeUnavailable
from ipfs_accelerate_py.settings import Timeouts
from ipfs_accelerate_py.types import Chunk, Usage

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.serving.jobs import Job, Servable

__all__ = ["LocalSource"]


class LocalSource:
    """A `ChunkSource`. A task of its own holds the lease and reads; leaving cancels it, and that ends the writing."""

    def __init__(
        self,
        lease: AbstractAsyncContextManager[Servable],
        job: Job,
        model: str,
        deadline: float | None,
        limits: Timeouts,
    ) -> None:
        self.model = model
        self.usage = Usage()
        self.finish_reason: str | None = None
        self._deadline = deadline
        self._limits = limits
        self._chunks: deque[Chunk] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._here = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(lease, job))

    async def begin(self) -> list[Any]:
        """Chunks up to and with the first content; what fails before it fails like a whole answer."""
        most = self._limits.first_content
        until = None if most is None else time.monotonic() + most
        found: list[Any] = []
        try:
            while not any(map(_content, found)):
                more = await self._next(until, f"no content came within first_content_timeout ({most} s)")
                if not more:
                    break
                found += more
        except BaseException:
            self.abort()
            raise
        return found

    async def read(self) -> list[Any]:
        idle = self._limits.idle
        until = None if idle is None else time.monotonic() + idle
        return await self._next(until, f"nothing came for idle_timeout ({idle} s)")

    def abort(self) -> None:
        self._task.cancel()

    async def _next(self, until: float | None, late: str) -> list[Any]:
        deadline = self._deadline
        if deadline is not None and (until is None or deadline <= until):
            until, late = deadline, "the call's deadline has come"
        if not self._chunks and not self._ended:
            self._here.clear()
            try:
                async with asyncio.timeout(None if until is None else max(0.0, until - time.monotonic())):
                    await self._here.wait()
            except TimeoutError:
                raise ReadTimeout(late) from None
        if self._chunks:
            found = list(self._chunks)
            self._chunks.clear()
            return found
        if self._error is not None:
            raise self._error
        return []

    async def _run(self, lease: AbstractAsyncContextManager[Servable], job: Job) -> None:
        try:
            async with lease as servable, aclosing(_generator(servable.stream(job))) as chunks:
                async for chunk in chunks:
                    self._note(chunk)
        except asyncio.CancelledError:
            self._error = RuntimeUnavailable("the answer was left before its end")
            raise
        except AccelerateError as error:
            self._error = error
        except Exception as error:  # a model's code may raise anything, and the stream has to end in an error of ours
            self._error = RuntimeUnavailable(f"the model failed: {type(error).__name__}: {error}")
        finally:
            self._ended = True
            self._here.set()

    def _note(self, chunk: Chunk) -> None:
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.index == 0:
            self.finish_reason = chunk.finish_reason or self.finish_reason
        chunk.model = chunk.model or self.model
        self._chunks.append(chunk)
        self._here.set()


def _content(chunk: Chunk) -> bool:
    return bool(chunk.text or chunk.reasoning or chunk.tool_calls or chunk.refusal or chunk.finish_reason)


def _generator(chunks: AsyncIterator[Chunk]) -> Any:
    """An async iterator whose end can be asked for; those of servables are generators."""
    return chunks
