"""How many processors a forward pass uses, and who of several models has them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from .devices import available_cpus
from .extras import require
from .scheduled import Steps

__all__ = ["Processors", "processors", "thread_setter"]


def thread_setter(threads: int | None) -> Callable[[], None]:
    """What a thread that runs a model does first: use so many threads of torch's (None leaves them as they are)."""
    if threads is None:
        return lambda: None
    torch = require("torch")
    before = torch.get_num_threads()

    def start() -> None:
        torch.set_num_threads(threads)
        # The setting holds for the calling thread and is what threads to come begin with. Only the former is meant:
        # set from another thread, the latter goes back, and the program's own use of torch is as it was.
        restore = threading.Thread(target=torch.set_num_threads, args=(before,))
        restore.start()
        restore.join()

    return start


class Processors:
    """The processors of this process, which all its models share.

    A forward pass whose threads wait for one another at every operation stands still whenever one of them has no
    processor. So passes of several models that together would want more threads than there are processors go one
    after the other, in the order in which they came, and no model has two turns while another waits.

    Args:
        count: how many there are; None asks `available_cpus`.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = available_cpus() if count is None else count
        self._free = self.count
        self._turn = threading.Condition()
        self._waiting: deque[object] = deque()
        # Passes under way by model: those that are queued behind another of its own use the same processors.
        self._under_way: dict[object, int] = {}

    def enter(self, model: Hashable, wanted: int) -> None:
        """Wait until ``wanted`` processors are free, or ``model`` has them already and nobody else waits."""
        wanted = min(wanted, self.count)
        ticket = object()
        with self._turn:
            self._waiting.append(ticket)
            while self._waiting[0] is not ticket or not (
                self._free >= wanted or (model in self._under_way and len(self._waiting) == 1)
            ):
                self._turn.wait()
            self._waiting.popleft()
            if model not in self._under_way:
                self._free -= wanted
            self._under_way[model] = self._under_way.get(model, 0) + 1
            self._turn.notify_all()

    def leave(self, model: Hashable, wanted: int) -> None:
        """One pass less of ``model``, with what `enter` was told."""
        with self._turn:
            self._under_way[model] -= 1
            if not self._under_way[model]:
                del self._under_way[model]
                self._free += min(wanted, self.count)
            self._turn.notify_all()

    def shared(self, steps: Steps, wanted: int, *, waits: bool) -> Steps:
        """The same steps, each forward pass of which has ``wanted`` processors to itself.

        Args:
            waits: whether `Steps.forward` only begins a pass, which goes on until it is collected.
        """
        own = object()

        def forward(parts: Sequence[Any]) -> Any:
            model: Hashable = own if waits else object()  # passes that do not wait run side by side, each by itself
            self.enter(model, wanted)
            try:
                begun = steps.forward(parts)
            except BaseException:
                self.leave(model, wanted)
                raise
            if not waits:
                self.leave(model, wanted)
            return begun

        def collect(begun: Any, parts: Sequence[Any]) -> Any:
            try:
                return steps.collect(begun, parts)
            finally:
                self.leave(own, wanted)

        return replace(steps, forward=forward, collect=collect if waits else steps.collect)


def processors() -> Processors:
    """Those of this process."""
    global _processors
    if _processors is None:
        _processors = Processors()
    return _processors


_processors: Processors | None = None
