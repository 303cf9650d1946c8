"""Which fault is played on which request."""

from __future__ import annotations

import functools
import operator
import random
from collections import deque
from collections.abc import Callable, Iterable

from .faults import Fault
from .wire import Request

__all__ = ["Plan"]


class Plan:
    """A script first, then what is always played, then chance."""

    def __init__(self) -> None:
        self._script: deque[Fault] = deque()
        self._always: list[tuple[Fault, Callable[[Request], bool] | None]] = []
        self._random: tuple[float, tuple[Fault, ...], random.Random] | None = None

    def script(self, faults: Iterable[Fault | str]) -> None:
        self._script.extend(_faults(faults))

    def always(self, faults: Iterable[Fault | str], when: Callable[[Request], bool] | None) -> None:
        self._always.extend((fault, when) for fault in _faults(faults))

    def random(self, rate: float, faults: Iterable[Fault | str], seed: int) -> None:
        """Raises ``ValueError`` for a rate out of range, or no faults."""
        chosen = _faults(faults)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be between 0 and 1; got {rate}")
        if not chosen:
            raise ValueError("faults must name at least one fault")
        self._random = (rate, chosen, random.Random(seed))

    def take(self, request: Request) -> Fault | None:
        """The fault for this request, which is used up where it stood in the script."""
        fault: Fault | None = None
        if self._script:
            fault = self._script.popleft()
        elif self._always and (matching := [fault for fault, when in self._always if when is None or when(request)]):
            fault = functools.reduce(operator.add, matching)
        elif self._random is not None:
            rate, faults, rng = self._random
            if rng.random() < rate:
                fault = rng.choice(faults)
        return None if fault is None or fault.healthy else fault


def _faults(given: Iterable[Fault | str]) -> tuple[Fault, ...]:
    return tuple(Fault.parse(fault) if isinstance(fault, str) else fault for fault in given)
