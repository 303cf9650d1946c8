"""Calls under way on the portal's loop, for callers anywhere: as a future, and as a mapping that may be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from ipfs_accelerate_py.portal import Portal, interrupted

__all__ = ["HandlerResult", "Pending"]

T = TypeVar("T")


class Pending(Future[T]):
    """A call on the portal's loop, as a `concurrent.futures.Future`; ``await`` works too, on any event loop.

    The call begins at once. Cancelling the future, or the task that awaits it, cancels the call, so that its place in
    the queue, slot, key and connection are given back. Callbacks run on the loop's thread: keep them short.
    """

    def __init__(self, portal: Portal, function: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> None:
        super().__init__()
        self._portal = portal
        self._cancel_call = portal.submit(self, function, *args, **options)

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled:
            self._cancel_call()
        return cancelled

    def result(self, timeout: float | None = None) -> T:
        if not self.done():
            self._portal.check()  # waiting on the loop's own thread would be waiting for ever
        try:
            return super().result(timeout)
        except RuntimeError as error:
            raise interrupted(error) or error from error.__cause__

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()


class HandlerResult(Mapping[str, Any]):
    """An endpoint handler's answer on its way: use it as a mapping (which waits), or ``await`` it for the dict.

    One thing serves both kinds of caller, so a handler never has to guess from where it was called, and an event loop
    that awaits is never blocked. Either way the call's error is raised where its result is asked for.
    """

    def __init__(self, pending: Pending[dict[str, Any]]) -> None:
        self._pending = pending

    def __getitem__(self, name: str) -> Any:
        return self._pending.result()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pending.result())

    def __len__(self) -> int:
        return len(self._pending.result())

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        return self._pending.__await__()

    # Itself and no other, so that several go into `asyncio.gather`; comparing contents would have to wait for them.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"HandlerResult({'done' if self._pending.done() else 'under way'})"
