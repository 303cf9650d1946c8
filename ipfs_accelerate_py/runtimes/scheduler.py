"""Many callers' inputs through one model: overlapping steps, each in threads of its own.

::

    submit() -> [prepare] -> cutter -> [forward] -> [finish: collect, join] -> the caller's future

An input is prepared into one or more parts (a text's tokens; windows of a recording); parts of any number of inputs and
callers run together; and the rows of all parts of one input are joined into its outcome. Nothing is delayed on purpose:
a forward thread that has nothing to do takes what waits at once, and batches form by themselves while it is busy. The
steps are functions passed in, so none of this knows of torch or of tokenizers.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

from .scheduled import Request, Steps
from .stages import CLOSED, Stages

__all__ = ["BatchScheduler", "Steps"]


class BatchScheduler(Stages):
    """Runs requests from any thread or event loop; threads start with the first one.

    Args:
        steps: what to run.
        cutter: which parts run together; it says how many forward threads there are.
        name: what its threads are called after.
        clock: seconds, for the age of what waits in :meth:`snapshot`.
    """

    def submit(
        self,
        inputs: Sequence[Any],
        options: Mapping[str, Any],
        *,
        finish: Callable[[list[Any]], Any] = lambda outcomes: outcomes,
        priority: int = 1,
    ) -> Future[tuple[Any, list[int]]]:
        """Queue at least one input; the future holds what ``finish`` makes of their outcomes, and each one's tokens.

        Cancelling the future drops what has not started. ``finish`` runs in a finishing thread.

        Raises:
            RuntimeUnavailable: closed, or called in a forked child of the process that loaded the model.
        """
        request = Request(inputs, options, finish, priority, self._clock())
        if self._forked():
            raise RuntimeUnavailable("a local model does not survive a fork: load it again in this process")
        with self._lock:
            if self._closed:
                raise RuntimeUnavailable(CLOSED)
            if not self._threads:
                self._start_threads()
            self._requests[request] = None
            self._to_prepare.add(request)
            self._prepare_turn.notify()
        # Weak, or inputs and outcomes would stay in a cycle with the future until the garbage collector comes by.
        waiting = weakref.ref(request)
        request.future.add_done_callback(lambda future: self._forget(waiting()) if future.cancelled() else None)
        return request.future

    def snapshot(self) -> dict[str, Any]:
        """Counts since the start, and what waits now; ``oldest_s`` is the age of the oldest unanswered request."""
        with self._lock:
            counts: dict[str, Any] = dict(self._counts)
            oldest = next(iter(self._requests), None)
            queued = {
                "requests": len(self._requests),
                "items": len(self._cutter),
                "tokens": self._cutter.tokens,
                "oldest_s": self._clock() - oldest.arrived if oldest is not None else 0.0,
            }
        padded = counts["padded_tokens"]
        return {**counts, "padding_ratio": 1 - counts["tokens"] / padded if padded else 0.0, "queue": queued}

    def close(self) -> None:
        """Fail what waits, let batches in flight finish, and end the threads. May be called again."""
        if self._forked():
            return
        self._stop()
        self._ended.result()
        for thread in self._threads:
            thread.join()

    async def aclose(self) -> None:
        """As :meth:`close`, without blocking the event loop while the last batch finishes."""
        if self._forked():
            return
        self._stop()
        await asyncio.shield(asyncio.wrap_future(self._ended))
        self.close()  # Waits for nothing any more.

    # --- threads --------------------------------------------------------------------------------------------------

    def _forked(self) -> bool:
        """Whether this is a copy in a forked child: its threads are not there, and its lock may be held for ever."""
        return bool(self._threads) and self._pid != os.getpid()

    def _start_threads(self) -> None:
        self._pid = os.getpid()
        steps = self._steps
        targets = [
            *[("prepare", self._prepare_all)] * steps.preparers,
            *[("forward", self._forward_all)] * self._cutter.workers,
            *[("finish", self._finish_all)] * steps.finishers,
        ]
        self._threads = [
            threading.Thread(target=target, name=f"{self._name}_{step}", daemon=True) for step, target in targets
        ]
        for thread in self._threads:
            thread.start()

    def _forget(self, request: Request | None) -> None:
        with self._lock:
            if request is not None and self._requests.pop(request, self) is None:
                self._cutter.discard(request)
                self._to_prepare.discard(request)
                self._prepare_turn.notify()
                self._counts["cancelled"] += 1

    def _stop(self) -> None:
        with self._lock:
            first, self._closed = not self._closed, True
            for turn in (self._prepare_turn, self._forward_turn, self._finish_turn):
                turn.notify_all()
            waiting = self._to_prepare.drain()
            waiting += [request for request in self._requests if self._cutter.discard(request)]
        for request in waiting:
            self._fail(request, RuntimeUnavailable(CLOSED))
        if first and not self._threads:
            self._ended.set_result(None)
