"""Requests that wait for a place: the most urgent first, first come first served among equals, nobody for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Waiting"]


class _Waits(Protocol):
    priority: int
    since: float
    cancelled: bool


_T = TypeVar("_T", bound=_Waits)


class Waiting(Generic[_T]):
    """A queue in which every ``ageing`` seconds of waiting make a request more urgent by one priority.

    As all age alike, the order of two never changes while they wait: what counts is when each would have had to come
    with the most urgent priority.
    """

    def __init__(self, ageing: float) -> None:
        self._ageing = ageing
        self._held: list[_T] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, request: _T) -> None:
        self._held.append(request)

    def first(self, fits: Callable[[_T], bool]) -> _T | None:
        """Take the most urgent one, if it ``fits``: what comes after it must not overtake it for being smaller."""
        if not self._held:
            return None
        found = min(self._held, key=lambda each: each.since + each.priority * self._ageing)
        if not fits(found):
            return None
        self._held.remove(found)
        return found

    def drop(self) -> list[_T]:
        """Take out those that have been cancelled."""
        gone = [each for each in self._held if each.cancelled]
        if gone:
            self._held = [each for each in self._held if not each.cancelled]
        return gone

    def clear(self) -> list[_T]:
        held, self._held = self._held, []
        return held
