"""Calls under way on the portal's loop, in the three shapes that the older API hands out.

`Pending` is the future underneath; `Ticket` is what ``queue_with_priority`` gives; `HandlerResult` what an endpoint
handler gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ipfs_accelerate_py.pending import HandlerResult, Pending
from ipfs_accelerate_py.portal import Portal
from ipfs_accelerate_py.types import Priority

__all__ = ["HandlerResult", "Pending", "Ticket"]


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
