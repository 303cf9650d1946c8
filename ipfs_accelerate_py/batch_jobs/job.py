"""A batch job as callers see it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import NamedTuple

import msgspec

from ipfs_accelerate_py.batch_jobs.calls import CallsRun
from ipfs_accelerate_py.batch_jobs.items import load_item
from ipfs_accelerate_py.batch_jobs.manifest import Manifest, Place
from ipfs_accelerate_py.batch_jobs.provider import ProviderRun, line_of
from ipfs_accelerate_py.batch_jobs.replies import load_outcome
from ipfs_accelerate_py.batch_jobs.spool import Requests, Results
from ipfs_accelerate_py.dialects.batches import ENDED, unanswered
from ipfs_accelerate_py.errors import AccelerateError, ReadTimeout
from ipfs_accelerate_py.types import Reply

__all__ = ["BatchCounts", "BatchJob", "BatchResult"]

#: Seconds between two looks at a provider's job: the first, and the longest.
_FIRST_LOOK = 2.0
_LAST_LOOK = 60.0


class BatchCounts(NamedTuple):
    """How far a job is. Some providers count at the end only."""

    total: int
    completed: int
    failed: int

    @property
    def left(self) -> int:
        return max(0, self.total - self.completed - self.failed)


class BatchResult(msgspec.Struct, frozen=True):
    """What came of one request: a reply or an error. ``custom_id`` is the caller's own name for it, or empty."""

    index: int
    custom_id: str
    reply: Reply | None
    error: AccelerateError | None


class BatchJob:
    """Many requests under way together.

    ::

        job = await client.batch(requests, manifest="night.json")
        await job.wait(progress=print)
        async for result in job.results():
            print(result.custom_id, result.reply.text if result.reply else result.error)

    Attributes:
        id: ours; `BatchJob.provider_ids` are the provider's.
        via: "provider" or "calls": who works it off.
        manifest: the file that another process goes on from (``client.batch_job(manifest)``), or None.
    """

    def __init__(
        self,
        place: Place,
        manifest: Manifest,
        requests: Requests,
        results: Results,
        run: ProviderRun | CallsRun,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._place = place
        self._state = manifest
        self._requests = requests
        self._results = results
        self._run = run
        self._sleep = sleep

    @property
    def id(self) -> str:
        return self._state.id

    @property
    def via(self) -> str:
        return self._state.via

    @property
    def manifest(self) -> str | None:
        return os.fspath(self._place.manifest) if self._place.kept else None

    @property
    def provider_ids(self) -> list[str]:
        """Ids of the provider's jobs; several where the requests are more than it takes in one."""
        return [part.job for part in self._state.parts if part.job]

    @property
    def status(self) -> str:
        """As of the last look: "validating", "in_progress", "finalizing", "cancelling", "stopped" (its process was), or
        one of the ends: "completed", "failed", "expired", "cancelled"."""
        return self._state.status

    @property
    def ended(self) -> bool:
        return self._state.status in ENDED

    @property
    def problems(self) -> list[str]:
        """Why the provider refused the job, where it did."""
        return [problem for part in self._state.parts for problem in part.problems]

    @property
    def counts(self) -> BatchCounts:
        """As of the last look."""
        if isinstance(self._run, CallsRun):
            return BatchCounts(self._state.total, self._results.answered, self._results.failed)
        parts = self._state.parts
        return BatchCounts(self._state.total, sum(part.completed for part in parts), sum(part.failed for part in parts))

    # --- waiting -------------------------------------------------------------------------------------------------

    async def refresh(self) -> BatchCounts:
        """Look how far it is."""
        if isinstance(self._run, ProviderRun) and not self.ended:
            await self._run.refresh()
        return self.counts

    async def watch(self) -> AsyncIterator[BatchCounts]:
        """How far it is, now and whenever that has changed, until it has ended."""
        told = await self.refresh()
        yield told
        wait = _FIRST_LOOK
        while not self.ended and (isinstance(self._run, ProviderRun) or self._run.running):
            if isinstance(self._run, CallsRun):
                await self._run.changed()
            else:
                await self._sleep(wait)
                wait = min(wait * 1.5, _LAST_LOOK)
            counts = await self.refresh()
            if counts != told:
                told = counts
                yield counts

    async def wait(
        self, timeout: float | None = None, *, progress: Callable[[BatchCounts], object] | None = None
    ) -> BatchCounts:
        """Until it has ended. ``progress`` is called whenever something has changed.

        Raises `ReadTimeout` after ``timeout`` seconds; the job goes on.
        """
        try:
            async with asyncio.timeout(timeout):
                async for counts in self.watch():
                    if progress is not None:
                        progress(counts)
        except TimeoutError:
            raise ReadTimeout(f"the batch job {self.id} has not ended within {timeout} s; it goes on") from None
        return self.counts

    async def cancel(self) -> BatchCounts:
        """End it early. What was answered by then stays, and with a provider is paid for."""
        if isinstance(self._run, CallsRun):
            await self._run.stop("cancelled")
        elif not self.ended:
            await self._run.cancel()
        return self.counts

    # --- results -------------------------------------------------------------------------------------------------

    async def results(self) -> AsyncIterator[BatchResult]:
        """Every request's result, in the order of the requests; waits for the job's end first.

        A request that failed, or was not come to, has its error in the place of a reply. One result is in memory at a
        time.
        """
        await self.wait()
        if isinstance(self._run, ProviderRun):
            await self._run.fetch(self._results)
        places = self._state.total if len(self._requests) else max(self._state.total, len(self._results))
        for index in range(places):
            if index % 64 == 0:
                await asyncio.sleep(0)
            result = self._result(index)
            if result is not None:
                yield result

    def _result(self, index: int) -> BatchResult | None:
        known = index < len(self._requests)
        name = load_item(self._requests.read(index)).custom_id if known else ""
        stored = self._results.read(index)
        outcome: Reply | AccelerateError
        if stored is None:
            if not known:
                return None  # nobody knows whose place this is
            missing = self._run.missing(index) if isinstance(self._run, ProviderRun) else unanswered(self.status)
            return BatchResult(index, name, None, missing)
        if isinstance(self._run, ProviderRun):
            line = line_of(stored)
            _, outcome = self._run.outcome(index, line)
            name = name or (self._run.name(line) if not known else "")
        else:
            outcome = load_outcome(msgspec.json.decode(stored))
        if isinstance(outcome, Reply):
            return BatchResult(index, name, outcome, None)
        return BatchResult(index, name, None, outcome)

    # --- the end -------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Let go of the files. A job that is done by calls stops here, and can be gone on with from its manifest."""
        if isinstance(self._run, CallsRun):
            await self._run.stop("stopped")
        self._requests.close()
        self._results.close()
        if not self._place.kept:
            self._place.remove()

    async def __aenter__(self) -> BatchJob:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"BatchJob({self.id!r}, {self.status!r})"
