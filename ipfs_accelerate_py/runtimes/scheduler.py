"""Many callers' texts through one model: three overlapping steps, each in threads of its own.

::

    submit() -> [tokenise: 1 thread] -> cutter -> [forward: n threads] -> [finish: 1 thread] -> the caller's future

Nothing is delayed on purpose: a forward thread that has nothing to do takes what waits at once, and batches form by
themselves while it is busy. The steps are functions passed in, so none of this knows of torch or of tokenizers.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import AccelerateError, ContextLengthExceeded, InvalidRequest, RuntimeUnavailable

from .batching import BatchCutter, Flow, Item
from .tokenizing import Encoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

__all__ = ["BatchScheduler", "Steps"]

# Texts tokenised in one go. A longer request takes turns with others, and its first batch starts before its last
# text is tokenised.
_SLICE = 256

_CLOSED = "the local model has been unloaded"


@dataclass(frozen=True, slots=True)
class Steps:
    """What the threads run.

    Attributes:
        tokenise: texts to tokens, one for one.
        forward: tokens, each with the number of leading tokens that pooling leaves out, to vectors; may return
            before a device has finished them.
        collect: waits for the device; vectors of shape ``(texts, dimensions)``.
        start: called once in every forward thread before anything else.
        max_tokens: limit that a request without truncation is held to.
    """

    tokenise: Callable[[Sequence[str]], list[Encoded]]
    forward: Callable[[Sequence[tuple[Encoded, int]]], Any]
    collect: Callable[[Any], Vectors]
    start: Callable[[], None]
    max_tokens: int


class _Request(Flow):
    __slots__ = (
        "__weakref__", "arrived", "encoded", "finish", "future", "left", "rows", "skip", "texts", "tokens", "truncate"
    )  # fmt: skip

    def __init__(
        self,
        texts: Sequence[str],
        skip: int,
        truncate: bool,
        finish: Callable[[list[Vectors]], Vectors],
        arrived: float,
    ) -> None:
        super().__init__()
        self.texts = texts
        self.skip = skip
        self.truncate = truncate
        self.finish = finish
        self.arrived = arrived
        self.future: Future[tuple[Vectors, list[int]]] = Future()
        self.encoded = 0
        self.left = len(texts)
        self.rows: list[Any] = [None] * len(texts)
        self.tokens = [0] * len(texts)


class BatchScheduler:
    """Runs requests from any thread or event loop; threads start with the first one.

    Args:
        steps: what to run.
        cutter: which texts run together; it says how many forward threads there are.
        clock: seconds, for the age of what waits in :meth:`snapshot`.
    """

    def __init__(self, steps: Steps, cutter: BatchCutter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._steps = steps
        self._cutter = cutter
        self._clock = clock
        self._lock = threading.Lock()
        self._to_tokenise: deque[_Request] = deque()
        self._tokenise_turn = threading.Condition(self._lock)
        self._forward_turn = threading.Condition(self._lock)
        # Short, so that forward threads do not fill a device's memory with batches nobody has fetched yet.
        self._done: queue.Queue[tuple[list[Item], Any] | None] = queue.Queue(maxsize=2 * cutter.workers)
        self._requests: dict[_Request, None] = {}
        self._threads: list[threading.Thread] = []
        self._forwarding = cutter.workers
        self._ended: Future[None] = Future()
        self._closed = False
        self._pid = 0
        self._counts = dict.fromkeys(("batches", "items", "tokens", "padded_tokens", "failed", "cancelled"), 0)

    def submit(
        self, texts: Sequence[str], *, skip: int, truncate: bool, finish: Callable[[list[Vectors]], Vectors]
    ) -> Future[tuple[Vectors, list[int]]]:
        """Queue at least one text; the future holds what ``finish`` makes of their vectors, and each text's tokens.

        Cancelling the future drops what has not started. ``finish`` runs in the finishing thread.

        Raises:
            RuntimeUnavailable: closed, or called in a forked child of the process that loaded the model.
        """
        request = _Request(texts, skip, truncate, finish, self._clock())
        if self._forked():
            raise RuntimeUnavailable("a local model does not survive a fork: load it again in this process")
        with self._lock:
            if self._closed:
                raise RuntimeUnavailable(_CLOSED)
            if not self._threads:
                self._start_threads()
            self._requests[request] = None
            self._to_tokenise.append(request)
            self._tokenise_turn.notify()
        # Weak, or texts and vectors would stay in a cycle with the future until the garbage collector comes by.
        waiting = weakref.ref(request)
        request.future.add_done_callback(lambda future: self._forget(waiting()) if future.cancelled() else None)
        return request.future

    def snapshot(self) -> dict[str, Any]:
        """Counts since the start, and what waits now; ``oldest_s`` is the age of the oldest unanswered request."""
        with self._lock:
            counts = dict(self._counts)
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
        targets = [self._tokenise_all, *[self._forward_all] * self._cutter.workers, self._finish_all]
        self._threads = [threading.Thread(target=each, name=f"embed{each.__name__}", daemon=True) for each in targets]
        for thread in self._threads:
            thread.start()

    def _tokenise_all(self) -> None:
        while True:
            with self._lock:
                while not self._to_tokenise and not self._closed:
                    self._tokenise_turn.wait()
                if self._closed:
                    return
                request = self._to_tokenise.popleft()
            self._tokenise(request)

    def _tokenise(self, request: _Request) -> None:
        start = request.encoded
        texts = request.texts[start : start + _SLICE]
        try:
            items = self._items(request, start, self._steps.tokenise(texts))
        except AccelerateError as exc:
            self._fail(request, exc)
            return
        except Exception as exc:
            self._fail(request, self._blame(texts, start, exc))
            return
        with self._lock:
            if request not in self._requests:
                return
            request.encoded += len(texts)
            self._cutter.add(items)
            self._forward_turn.notify(self._cutter.workers)
            if request.encoded < len(request.texts):
                self._to_tokenise.append(request)

    def _items(self, request: _Request, start: int, encoded: list[Encoded]) -> list[Item]:
        items = []
        for index, text in enumerate(encoded, start):
            if not request.truncate and text.full_length > self._steps.max_tokens:
                raise ContextLengthExceeded(
                    f"input {index} has at least {text.full_length} tokens, and this model takes at most "
                    f"{self._steps.max_tokens}",
                    status=400,
                    param="input",
                )
            request.tokens[index] = len(text.ids)
            items.append(Item(request, index, len(text.ids), (text, request.skip)))
        return items

    def _blame(self, texts: Sequence[str], start: int, cause: Exception) -> AccelerateError:
        for index, text in enumerate(texts, start):
            try:
                self._steps.tokenise([text])
            except Exception as exc:
                return InvalidRequest(
                    f"input {index} is no text a tokenizer can read: {exc}", status=400, param="input"
                )
        return RuntimeUnavailable(f"the tokenizer failed: {cause}")

    def _forward_all(self) -> None:
        self._steps.start()
        while (batch := self._next_batch()) is not None:
            self._forward(batch)
        with self._lock:
            self._forwarding -= 1
            last = self._forwarding == 0
        if last:
            self._done.put(None)

    def _next_batch(self) -> list[Item] | None:
        with self._lock:
            while not len(self._cutter) and not self._closed:
                self._forward_turn.wait()
            return None if self._closed else self._cutter.cut()

    def _forward(self, batch: list[Item]) -> None:
        try:
            vectors = self._steps.forward([item.payload for item in batch])
        except Exception as exc:
            self._retry_apart(batch, exc)
            return
        with self._lock:
            self._counts["batches"] += 1
            self._counts["items"] += len(batch)
            self._counts["tokens"] += sum(item.length for item in batch)
            self._counts["padded_tokens"] += len(batch) * max(item.length for item in batch)
        self._done.put((batch, vectors))

    def _retry_apart(self, batch: list[Item], cause: Exception) -> None:
        """Halve a failed batch until the failure stands alone: one caller's bad text costs nobody else an answer."""
        if len(batch) == 1:
            item = batch[0]
            self._fail(_owner(item), RuntimeUnavailable(f"the model failed on input {item.index}: {cause}"))
            return
        half = len(batch) // 2
        self._forward(batch[:half])
        self._forward(batch[half:])

    def _finish_all(self) -> None:
        while (done := self._done.get()) is not None:
            batch, vectors = done
            try:
                rows = self._steps.collect(vectors)
            except Exception as exc:
                for item in batch:
                    self._fail(_owner(item), RuntimeUnavailable(f"the device failed: {exc}"))
                continue
            for item, row in zip(batch, rows, strict=True):
                self._deliver(_owner(item), item.index, row)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        # Texts that were being tokenised or run when the scheduler closed, and whose request can no longer be whole.
        for request in list(self._requests):
            self._fail(request, RuntimeUnavailable(_CLOSED))
        self._ended.set_result(None)

    def _deliver(self, request: _Request, index: int, row: Vectors) -> None:
        request.rows[index] = row
        request.left -= 1
        if request.left:
            return
        try:
            result = request.finish(request.rows), request.tokens
        except AccelerateError as exc:
            self._fail(request, exc)
            return
        except Exception as exc:  # This thread answers everybody: it must outlive any one request.
            self._fail(request, RuntimeUnavailable(f"the vectors could not be finished: {exc}"))
            return
        with self._lock:
            claimed = self._requests.pop(request, self) is None
        if claimed and request.future.set_running_or_notify_cancel():
            request.future.set_result(result)

    # --- ends -----------------------------------------------------------------------------------------------------

    def _fail(self, request: _Request, error: AccelerateError) -> None:
        # Whoever takes the request out of the table answers it, so no future is resolved twice.
        with self._lock:
            if self._requests.pop(request, self) is self:
                return
            self._cutter.discard(request)
            self._counts["failed"] += 1
        if request.future.set_running_or_notify_cancel():
            request.future.set_exception(error)

    def _forget(self, request: _Request | None) -> None:
        with self._lock:
            if request is not None and self._requests.pop(request, self) is None:
                self._cutter.discard(request)
                self._counts["cancelled"] += 1

    def _stop(self) -> None:
        with self._lock:
            first, self._closed = not self._closed, True
            self._tokenise_turn.notify_all()
            self._forward_turn.notify_all()
            waiting = list(self._to_tokenise)
            waiting += [request for request in self._requests if self._cutter.discard(request)]
            self._to_tokenise.clear()
        for request in waiting:
            self._fail(request, RuntimeUnavailable(_CLOSED))
        if first and not self._threads:
            self._ended.set_result(None)


def _owner(item: Item) -> _Request:
    assert isinstance(item.flow, _Request)
    return item.flow
