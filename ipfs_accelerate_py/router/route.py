"""One call on its way through the targets of an alias.

The order of candidates is that of the strategy, alias by alias along the fallbacks. A target is asked once; one whose
breaker is open, that health checks have found unwell, or whose rate limit lasts, comes after those that can answer now.
When nobody else is left, those that were only limited are waited for, the soonest first, inside the call's deadline.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from ipfs_accelerate_py.errors import (
    AccelerateError,
    BackendError,
    CircuitOpen,
    ConfigurationError,
    InvalidRequest,
    RateLimited,
)
from ipfs_accelerate_py.pipeline.breaker import BreakerState
from ipfs_accelerate_py.router.aliases import AliasState
from ipfs_accelerate_py.router.attempt import attempt_call
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.router.verdicts import Move, move, told
from ipfs_accelerate_py.types import Call, Priority, Reply

__all__ = ["PATIENCE", "Prepare", "Route"]

#: While another target can be asked, no target is waited for longer than this (seconds) before it is asked again.
PATIENCE = 1.0

Prepare = Callable[[Call, Routed], Call | None]
"""Makes the call for a target another one just before it is asked; None passes the target by."""


class Route:
    """Finds a target that answers ``call``, and the next one where that fails later.

    Attributes:
        call: the caller's own call; what is sent are copies of it.
        alias: the alias asked for; ``mid_stream`` is what becomes of a stream that breaks.
        target: who was asked last.
    """

    __slots__ = (
        "_aliases", "_chain", "_clock", "_copy", "_error", "_error_of", "_last_round", "_later", "_limited",
        "_models_out", "_notes", "_queue", "_stopped", "_used", "_window", "alias", "call", "mid_stream",
        "target",
    )  # fmt: skip

    def __init__(self, alias: AliasState, call: Call, clock: Callable[[], float] = time.monotonic) -> None:
        self.call = call
        self.alias = alias
        self.mid_stream = call.mid_stream or alias.mid_stream
        self.target: Routed | None = None
        self._clock = clock
        self._copy: Call | None = None
        self._aliases: Sequence[AliasState] = alias.path  # those whose targets are still to come
        self._chain: Sequence[Routed] = alias.chain  # all who may be asked, as things stand
        self._queue: list[Routed] = []
        self._later: list[Routed] = []  # who cannot answer now
        self._limited: list[Routed] = []  # who were asked, and answered that they are limited for a while
        self._used: list[Routed] = []
        self._last_round = False
        self._stopped = False
        self._error: AccelerateError | None = None
        self._error_of = ""
        self._notes: list[str] = []
        self._models_out: set[str] | None = None
        self._window = 0

    # --- asking --------------------------------------------------------------------------------------------------

    async def open(self, prepare: Prepare | None = None) -> Reply:
        """The reply of the first target that answers; a stream has its first content.

        Raises the first error there was when nobody answers, with what the others said in ``fallbacks``.
        """
        passed: list[Routed] = []
        self.call.hurry = self._hurry
        try:
            reply = await self._ask(prepare, passed)
        finally:
            self.call.hurry = self._copy = None
        if reply is not None:
            return reply
        for each in passed:  # they may be of use in another way
            self._used.remove(each)
            self._later.append(each)
        raise self._final()

    async def _ask(self, prepare: Prepare | None, passed: list[Routed]) -> Reply | None:
        while not self._stopped and (target := self._next()) is not None:
            copy: Call | None = None
            changed = False
            self._used.append(target)
            try:
                copy = given = self._copy = attempt_call(
                    self.call, target, self.alias.name, self._patience(target), self._clock
                )
                if copy.patience is not None and PATIENCE < target.wait(copy) < math.inf:
                    self._used.remove(target)
                    self._later.append(target)  # its rate limit lasts, and somebody else is free
                    continue
                if prepare is not None and (copy := prepare(given, target)) is None:
                    passed.append(target)
                    continue
                changed = copy is not given
                self.target = target
                self.call.asked.append(target.name)
                reply = await target.ask(copy)
            except AccelerateError as error:
                if changed and isinstance(error, InvalidRequest):
                    # It refuses the way in which it was asked: `prepare` may choose another one.
                    self._used.remove(target)
                    self._queue.insert(0, target)
                else:
                    self._failed(target, error)
            else:
                self._answered(reply, target)
                return reply
            finally:
                if copy is not None:
                    self.call.queued += copy.queued
        return None

    def _hurry(self, priority: Priority) -> None:
        """Give the call another priority, also where it waits in a target's queue."""
        self.call.priority = priority
        if self._copy is not None and self._copy.hurry is not None:
            self._copy.hurry(priority)

    def broke(self, error: AccelerateError) -> bool:
        """Note that the stream of ``target`` has broken after its first content: whether another one may be asked.

        From now on ``error`` is what `open` raises when nobody answers.
        """
        self._error = None
        assert self.target is not None
        self._failed(self.target, error)
        return not self._stopped and self._others(self.target)

    def surface(self, error: AccelerateError) -> AccelerateError:
        """The error as the caller shall see it: with the number of attempts, and what other targets said."""
        if isinstance(error, BackendError):
            error.attempts = max(error.attempts, len(self.call.attempts))
        if self._notes:
            error.fallbacks = tuple(self._notes)
            error.add_note(f"other targets of {self.alias.name!r} were asked: {'; '.join(self._notes)}")
        return error

    def _final(self) -> AccelerateError:
        error, self._error = self._error, None
        if error is None:
            return ConfigurationError(f"no target of {self.alias.name!r} can be asked in this way")
        return self.surface(error)

    def _answered(self, reply: Reply, target: Routed) -> None:
        call = self.call
        reply.target_model = target.model
        reply.attempts = len(call.attempts) + 1
        alias = self.alias
        if call.session and alias.sessions is not None and target in alias.targets:
            alias.sessions.answered(call.session, target, alias.sessions.home(call.session, alias.targets))

    # --- failing -------------------------------------------------------------------------------------------------

    def _failed(self, target: Routed, error: AccelerateError) -> None:
        """Note an error, and see from its verdict who may be asked now."""
        decided = move(error, first=self._error is None)
        if isinstance(self._error, CircuitOpen) and decided in (Move.LARGER, Move.POLICY) and not self._notes:
            # Nobody was asked before; and what is said of the words themselves would hold for that one, too.
            self._notes.append(told(self._error_of, self._error))
            self._error = None
        if self._error is None:
            self._error = error.with_traceback(None)  # which holds the frames that hold this
            self._error_of = target.name
        else:
            self._notes.append(told(target.name, error))
        deadline = self.call.deadline
        if decided is Move.STOP or (deadline is not None and self._clock() >= deadline):
            self._stopped = True
        elif decided is Move.LARGER:
            self._need_larger(target)
        elif decided is Move.POLICY:
            self._turn_to(self.alias.policy)
        elif isinstance(error, RateLimited) and error.retry_after is not None and not self._last_round:
            self._limited.append(target)

    def _need_larger(self, target: Routed) -> None:
        """From here on only what holds more than ``target`` does, and never its model again."""
        if self._models_out is None:
            self._models_out = set()
            rest = [each for each in self._chain if each.target.context_window is not None]
            self._turn_to(self.alias.larger, rest)
        self._models_out.add(target.model)
        self._window = max(self._window, target.target.context_window or 0)

    def _turn_to(self, aliases: Sequence[AliasState], first: Sequence[Routed] = ()) -> None:
        self._queue = list(first)
        self._aliases = aliases
        self._chain = [*first, *(each for alias in aliases for each in alias.targets)]
        self._later, self._limited = [], []

    def _suits(self, target: Routed) -> bool:
        if target in self._used:
            return False
        if self._models_out is None:
            return True
        window = target.target.context_window
        return target.model not in self._models_out and (window is None or window > self._window)

    # --- choosing ------------------------------------------------------------------------------------------------

    def _next(self) -> Routed | None:
        while True:
            while self._queue:
                target = self._queue.pop(0)
                if self._suits(target):
                    return target
            if self._aliases:
                alias, self._aliases = self._aliases[0], self._aliases[1:]
                self._queue = self._ordered(alias)
                continue
            return self._soonest()

    def _ordered(self, alias: AliasState) -> list[Routed]:
        call = self.call
        ready: list[Routed] = alias.targets
        for target in ready:
            if target.refuses() or target.name in call.avoid:
                ready = [each for each in alias.targets if not self._put_off(each)]
                break
        if not ready:
            return []
        if call.session and alias.sessions is not None:
            return alias.sessions.order(call.session, ready)
        return alias.strategy.order(ready, call)

    def _put_off(self, target: Routed) -> bool:
        """Whether it is to be asked later, if at all."""
        if target.name in self.call.avoid:
            return any(each.name not in self.call.avoid for each in self.alias.chain)
        if not target.refuses():
            return False
        self._later.append(target)
        refusal = target.backend.pipeline.breaker.refusal()
        if refusal is not None and self._error is None:
            # It would have been asked: if nobody answers, this is what the caller hears of.
            refusal.add_note(f"the target is {target.name}")
            self._error = refusal
            self._error_of = target.name
        elif refusal is not None:
            self._notes.append(told(target.name, refusal))
        return True

    def _soonest(self) -> Routed | None:
        """When nobody else is left: who was put off, and after that who was limited; the soonest first."""
        # An open breaker has been asked when it put the target off.
        waiting = [each for each in self._later if self._suits(each) and not each.refused()]
        again = False
        if not waiting:
            waiting, again = [each for each in self._limited if not each.refused()], True
            self._last_round = True
        if not waiting:
            return None
        target = min(waiting, key=lambda each: (not each.healthy, each.wait(self.call)))
        (self._limited if again else self._later).remove(target)
        if again:
            wait, deadline = target.wait(self.call), self.call.deadline
            if wait > target.backend.settings.max_retry_delay or (
                deadline is not None and self._clock() + wait >= deadline
            ):
                return None
        return target

    def _others(self, target: Routed) -> bool:
        """Whether somebody else can be asked now."""
        for each in self._chain:
            if each is not target and self._suits(each) and not each.refuses() and each.name not in self.call.avoid:
                return True
        return False

    def _patience(self, target: Routed) -> float | None:
        if not self._others(target):
            return None
        # A probe that fails has done its duty; nobody waits for the next one.
        return 0.0 if target.backend.pipeline.breaker.state is BreakerState.HALF_OPEN else PATIENCE
