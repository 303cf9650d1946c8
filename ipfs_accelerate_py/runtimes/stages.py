"""The steps of a `BatchScheduler`, each in threads of its own, and what they hand to one another."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, MemoryExhausted, RuntimeUnavailable

from .batching import BatchCutter, Item
from .extras import lacks
from .preparing import PrepareQueue
from .scheduled import Request, Steps, blame, failure, is_out_of_memory, owner

__all__ = ["CLOSED", "Stages"]

CLOSED = "the local model has been unloaded"


class Stages:
    """What the threads do, and the state that they share under one lock. Arguments as of `BatchScheduler`."""

    def __init__(
        self,
        steps: Steps,
        cutter: BatchCutter,
        *,
        name: str = "model",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._cutter = cutter
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._to_prepare = PrepareQueue(steps.most_waiting)
        self._prepare_turn = threading.Condition(self._lock)
        self._forward_turn = threading.Condition(self._lock)
        self._finish_turn = threading.Condition(self._lock)
        # Batches that are under way on the device: few, so that its memory is not filled with what nobody has fetched.
        self._launched: deque[tuple[list[Item], Any]] = deque()
        self._most_launched = 2 * cutter.workers
        # Parts of batches that failed, to be run apart.
        self._again: deque[list[Item]] = deque()
        self._requests: dict[Request, None] = {}
        self._threads: list[threading.Thread] = []
        self._forwarding = cutter.workers
        self._finishing = steps.finishers
        self._collecting = 0
        self._ended: Future[None] = Future()
        self._closed = False
        self._pid = 0
        self._counts = dict.fromkeys(
            ("batches", "items", "tokens", "padded_tokens", "failed", "cancelled", "out_of_memory"), 0
        )

    def _prepare_all(self) -> None:
        while True:
            with self._lock:
                while not self._closed and (request := self._to_prepare.take(self._cutter.weights)) is None:
                    self._prepare_turn.wait()
                if self._closed:
                    return
            assert request is not None
            self._prepare(request)

    def _prepare(self, request: Request) -> None:
        start = request.prepared
        inputs = request.inputs[start : start + self._steps.slice]
        try:
            parts = self._steps.prepare(inputs, start, request.options)
            items = request.expect(start, parts)
        except AccelerateError as exc:
            self._fail(request, exc)
            return
        except BaseException as exc:  # panics of Rust's, as tokenizers may raise, are no `Exception`
            self._fail(request, blame(self._steps, inputs, start, request.options, exc))
            return
        with self._lock:
            if request not in self._requests:
                return
            request.prepared += len(inputs)
            self._cutter.add(items)
            self._forward_turn.notify(self._cutter.workers)
            if request.prepared < len(request.inputs):
                self._to_prepare.add(request)
                self._prepare_turn.notify()

    def _forward_all(self) -> None:
        self._steps.start()
        while (batch := self._next_batch()) is not None:
            self._forward(batch)
        with self._lock:
            self._forwarding -= 1
            self._finish_turn.notify_all()

    def _next_batch(self) -> list[Item] | None:
        with self._lock:
            while True:
                if self._closed and not self._again:
                    return None
                # Those of a failed batch first: they have waited longest.
                if self._again or (len(self._cutter) and len(self._launched) < self._most_launched):
                    break
                self._forward_turn.wait()
            batch = self._again.popleft() if self._again else self._cutter.cut()
            self._prepare_turn.notify()
            return batch

    def _forward(self, batch: list[Item]) -> None:
        try:
            launched = self._steps.forward([item.payload for item in batch])
        except BaseException as exc:
            self._run_apart(batch, exc)
            return
        with self._lock:
            self._counts["batches"] += 1
            self._counts["items"] += len(batch)
            self._counts["tokens"] += sum(item.length for item in batch)
            self._counts["padded_tokens"] += len(batch) * max(item.length for item in batch)
            self._launched.append((batch, launched))
            self._finish_turn.notify()

    def _run_apart(self, batch: list[Item], cause: BaseException) -> None:
        """Halve a failed batch until the failure stands alone: one caller's bad input costs nobody else an answer."""
        exhausted = is_out_of_memory(cause)
        if len(batch) == 1:
            self._fail(owner(batch[0]), failure(batch[0].index, cause))
        with self._lock:
            if exhausted:
                self._counts["out_of_memory"] += 1
            if len(batch) > 1:
                if exhausted:
                    self._cutter.shrink(batch)
                half = len(batch) // 2
                # A request that failed or went away meanwhile has nothing to be run for.
                parts = [
                    [item for item in part if owner(item) in self._requests] for part in (batch[:half], batch[half:])
                ]
                self._again.extend(part for part in parts if part)
            self._forward_turn.notify_all()

    def _finish_all(self) -> None:
        while (launched := self._next_launched()) is not None:
            batch, running = launched
            try:
                rows = self._steps.collect(running, [item.payload for item in batch])
                paired = list(zip(batch, rows, strict=True))
            except BaseException as exc:
                self._run_apart(batch, exc)
            else:
                with self._lock:
                    self._cutter.went_well()
                for item, row in paired:
                    self._deliver(owner(item), item, row)
                del paired, rows
            del batch, running, launched
            with self._lock:
                self._collecting -= 1
                self._finish_turn.notify_all()
        with self._lock:
            self._finishing -= 1
            last = self._finishing == 0
        if last:
            self._end()

    def _next_launched(self) -> tuple[list[Item], Any] | None:
        with self._lock:
            while not self._launched:
                # What is being collected may fail yet, and go back to the forward threads.
                if not self._forwarding and not self._collecting:
                    return None
                self._finish_turn.wait()
            self._collecting += 1
            self._forward_turn.notify()
            return self._launched.popleft()

    def _end(self) -> None:
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        # Inputs that were being prepared or run when the scheduler closed, and whose request can no longer be whole.
        for request in list(self._requests):
            self._fail(request, RuntimeUnavailable(CLOSED))
        self._ended.set_result(None)

    def _deliver(self, request: Request, item: Item, row: Any) -> None:
        with self._lock:
            whole = request.take(item, row) if request in self._requests else None
        if whole is None:
            return
        try:
            outcome = self._steps.join(whole.rows, whole.parts, request.options)
            with self._lock:
                complete = request in self._requests and request.settle(item.index, outcome)
            if not complete:
                return
            result = request.finish(request.outcomes), request.tokens
        except AccelerateError as exc:
            self._fail(request, exc)
            return
        except BaseException as exc:  # This thread answers everybody: it must outlive any one request.
            kind = MemoryExhausted if is_out_of_memory(exc) else RuntimeUnavailable
            self._fail(
                request,
                lacks("what finishes the outputs", exc)
                if isinstance(exc, ImportError)
                else kind(f"the outputs for input {item.index} could not be finished: {exc}"),
            )
            return
        with self._lock:
            claimed = self._requests.pop(request, self) is None
        if claimed and request.future.set_running_or_notify_cancel():
            request.future.set_result(result)

    def _fail(self, request: Request, error: AccelerateError) -> None:
        # Whoever takes the request out of the table answers it, so no future is resolved twice.
        with self._lock:
            if self._requests.pop(request, self) is self:
                return
            request.drop()  # first: where memory has run out, the rest needs some
            self._cutter.discard(request)
            self._prepare_turn.notify()
            self._counts["failed"] += 1
        if request.future.set_running_or_notify_cancel():
            request.future.set_exception(error)
