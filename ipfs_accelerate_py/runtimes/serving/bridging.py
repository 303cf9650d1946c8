"""From threads to an event loop: outcomes, and chunks as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar

__all__ = ["Told", "outcome"]

T = TypeVar("T")


async def outcome(future: Future[T]) -> T:
    """The future's result; cancelling the wait cancels the future."""
    return await asyncio.wrap_future(future)


class Cancellable(Protocol):
    """What is under way in other threads."""

    def cancel(self) -> object: ...


class Told(Generic[T]):
    """What another thread tells, as an async iterator on the loop it was made on.

    ``last`` says of an item whether it ends the iteration; an error that was told is raised. Leaving early cancels what
    was `begin`-ned.
    """

    def __init__(self, last: Callable[[T], bool]) -> None:
        self._last = last
        self._loop = asyncio.get_running_loop()
        self._items: deque[T | Exception] = deque()
        self._here = asyncio.Event()

    def tell(self, item: T | Exception) -> None:
        """From any thread."""
        self._items.append(item)
        if not self._loop.is_closed():
            # One wake-up may serve several items: the event is cleared before they are taken.
            self._loop.call_soon_threadsafe(self._here.set)

    async def items(self, begin: Callable[[Callable[[T | Exception], None]], Cancellable]) -> AsyncGenerator[T, None]:
        """Begin, and give what is told until the last of it."""
        running = begin(self.tell)
        ended = False
        try:
            while not ended:
                await self._here.wait()
                self._here.clear()
                while self._items and not ended:
                    item = self._items.popleft()
                    if isinstance(item, Exception):
                        ended = True
                        raise item
                    ended = self._last(item)
                    yield item
        finally:
            if not ended:
                running.cancel()
