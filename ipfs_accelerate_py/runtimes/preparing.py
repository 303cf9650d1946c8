"""Requests whose inputs are still to be prepared: in turns, the urgent first, and not too far ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .turns import PRIORITIES

if TYPE_CHECKING:
    from .scheduled import Request

__all__ = ["PrepareQueue"]


class PrepareQueue:
    """Who is prepared next. Guarded by the scheduler's lock.

    Args:
        most_waiting: tokens of one priority that may wait for the model before no more of them are prepared: images
            that are decoded long before their turn only fill the memory. None is no limit.
    """

    def __init__(self, most_waiting: int | None) -> None:
        self._most_waiting = most_waiting
        self._queues: list[deque[Request]] = [deque() for _ in range(PRIORITIES)]

    def add(self, request: Request) -> None:
        """At the end of its priority's queue; one that is only partly prepared comes back here."""
        self._queues[request.priority].append(request)

    def take(self, waiting: Sequence[int]) -> Request | None:
        """The next one, or None where nobody may be prepared now; ``waiting`` are tokens at the cutter by priority."""
        for queue, tokens in zip(self._queues, waiting, strict=True):
            if queue and (self._most_waiting is None or tokens < self._most_waiting):
                return queue.popleft()
        return None

    def discard(self, request: Request) -> None:
        """Forget it, if it is here: its caller went away."""
        queue = self._queues[request.priority]
        if request in queue:
            queue.remove(request)

    def drain(self) -> list[Request]:
        """Everybody, taken out."""
        found = [request for queue in self._queues for request in queue]
        for queue in self._queues:
            queue.clear()
        return found
