"""Many texts through one client: in batches, several under way at once, written in order as they come back."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.cli.texts import Text
from ipfs_accelerate_py.cli.vectors import VectorWriter
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, ProtocolError
from ipfs_accelerate_py.portal import interrupted
from ipfs_accelerate_py.types import Reply, Usage

if TYPE_CHECKING:
    from ipfs_accelerate_py.sync import Client
    from ipfs_accelerate_py.sync_router import Router

__all__ = ["Embedding"]

Item = tuple[int, Text]


@dataclass
class _Batch:
    items: list[Item]
    future: Future[Reply]
    cancel: Callable[[], None]


class Embedding:
    """Embeds texts and hands the vectors to a writer.

    Args:
        progress: is told 0 when vectors are about to be written, and their number afterwards.

    Attributes:
        written: vectors written so far.
        usage: tokens so far, as the service counted them.
        width: how many numbers a vector has, 0 before the first.
        backends: vectors by the backend that gave them.
    """

    def __init__(
        self,
        client: Client | Router,
        model: str,
        options: dict[str, Any],
        writer: VectorWriter,
        *,
        batch_size: int,
        parallel: int,
        progress: Callable[[int], None],
    ) -> None:
        self._client = client
        self._model = model
        self._options = options
        self._writer = writer
        self._batch_size = batch_size
        self._parallel = parallel
        self._progress = progress
        self._pending: deque[_Batch] = deque()
        self._gap = False
        self.written = 0
        self.width = 0
        self.usage = Usage()
        self.answered_by = model
        self.backends: Counter[str] = Counter()

    def run(self, texts: Iterable[Text]) -> None:
        """Embed them all. After an error or Ctrl-C, what was finished is written before the error goes on.

        The input is read as it is needed, in this thread, so a slow pipe can be interrupted; the calls run on the
        client's own loop.
        """
        complete = False
        try:
            for items in _batches(texts, self._batch_size):
                if len(self._pending) >= self._parallel:
                    self._write(self._pending.popleft())
                self._pending.append(self._submit(items))
            while self._pending:
                self._write(self._pending.popleft())
            complete = True
        except KeyboardInterrupt:
            self._keep(wait=False)
            raise
        except AccelerateError:
            self._keep(wait=True)  # they were sent, and are paid for
            raise
        finally:
            for batch in self._pending:
                batch.cancel()
            self._writer.finish(self.answered_by, self.usage, complete)

    def _submit(self, items: list[Item]) -> _Batch:
        future: Future[Reply] = Future()
        texts = [text.text for _, text in items]
        cancel = self._client.portal().submit(
            future, self._client.asynchronous.embed, self._model, texts, **self._options
        )
        return _Batch(items, future, cancel)

    def _write(self, batch: _Batch) -> None:
        self._gap = True  # until its vectors are written
        try:
            reply = batch.future.result()
        except RuntimeError as error:
            raise interrupted(error) or error from error.__cause__
        if len(reply.vectors) != len(batch.items):
            raise ProtocolError(f"{len(batch.items)} texts were sent and {len(reply.vectors)} vectors came back")
        width = len(reply.vectors[0])
        if self.width and width != self.width:
            raise ProtocolError(
                f"a vector of {reply.backend} has {width} numbers, and those before had {self.width}: they are not "
                "comparable"
            )
        self._progress(0)
        for (index, text), vector in zip(batch.items, reply.vectors, strict=True):
            self._writer.add(index, text, vector)
        self._writer.flush()
        self.written += len(batch.items)
        self.width = width
        self.backends[reply.backend] += len(batch.items)
        self.answered_by = reply.model or self._model
        self.usage.input_tokens += reply.usage.input_tokens
        self.usage.reported = reply.usage.reported
        self._gap = False
        self._progress(len(batch.items))

    def _keep(self, *, wait: bool) -> None:
        """Write what is done of the calls under way; with ``wait``, what will be done."""
        for batch in self._pending:
            if self._gap and self._writer.ordered:
                return  # where vectors are known by their line, none may follow a missing one
            if (wait or batch.future.done()) and batch.future.exception() is None:
                self._write(batch)
            else:
                self._gap = True


def _batches(texts: Iterable[Text], size: int) -> Iterator[list[Item]]:
    items: list[Item] = []
    try:
        for item in enumerate(texts):
            items.append(item)
            if len(items) == size:
                yield items
                items = []
    except ConfigurationError:  # a line that cannot be read: those before it can
        if items:
            yield items
        raise
    if items:
        yield items
