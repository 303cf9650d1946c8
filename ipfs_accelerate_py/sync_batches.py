"""Batch jobs for ordinary code and any number of threads."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.batch_jobs.face import BatchVerbs
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.pump import PumpedStream

if TYPE_CHECKING:
    from ipfs_accelerate_py.batch_jobs.job import BatchCounts, BatchJob, BatchResult

__all__ = ["SyncBatchJob", "SyncBatchVerbs"]


class SyncBatchVerbs(ABC):
    """`BatchVerbs`, driven on the portal's loop; requests are read in the caller's own thread."""

    _client: Any

    @abstractmethod
    def portal(self) -> Portal:
        """The portal, with the client's state on its loop."""

    def batch(
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
    ) -> SyncBatchJob:
        from ipfs_accelerate_py.batch_jobs.making import Preparation, begin

        portal = self.portal()
        if isinstance(requests, AsyncIterable):
            job = portal.call(
                self._client.batch,
                requests,
                model=model,
                via=via,
                window=window,
                manifest=manifest,
                concurrency=concurrency,
                **options,
            )
            return SyncBatchJob(portal, job)
        prepared = Preparation(self._client, model, via, window, manifest, concurrency, options)
        try:
            for request in requests:
                prepared.add(request)
        except BaseException:
            prepared.discard()
            raise
        return SyncBatchJob(portal, portal.call(begin, prepared))

    batch.__doc__ = BatchVerbs.batch.__doc__

    def batch_job(self, /, job: str | os.PathLike[str], *, run: bool = True) -> SyncBatchJob:
        portal = self.portal()
        return SyncBatchJob(portal, portal.call(self._client.batch_job, job, run=run))

    batch_job.__doc__ = BatchVerbs.batch_job.__doc__


class SyncBatchJob:
    """Many requests under way together; attributes and methods are those of `BatchJob`."""

    def __init__(self, portal: Portal, job: BatchJob) -> None:
        self._portal = portal
        self._job = job

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def via(self) -> str:
        return self._job.via

    @property
    def manifest(self) -> str | None:
        return self._job.manifest

    @property
    def provider_ids(self) -> list[str]:
        """Ids of the provider's jobs; several where the requests are more than it takes in one."""
        return self._job.provider_ids

    @property
    def status(self) -> str:
        """As of the last look; see `BatchJob.status`."""
        return self._job.status

    @property
    def ended(self) -> bool:
        return self._job.ended

    @property
    def problems(self) -> list[str]:
        """Why the provider refused the job, where it did."""
        return self._job.problems

    @property
    def counts(self) -> BatchCounts:
        """As of the last look."""
        return self._job.counts

    def refresh(self) -> BatchCounts:
        """Look how far it is."""
        return self._portal.call(self._job.refresh)

    def watch(self) -> Iterator[BatchCounts]:
        """How far it is, now and whenever that has changed, until it has ended."""
        return _pumped(self._portal, self._job.watch(), 1)

    def wait(
        self, timeout: float | None = None, *, progress: Callable[[BatchCounts], object] | None = None
    ) -> BatchCounts:
        """Until it has ended. ``progress`` is called (on the loop's thread: keep it short) when something has changed.

        Raises `ReadTimeout` after ``timeout`` seconds; the job goes on.
        """
        return self._portal.call(self._job.wait, timeout, progress=progress)

    def cancel(self) -> BatchCounts:
        """End it early. What was answered by then stays, and with a provider is paid for."""
        return self._portal.call(self._job.cancel)

    def results(self) -> Iterator[BatchResult]:
        """Every request's result, in the order of the requests; waits for the job's end first."""
        return _pumped(self._portal, self._job.results(), 32)

    def close(self) -> None:
        """Let go of the files. A job that is done by calls stops here, and can be gone on with from its manifest."""
        self._portal.call(self._job.aclose)

    def __enter__(self) -> SyncBatchJob:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Sync{self._job!r}"


def _pumped(portal: Portal, items: AsyncIterator[Any], most: int) -> Iterator[Any]:
    async def batch() -> list[Any]:
        found: list[Any] = []
        async for item in items:
            found.append(item)
            if len(found) >= most:
                break
        return found

    return PumpedStream(portal, batch, lambda: None, bound=2 * most)
