"""Hedging: a call that is slower than nearly all before it gets a second attempt, and the faster of the two answers.

(Jeffrey Dean and Luiz Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.) The second attempt never
waits in a queue: where every slot and key is taken, asking twice would only make things worse. It is no second call in
our books; what the upstream makes of the one that lost, nobody tells us, so its tokens are not known here.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable

from ipfs_accelerate_py.errors import AdmissionError, ConfigurationError
from ipfs_accelerate_py.pipeline.singleflight import parse_operations
from ipfs_accelerate_py.types import Call, Handler, Operation, Reply

__all__ = ["Hedging", "HedgingPolicy", "Window"]

#: Latencies that are looked back at, of one model and operation: so many, and not older than this (seconds).
WINDOW = 256
HORIZON = 600.0
#: With fewer than these a quantile is a guess.
ENOUGH = 20
#: Windows kept, and models counted apart; their names come from callers.
MOST_WINDOWS = 512
#: Unused second attempts that may be saved up for a bad moment.
BURST = 10.0
#: A second attempt changes something with these, unless they are named.
_NOT_TWICE = frozenset({Operation.STORE, Operation.RAW})


class Window:
    """The last latencies (seconds), and their quantiles."""

    def __init__(self, clock: Callable[[], float], size: int = WINDOW, horizon: float = HORIZON) -> None:
        self._clock = clock
        self._size = size
        self._horizon = horizon
        self._order: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, seconds: float) -> None:
        self._order.append((self._clock(), seconds))
        insort(self._sorted, seconds)
        if len(self._order) > self._size:
            self._drop()

    def quantile(self, share: float) -> float | None:
        """The latency that this share of the recent ones does not exceed; None where there are not enough."""
        oldest = self._clock() - self._horizon
        while self._order and self._order[0][0] < oldest:
            self._drop()
        count = len(self._sorted)
        if count < ENOUGH:
            return None
        return self._sorted[min(count - 1, math.ceil(share * count) - 1)]

    def _drop(self) -> None:
        _, seconds = self._order.popleft()
        del self._sorted[bisect_left(self._sorted, seconds)]


class Hedging:
    """When a second attempt is begun, and how many there may be; it stays when the policy is made anew."""

    def __init__(
        self,
        after: float | str | None = "p95",
        most_share: float = 0.1,
        operations: Iterable[Operation | str] | None = None,
        after_of: Callable[[Call], float | str | None] = lambda call: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``after``: seconds, or "p95" (any "p1" to "p99") of recent calls of the same model and operation, streams
        (until their first content) apart. ``after_of`` gives a call's own ``after``, or None; where both are None
        there is no second attempt. ``most_share``: of all calls, how many may have one."""
        self._parsed: dict[float | str, tuple[float, float | None]] = {}
        self.after = after
        if after is not None:
            self._parse(after)
        if isinstance(most_share, bool) or not isinstance(most_share, int | float) or not 0 < most_share <= 1:
            raise ConfigurationError(f"most_share must be above 0 and at most 1, not {most_share!r}")
        self.most_share = float(most_share)
        self.operations = parse_operations(operations)
        self._after_of = after_of
        self.clock = clock
        #: Second attempts that may be begun; one at once, then ``most_share`` more with each call.
        self.credit = 1.0
        self._windows: dict[tuple[str, Operation, bool], Window] = {}
        self.calls = 0
        self.hedged = 0
        self.won = 0
        #: By the name that was asked for (an alias's, where it is one): second attempts begun, and those that won.
        self.by_model: dict[str, list[int]] = {}

    def snapshot(self) -> dict[str, int]:
        """Calls that could have been hedged, second attempts begun, and those that answered first."""
        return {"calls": self.calls, "hedged": self.hedged, "won": self.won}

    def after_of(self, call: Call) -> float | str | None:
        """When this call may have a second attempt, as it is configured; None: never."""
        if call.operation in _NOT_TWICE if self.operations is None else call.operation not in self.operations:
            return None
        return self._after_of(call) or self.after

    def delay(self, call: Call, after: float | str) -> float | None:
        """Seconds from now until it may have it; None where too few have been measured."""
        self.calls += 1
        self.credit = min(BURST, self.credit + self.most_share)
        seconds, share = self._parse(after)
        if share is None:
            return seconds
        window = self._windows.get((call.request.model, call.operation, call.stream))
        return None if window is None else window.quantile(share)

    def ended(self, call: Call, seconds: float) -> None:
        """A call has answered (a stream: its first content is here)."""
        key = (call.request.model, call.operation, call.stream)
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= MOST_WINDOWS:
                del self._windows[next(iter(self._windows))]  # the oldest name
            window = self._windows[key] = Window(self.clock)
        window.add(seconds)

    def count(self, call: Call, hedged: int, won: int) -> None:
        """Count second attempts of a call, begun and won; -1 for one that was none."""
        self.hedged += hedged
        self.won += won
        name = call.alias or call.request.model
        if name not in self.by_model and len(self.by_model) >= MOST_WINDOWS:
            name = "(other)"
        found = self.by_model.setdefault(name, [0, 0])
        found[0] += hedged
        found[1] += won

    def _parse(self, after: float | str) -> tuple[float, float | None]:
        found = self._parsed.get(after)
        if found is None:
            found = self._parsed[after] = _parse_after(after)
        return found


