"""A job done by calls of our own: a few at a time, at LOW priority, each answer on disk before the next is begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from ipfs_accelerate_py.batch_jobs.host import Host
from ipfs_accelerate_py.batch_jobs.items import load_item
from ipfs_accelerate_py.batch_jobs.manifest import Manifest, Place
from ipfs_accelerate_py.batch_jobs.replies import is_final, store_error, store_reply
from ipfs_accelerate_py.batch_jobs.spool import Requests, Results
from ipfs_accelerate_py.errors import AccelerateError, AdmissionError

__all__ = ["CallsRun"]

#: How often a request is asked again that nobody could take just now, and the first wait (seconds; it doubles).
_TRIES = 6
_FIRST_WAIT = 1.0


class CallsRun:
    """Works through the requests that have no answer yet."""

    def __init__(
        self,
        host: Host,
        place: Place,
        manifest: Manifest,
        requests: Requests,
        results: Results,
        options: dict[str, Any],
        *,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._host = host
        self._place = place
        self._manifest = manifest
        self._requests = requests
        self._results = results
        self._options = options
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._told = asyncio.Event()

    def start(self) -> None:
        """Begin, or go on, where there is anything left to ask."""
        if self._results.final >= len(self._requests):
            return
        self._manifest.status = "in_progress"
        self._place.save(self._manifest)
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self) -> None:
        left = iter([index for index in range(len(self._requests)) if not self._results.has(index)])
        workers = [asyncio.create_task(self._work(left)) for _ in range(self._manifest.concurrency)]
        try:
            await asyncio.gather(*workers)
            self._manifest.status = "completed"
        except Exception:
            self._manifest.status = "stopped"
            raise
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._results.sync()
            self._place.save(self._manifest)
            self._told.set()

    async def _work(self, left: Iterator[int]) -> None:
        for index in left:
            item = load_item(self._requests.read(index))
            for attempt in range(_TRIES):
                call = self._host._call(
                    item.operation,
                    {**self._options, "priority": "LOW", "request_id": f"{self._manifest.id}-{index}"},
                    lambda rest, item=item: item.request,  # type: ignore[misc]
                )
                try:
                    reply = await self._host.send(call)
                except AccelerateError as error:
                    busy = isinstance(error, AdmissionError) or error.retryable
                    if busy and attempt + 1 < _TRIES:
                        await self._sleep(max(_FIRST_WAIT * 2**attempt, error.retry_after or 0.0))
                        continue
                    self._results.append(index, store_error(index, error), failed=True, final=is_final(error))
                else:
                    self._results.append(index, store_reply(index, reply))
                break
            self._told.set()

    async def changed(self) -> None:
        """Wait for another answer, or for the end. Raises what ended it, where that was no answer."""
        if self.running:
            await self._told.wait()
            self._told.clear()
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def stop(self, status: str) -> None:
        """End it; answers that are there stay. ``status`` is "cancelled" for good, or "stopped"."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        elif status == "stopped":
            return
        if self._manifest.status != "completed":
            self._manifest.status = status
            self._place.save(self._manifest)
            self._told.set()
