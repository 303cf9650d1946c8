"""Limits by tenant, gateway's key and model: requests and tokens a minute, and calls at once.

They stand in front of everything that is sent (and behind the caches: a hit spends nothing). A call over a limit is
refused at once with `LimitExceeded`, which says when to come back, or waits where the rule says for how long. The
budgets of `pipeline.budgets` are kept by the same policy. The provider's own limits are another matter (`KeyPool`).
"""

from __future__ import annotations

import asyncio
import math

from ipfs_accelerate_py.errors import LimitExceeded
from ipfs_accelerate_py.pipeline.accounts import Claim
from ipfs_accelerate_py.pipeline.admission import Admission
from ipfs_accelerate_py.pipeline.budgets import Budgets
from ipfs_accelerate_py.pipeline.limit_rules import SOON, Hold, LimitRule, Limits, exceeded
from ipfs_accelerate_py.pipeline.scopes import Holder
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.stream import unheld
from ipfs_accelerate_py.types import Call, Handler, Reply, Usage

__all__ = ["LimitRule", "LimitState", "Limits", "LimitsPolicy"]


class LimitState:
    """What outlives the policy, which is made anew whenever the policies around it change."""

    def __init__(self, limits: Limits, budgets: Budgets) -> None:
        self.limits = limits
        self.budgets = budgets
        self.queue: Admission
        self._open()

    def _open(self) -> None:
        settings = Settings(max_concurrent_requests=1 << 60, queue_size=10_000)
        #: Where calls wait that may: each tenant's, key's and model's by themselves, else one would hold up the others.
        self.queue = Admission(settings, self.limits, clock=self.limits.clock, lane=_lane)

    def forget(self) -> None:
        """Nothing is under way: in a forked child, where what was is the parent's."""
        self.limits.forget_holds()
        self.budgets.forget_claims()
        self._open()


def _was_sent(call: Call, before: int) -> bool:
    """Whether anybody was asked: with a key of this target, in an attempt that failed, or by a router."""
    return call.lease is not None or bool(call.asked) or len(call.attempts) > before


class LimitsPolicy:
    """Lets a call through that is within its limits and budgets, and settles both when it is over."""

    def __init__(self, inner: Handler, state: LimitState) -> None:
        self._inner = inner
        self.state = state

    async def __call__(self, call: Call) -> Reply:
        state = self.state
        hold = await self._enter(call) if state.limits.rules else None
        claim: Claim | None = None
        before = len(call.attempts)
        try:
            if state.budgets.budgets:
                claim = await state.budgets.claim(call)
            reply = await self._inner(call)
        except BaseException as error:
            # A caller who leaves while the answer is made is billed for it; what failed is not.
            sent = isinstance(error, asyncio.CancelledError) and _was_sent(call, before)
            self._leave(hold, claim, None, Usage(), charged=sent)
            raise
        if reply.stream is None:
            self._leave(hold, claim, reply, reply.usage, charged=True)
        else:
            kept = unheld(reply)
            reply.stream.add_done_callback(
                lambda stream, error: self._leave(hold, claim, kept(), stream.usage, charged=True, whole=error is None)
            )
        return reply

    async def _enter(self, call: Call) -> Hold:
        state = self.state
        hold = state.limits.acquire(call) if not state.queue.waiting(call) else 0.0
        if not isinstance(hold, float):
            return hold
        found = state.limits.blocking(call)
        if found is not None:
            counter, wait = found
            patience = counter.rule.wait
            if patience <= 0 or (patience < wait < math.inf):
                raise exceeded(counter, wait)
        else:  # there would be room, but others have waited for it
            patience = max(rule.wait for rule, _ in state.limits.rules.counted(call))
        try:
            async with asyncio.timeout(patience):
                await state.queue.acquire(call)
        except TimeoutError:
            found = state.limits.blocking(call)
            raise (
                exceeded(*found)
                if found is not None
                else LimitExceeded(
                    "this call has waited for its turn for as long as it may; others of the same tenant, key and model "
                    "were before it",
                    retry_after=SOON,
                )
            ) from None
        taken: Hold = call.lease
        call.lease = None  # the key's place
        taken.queued = True
        return taken

    def _leave(
        self,
        hold: Hold | None,
        claim: Claim | None,
        reply: Reply | None,
        usage: Usage,
        *,
        charged: bool,
        whole: bool = True,
    ) -> None:
        state = self.state
        known = usage.reported and whole
        if hold is not None:
            state.limits.release(hold, usage.total_tokens if known else None if charged else 0)
            if hold.queued:
                state.queue.leave()
            state.queue.wake()
        if claim is not None:
            if charged:
                state.budgets.settle(claim, reply, usage if usage.reported else None, whole=whole)
            else:
                state.budgets.release(claim)


def _lane(call: Call) -> Holder:
    return call.tenant, call.caller, call.alias or call.request.model
