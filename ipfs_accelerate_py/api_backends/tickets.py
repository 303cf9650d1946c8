"""Calls under way on the portal's loop, in the three shapes that the older API hands out.

`Pending` is the future underneath; `Ticket` is what ``queue_with_priority`` gives; `HandlerResult` what an endpoint
handler gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.types import Priority

__all__ = ["HandlerResult", "Pending", "Ticket"]

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
        return super().result(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()


class Ticket(Pending[Any]):
    """A queued request: a mapping as the older API had it, and a future.

    ``ticket["completed"]`` is whether it is over; then ``ticket["result"]`` is the provider's answer or None, and
    ``ticket["error"]`` the error or None. ``ticket["request_id"]`` and ``ticket["priority"]`` are known from the
    start. As a future it has ``result(timeout)``, ``cancel()``, and goes into `concurrent.futures.wait`.
    """

    def __init__(
        self,
        portal: Portal,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        request_id: str,
        priority: Priority,
        **options: Any,
    ) -> None:
        self._known = {"request_id": request_id, "priority": priority}
        super().__init__(portal, function, *args, request_id=request_id, priority=priority, **options)

    def __getitem__(self, name: str) -> Any:
        if name == "completed":
            return self.done()
        if name in ("result", "error"):
            if not self.done():
                return None
            if self.cancelled():
                return asyncio.CancelledError("the request was cancelled") if name == "error" else None
            error = self.exception()
            if name == "error":
                return error
            return self.result() if error is None else None
        return self._known[name]

    def get(self, name: str, default: Any = None) -> Any:
        """``ticket[name]``, or ``default`` where a ticket has no such entry."""
        try:
            return self[name]
        except KeyError:
            return default


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