class HedgingPolicy:
    """Begins the second attempt, takes the answer that comes first, and cancels the other attempt."""

    def __init__(self, inner: Handler, state: Hedging) -> None:
        self._inner = inner
        self.state = state

    async def __call__(self, call: Call) -> Reply:
        state = self.state
        after = state.after_of(call)
        if after is None:
            return await self._inner(call)
        began = state.clock()
        delay = state.delay(call, after)
        reply = await (self._inner(call) if delay is None else _Race(self._inner, state, call).run(delay))
        state.ended(call, state.clock() - began)
        return reply


class _Race:
    """The first attempt runs in the caller's own task, so that a call without a second one costs no more than a timer.

    Where the second answers first, the caller's task is cancelled out of the first, as `asyncio.timeout` does it.
    """

    def __init__(self, inner: Handler, state: Hedging, call: Call) -> None:
        self._inner = inner
        self._state = state
        self._call = call
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._second: asyncio.Task[Reply] | None = None
        self._twin: Call | None = None
        self._first_runs = True
        self._broke_in = False

    async def run(self, after: float) -> Reply:
        timer = asyncio.get_running_loop().call_later(after, self._begin)
        failure: Exception | None = None
        try:
            reply = await self._inner(self._call)
        except asyncio.CancelledError:
            self._first_runs = False
            if not self._broke_in or self._task.uncancel() > self._cancelling:
                self._give_up()
                raise
        except Exception as error:
            self._first_runs = False
            if self._second is None:
                raise
            self._stay()
            failure = error
        else:
            self._first_runs = False
            self._stay()
            self._give_up()
            return reply
        finally:
            timer.cancel()
        try:
            return await self._of_the_second(failure)
        finally:
            failure = None  # its traceback holds this frame

    def _stay(self) -> None:
        """The first attempt has ended in another way than by being cancelled, though it was."""
        if self._broke_in:
            self._task.uncancel()

    def _begin(self) -> None:
        state, call = self._state, self._call
        if not self._first_runs or state.credit < 1.0:
            return
        state.credit -= 1.0
        state.count(call, 1, 0)
        # A router is told whom not to ask again. A client's keys go round, so another one is next.
        twin = self._twin = copy.copy(call)
        twin.attempts, twin.asked, twin.queued, twin.lease, twin.hurry, twin.since = [], [], 0.0, None, None, None
        twin.avoid = (*call.avoid, *call.asked)
        twin.limits = {**(call.limits or {}), "queue_timeout": 0.0}
        twin.patience = 0.0  # and it does not sleep either
        self._second = asyncio.get_running_loop().create_task(self._answered(twin))
        self._second.add_done_callback(self._ended)

    async def _answered(self, twin: Call) -> Reply:
        return await self._inner(twin)

    def _ended(self, second: asyncio.Task[Reply]) -> None:
        if second.cancelled():
            return
        error = second.exception()
        if error is None:
            if self._first_runs:
                self._broke_in = True
                self._task.cancel()
        elif isinstance(error, AdmissionError):
            self._state.credit += 1.0  # there was no room for it, and nobody was asked
            self._state.count(self._call, -1, 0)

    async def _of_the_second(self, failure: Exception | None) -> Reply:
        """The second attempt's answer; of two that fail, the first one's failure."""
        second, twin = self._second, self._twin
        assert second is not None
        assert twin is not None
        try:
            reply = await second
        except asyncio.CancelledError:
            self._give_up()
            raise
        except Exception:
            if failure is None:
                raise
            raise failure from None
        finally:
            failure = None
        call = self._call
        self._state.count(call, 0, 1)
        call.attempts.extend(twin.attempts)
        call.asked.extend(twin.asked)
        call.queued, call.lease = twin.queued, twin.lease
        return reply

    def _give_up(self) -> None:
        """The second attempt is not needed: what it holds is given back, also where it has just been answered."""
        second = self._second
        if second is not None:
            second.cancel()
            if second.done():
                _drop(second)
            else:
                second.add_done_callback(_drop)


def _drop(second: asyncio.Task[Reply]) -> None:
    if not second.cancelled() and second.exception() is None and (stream := second.result().stream) is not None:
        stream.abort()


def _parse_after(after: float | str) -> tuple[float, float | None]:
    """Seconds and None, or 0 and the quantile."""
    if isinstance(after, str):
        if after[:1] == "p" and after[1:].isdecimal() and 1 <= int(after[1:]) <= 99:
            return 0.0, int(after[1:]) / 100
    elif not isinstance(after, bool) and isinstance(after, int | float) and 0 < after < math.inf:
        return float(after), None
    raise ConfigurationError(f'after must be a number of seconds above 0, or "p95", not {after!r}')
