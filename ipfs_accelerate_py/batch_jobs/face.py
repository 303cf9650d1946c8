"""The verbs `batch` and `batch_job`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError

if TYPE_CHECKING:
    from ipfs_accelerate_py.batch_jobs.job import BatchJob
    from ipfs_accelerate_py.dialects.batches import BatchFormat

__all__ = ["BatchVerbs"]


class BatchVerbs:
    """Many requests at once, when there is no hurry."""

    #: How jobs wait between two looks, and what time it is (seconds since 1970): parameters, for tests.
    _batch_sleep: Callable[[float], Awaitable[None]] = staticmethod(asyncio.sleep)
    _batch_clock: Callable[[], float] = staticmethod(time.time)

    def _batch_api(self) -> BatchFormat | None:
        """The backend's batch API, where it has one."""
        return None

    async def batch(
        self,
        /,
        requests: Iterable[Any] | AsyncIterable[Any],
        *,
        model: str = "",
        via: str = "auto",
        window: str = "24h",
        manifest: str | os.PathLike[str] | None = None,
        concurrency: int = 8,
        **options: Any,
    ) -> BatchJob:
        """Hand in many requests, and get a `BatchJob` to wait for and to read results from.

        Each request is a dictionary of what the verb for it takes (``model`` and ``messages``, ``input``, ``prompt``,
        or ``query`` and ``documents``; ``operation`` where that does not tell it; ``custom_id`` for a name of one's
        own), or a line of OpenAI's batch files. They may be a generator's: they are kept on disk, not in memory.

        Args:
            model: asked where a request names none.
            via: "provider" for its batch API (half the price, within ``window``), "calls" for our own calls at LOW
                priority, ``concurrency`` at a time; "auto" is the provider where it has such a thing.
            window: how long the provider may take, as it writes it.
            manifest: a file to go on from. Where it is there already, and is of the same requests, the job is gone on
                with, and nothing is handed in or asked twice. What is asked and answered is kept beside it.
            options: ``tenant``, ``tags``, ``headers``, ``timeout`` and ``api_key_name``, for all of them.

        Every request is checked before the first one is sent. Raises `UnsupportedOperation` where the batch API does
        not take one of them.
        """
        from ipfs_accelerate_py.batch_jobs.making import Preparation, begin

        prepared = Preparation(self, model, via, window, manifest, concurrency, options)
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    prepared.add(request)
            else:
                for number, request in enumerate(requests):
                    prepared.add(request)
                    if number % 256 == 255:
                        await asyncio.sleep(0)
        except BaseException:
            prepared.discard()
            raise
        return await begin(prepared)

    async def batch_job(self, /, job: str | os.PathLike[str], *, run: bool = True) -> BatchJob:
        """Go on with a job: by its manifest, or by the provider's own id.

        With ``run=False`` it is only looked at: nothing is handed in, and nothing is asked by calls.
        """
        from ipfs_accelerate_py.batch_jobs.making import adopt, resume

        if _is_file(job):
            return await resume(self, job, run=run)
        api = self._batch_api()
        if api is None:
            raise ConfigurationError(
                f"there is no manifest {os.fspath(job)!r}, and this backend has no batch API that could know it"
            )
        return await adopt(self, api, os.fspath(job))


def _is_file(job: str | os.PathLike[str]) -> bool:
    if os.path.isfile(job):
        return True
    if isinstance(job, os.PathLike) or os.sep in job:
        raise ConfigurationError(f"there is no manifest {os.fspath(job)!r}")
    return False
