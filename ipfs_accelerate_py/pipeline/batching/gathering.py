"""Callers that wait for each other: who is in, who has left, and what becomes of a merged call's outcome."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from ipfs_accelerate_py.deadlines import Deadlines
from ipfs_accelerate_py.errors import (
    AccelerateError,
    InvalidRequest,
    ModelNotFound,
    ProtocolError,
    QueueTimeout,
    ReadTimeout,
)
from ipfs_accelerate_py.pipeline.batching.cutter import BatchCutter
from ipfs_accelerate_py.pipeline.batching.shares import shares
from ipfs_accelerate_py.pipeline.batching.strategies import Strategies
from ipfs_accelerate_py.pipeline.batching.totals import BatchTotals
from ipfs_accelerate_py.pipeline.batching.work import Work, merged
from ipfs_accelerate_py.types import Call, Handler, Reply

__all__ = ["Group", "House", "Member"]

#: Less than this (seconds) is a turn of the loop, and no wait.
_A_TURN = 0.001


class House(Protocol):
    """What groups share: the loop, the limits of time, the counts."""

    loop: asyncio.AbstractEventLoop
    deadlines: Deadlines
    totals: BatchTotals
    strategies: Strategies
    groups: dict[Hashable, Group]
    tasks: set[asyncio.Task[Any]]
    clock: Callable[[], float]


class Member:
    """A caller that waits: for its answer, or (the future's result is None) for its turn to go alone."""

    __slots__ = ("arrived", "call", "future", "group", "run", "until", "work")

    def __init__(self, call: Call, work: Work, group: Group, future: asyncio.Future[Reply | None], now: float) -> None:
        self.call = call
        self.work = work
        self.group = group
        self.future = future
        self.arrived = now
        self.until = call.deadline or 0.0
        self.run: _Run | None = None

    def expire(self) -> None:
        """The caller's own limit of time has come (called by `Deadlines`)."""
        if self.future.done():
            return
        if self.run is None:
            error: AccelerateError = QueueTimeout("the call's time was over before its batch was sent")
        else:
            error = ReadTimeout("the call's time was over before the batch that it is part of was answered")
        self.future.set_exception(error)
        self.group.left(self)


class _Run:
    """One merged call on its way."""

    __slots__ = ("answered", "members", "task", "tries", "whole")

    def __init__(self, members: Sequence[Member], tries: list[int], whole: _Run | None) -> None:
        self.members = members
        #: Merged calls that may still be made of what was one; shared by all of them.
        self.tries = tries
        #: The refused call that this is a half of, and how many halves of this one have been answered.
        self.whole = whole
        self.answered = 0
        self.task: asyncio.Task[None] | None = None


class Group:
    """Calls that may go together: those of one key."""

    __slots__ = ("_house", "_inner", "_timer", "cutter", "key")

    def __init__(self, house: House, key: Hashable, inner: Handler, cutter: BatchCutter[Member]) -> None:
        self._house = house
        self._inner = inner
        self._timer: asyncio.Handle | None = None
        self.key = key
        self.cutter = cutter

    def add(self, member: Member) -> None:
        for batch in self.cutter.add(member, len(member.work.items), sum(member.work.tokens)):
            self._send(batch)
        if self._timer is None:
            self._wait()

    def _wait(self) -> None:
        due = self.cutter.due()
        if due is None:
            return
        loop = self._house.loop
        # At the end of this turn of the loop: callers that came at the same moment go together, and nobody waits.
        self._timer = loop.call_soon(self._due) if due == 0.0 else loop.call_later(due, self._due)

    def _due(self) -> None:
        self._timer = None
        due = self.cutter.due()
        if due is not None and due > 0.001 and self.cutter.running:  # the batch that it was set for has gone
            self._wait()
        elif due is not None:
            self._send(self.cutter.cut())
        self._forget()

    def _send(self, members: list[Member]) -> None:
        now = self._house.clock()
        for member in members:
            waited = now - member.arrived
            if waited >= _A_TURN:
                member.call.queued += waited
        self._go(members, [2 * len(members).bit_length() + 2])

    def _go(self, members: Sequence[Member], tries: list[int], whole: _Run | None = None) -> None:
        present = [member for member in members if not member.future.done()]
        if len(present) == 1 or tries[0] <= 0:
            for member in present:
                self._alone(member)
        elif present:
            tries[0] -= 1
            run = _Run(present, tries, whole)
            for member in present:
                member.run = run
            self.cutter.running += 1
            items = sum(len(member.work.items) for member in present)
            self._house.totals.sent(present[0].call.operation, len(present), items)
            run.task = task = self._house.loop.create_task(self._run(run))
            self._house.tasks.add(task)
            task.add_done_callback(self._house.tasks.discard)

    def _alone(self, member: Member) -> None:
        member.run = None
        self.cutter.running += 1
        self._house.totals.alone += 1
        self._house.deadlines.discard(member)  # the call watches its own from here on
        member.future.set_result(None)

    def left(self, member: Member) -> None:
        """A caller that waited has gone: it is taken out, or its part of the answer will be dropped."""
        self._house.deadlines.discard(member)
        failed = None if not member.future.done() or member.future.cancelled() else member.future.exception()
        if self.cutter.remove(member):
            self._house.totals.left += 1
            self._forget()
            return
        run = member.run
        if run is None:
            if member.future.done() and not member.future.cancelled() and failed is None:
                self.ended()  # it was told to go alone, and left before it could
            return
        self._house.totals.left += 1
        if run.task is not None and all(each.future.done() for each in run.members):
            run.task.cancel()

    def ended(self) -> None:
        """An upstream call is over: who waited for that goes now."""
        self.cutter.running -= 1
        if not self.cutter.running and len(self.cutter):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._house.loop.call_soon(self._due)
        self._forget()

    def _forget(self) -> None:
        if not self.cutter.running and not len(self.cutter):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._house.groups.get(self.key) is self:
                del self._house.groups[self.key]

    # --- a merged call -------------------------------------------------------------------------------------------

    async def _run(self, run: _Run) -> None:
        members = run.members
        call = merged([member.call for member in members], [member.work for member in members])
        try:
            reply = await self._inner(call)
            parts = shares(call.operation, reply, [member.work for member in members])
        except InvalidRequest as error:
            self._tell_attempts(members, call, None)
            if isinstance(error, ModelNotFound) or _of_all(error, members[0].work):
                self._fail(members, error, call)
            else:
                self._halve(run)
        except ProtocolError as error:
            if error.status is not None:
                self._fail(members, error, call)
            else:  # the answer was whole, and has not a part for each: nobody is given another's
                self._tell_attempts(members, call, None)
                self._go(members, [0])
        except asyncio.CancelledError:
            for member in members:
                member.future.cancel()
            raise
        except AccelerateError as error:
            self._fail(members, error, call)
        except BaseException as error:
            self._fail(members, error, call)
            if not isinstance(error, Exception):
                raise
        else:
            self._tell_attempts(members, call, None)
            self._learn(run.whole, call)
            for member, part in zip(members, parts, strict=True):
                self._settle(member, part, call)
        finally:
            self.ended()

    def _learn(self, whole: _Run | None, call: Call) -> None:
        """Both halves of a refused call are fine: it was too large, and the next ones are not made so large."""
        if whole is not None:
            whole.answered += 1
            if whole.answered == 2:
                items = sum(len(member.work.items) for member in whole.members)
                self._house.strategies.refused(call.operation, call.request.model, items)

    def _settle(self, member: Member, part: Reply, call: Call) -> None:
        self._house.deadlines.discard(member)
        member.call.queued += call.queued
        if not member.future.done():
            member.future.set_result(part)

    def _fail(self, members: Sequence[Member], error: BaseException, call: Call) -> None:
        """The verdict is everybody's; each has an error of its own, for whoever handles one may write into it."""
        self._tell_attempts(members, call, error)
        for member in members:
            self._house.deadlines.discard(member)
            if not member.future.done():
                own = copy.copy(error) if isinstance(error, AccelerateError) else error
                member.future.set_exception(own)

    def _tell_attempts(self, members: Sequence[Member], call: Call, error: BaseException | None) -> None:
        """Attempts are counted once, with the first; of a failure the others are told who was asked last."""
        members[0].call.attempts.extend(call.attempts)
        for member in members:
            member.call.asked.extend(call.asked)
        if error is not None:
            for member in members[1:]:
                member.call.attempts.extend(call.attempts[-1:])

    def _halve(self, run: _Run) -> None:
        """Somebody's input is refused: the halves are asked for by themselves, until it is clear whose."""
        members = run.members
        self._house.totals.refused += 1
        middle = len(members) // 2
        for half in (members[:middle], members[middle:]):
            self._go(half, run.tries, run)


def _of_all(error: InvalidRequest, work: Work) -> bool:
    """Whether the service blames what all of them have in common, so that asking again in halves cannot help."""
    return error.param == "model" or (error.param is not None and error.param in work.request.options)
