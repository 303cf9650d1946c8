"""Budgets in US dollars and tokens: reserved before a call, reconciled with what it came to, reset with the calendar.

Between the check and the reservation nothing waits, so however many calls race, what is spent and what is reserved
together are never more than the budget. A reservation is the most that a call may cost: every byte of its text a token,
and ``max_tokens`` of answer. So a budget is overspent only by what a call used beyond that: where the request does not
say how long the answer may be (then `accounts.ASSUMED_OUTPUT` tokens are taken), or for input that is no text.

What becomes of a reservation:

=============================================  ================================================
the call                                       is charged
=============================================  ================================================
was answered, with usage                       what it cost
was answered, without usage (or price)         its reservation
failed, or was refused                         nothing
is a stream that broke or was left             its reservation: nobody says what it is billed
was given up by its caller while it was made   its reservation
=============================================  ================================================

A call belongs to the window (minute, hour, day, week, month) in which it began.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ipfs_accelerate_py.pipeline.accounts import Account, Budget, BudgetWarning, Claim, Spending, most_tokens
from ipfs_accelerate_py.pipeline.scopes import Holder, Scoped
from ipfs_accelerate_py.pipeline.windows import window
from ipfs_accelerate_py.records import Pricer
from ipfs_accelerate_py.types import Call, Reply, Usage

__all__ = ["Budget", "BudgetWarning", "Budgets", "Claim", "Spending"]

#: Holders whose accounts are kept, for all budgets together.
MOST_ACCOUNTS = 20_000


class Budgets:
    """All budgets of a front. ``clock`` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.budgets: Scoped[Budget] = Scoped()
        self._accounts: dict[tuple[str, Holder], Account] = {}
        #: Where prices are to be had; asked for each call, for they may come later than the budget.
        self.pricer: Callable[[], Pricer | None] = lambda: None
        #: Backends and models that may answer a call: the dearest of them is reserved.
        self.candidates: Callable[[Call], Sequence[tuple[str, str]]] = lambda call: (("", call.request.model),)
        #: What was spent before; read once for each account.
        self.spending: Spending | None = None
        #: Told when a budget has been used to one of its shares; must neither wait nor raise.
        self.observers: list[Callable[[BudgetWarning], None]] = []

    def put(self, budget: Budget) -> None:
        """Add a budget, or replace the one of that name: what was spent stays spent where the windows are the same."""
        before = self.budgets.get(budget.name)
        self.budgets.put(budget)
        for key, account in list(self._accounts.items()):
            if key[0] == budget.name:
                if before is not None and (before.scope, before.per) == (budget.scope, budget.per):
                    account.budget = budget
                    account.warned = 0.0
                else:
                    del self._accounts[key]

    def remove(self, name: str) -> bool:
        for key in [key for key in self._accounts if key[0] == name]:
            del self._accounts[key]
        return self.budgets.pop(name) is not None

    # --- a call --------------------------------------------------------------------------------------------------

    async def claim(self, call: Call) -> Claim | None:
        """Reserve what the call may cost of each of its budgets, or raise `BudgetExceeded`; None where it has none."""
        accounts = self._of(call)
        if not accounts:
            return None
        if self.spending is not None:
            for account in accounts:
                while not account.seeded:
                    await self._seed(account, self.spending)
            accounts = self._of(call)  # a window may have ended meanwhile
        tokens = most_tokens(call)
        usd = self._estimate(call) if any(account.budget.usd is not None for account in accounts) else 0.0
        for account in accounts:  # from here on nothing waits until all of it is taken
            account.check(usd, tokens, self._clock())
        for account in accounts:
            account.claims += 1
            account.reserved_usd += usd or 0.0
            account.reserved_tokens += tokens
        return Claim(call, accounts, usd, tokens)

    def settle(self, claim: Claim, reply: Reply | None, usage: Usage | None, *, whole: bool = True) -> None:
        """Charge what the call came to: ``usage``, or the reservation where that is None or not the ``whole``."""
        usd, tokens = claim.usd or 0.0, claim.tokens
        if usage is not None:
            cost = self._cost(claim.call, reply, usage)
            used = usage.total_tokens
            if whole:
                usd, tokens = usd if cost is None else cost, used
            else:
                usd, tokens = max(usd, cost or 0.0), max(tokens, used)
        for account in claim.accounts:
            account.give_back(claim)
            account.spent_usd += usd
            account.spent_tokens += tokens
            if account.used > account.warned and (told := account.warning()) is not None:
                for observer in self.observers:
                    observer(told)

    def release(self, claim: Claim) -> None:
        """Give the reservation back: the call has cost nothing."""
        for account in claim.accounts:
            account.give_back(claim)

    def snapshot(self) -> list[dict[str, Any]]:
        """Every account of this window: the budget, what is spent and reserved of it, and when it is whole again."""
        now = self._clock()
        return [
            {
                "budget": budget.name,
                **dict(zip(("tenant", "caller", "model"), account.holder, strict=True)),
                "per": budget.per,
                "usd": budget.usd,
                "spent_usd": account.spent_usd,
                "reserved_usd": account.reserved_usd,
                "tokens": budget.tokens,
                "spent_tokens": account.spent_tokens,
                "reserved_tokens": account.reserved_tokens,
                "used": account.used,
                "resets": None if account.ends == math.inf else account.ends,
            }
            for account in self._accounts.values()
            if account.ends > now
            for budget in (account.budget,)
        ]

    def forget_claims(self) -> None:
        """Nothing is under way any more."""
        for account in self._accounts.values():
            account.claims = account.reserved_tokens = 0
            account.reserved_usd, account.seeding = 0.0, None

    # --- accounts ------------------------------------------------------------------------------------------------

    def _of(self, call: Call) -> list[Account]:
        now = self._clock()
        found = []
        for budget, holder in self.budgets.counted(call):
            account = self._accounts.get((budget.name, holder))
            if account is None or not account.begins <= now < account.ends:
                if account is None and len(self._accounts) >= MOST_ACCOUNTS:
                    self._sweep(now)
                made = Account(budget, holder, *window(budget.per, now))
                # Nothing was spent in a window that has begun under our eyes.
                made.seeded = account is not None and account.ends <= now and account.seeded
                account = self._accounts[budget.name, holder] = made
            found.append(account)
        return found

    def _sweep(self, now: float) -> None:
        for key, account in list(self._accounts.items()):
            if account.ends <= now or not (account.spent_tokens or account.reserved_tokens or account.spent_usd):
                del self._accounts[key]

    async def _seed(self, account: Account, spending: Spending) -> None:
        """Add what was spent before; whoever comes meanwhile waits for it, and does it where the first one left."""
        if account.seeding is not None:
            await account.seeding.wait()
            return
        account.seeding = done = asyncio.Event()
        try:
            tenant, caller, model = (name or None for name in account.holder)
            usd, tokens = await spending.spent(since=account.begins, tenant=tenant, caller=caller, model=model)
            account.spent_usd += usd
            account.spent_tokens += tokens
            account.warned = max((share for share in account.budget.warn_at if share <= account.used), default=0.0)
            account.seeded = True
        finally:
            account.seeding = None
            done.set()

    # --- money ---------------------------------------------------------------------------------------------------

    def _estimate(self, call: Call) -> float | None:
        pricer = self.pricer()
        if pricer is None:
            return None
        most = 0.0
        for backend, model in self.candidates(call):
            one = pricer.estimate(call, backend, model)
            if one is None:
                return None
            most = max(most, one)
        return most

    def _cost(self, call: Call, reply: Reply | None, usage: Usage) -> float | None:
        pricer = self.pricer()
        if pricer is None or reply is None:
            return None
        cost = pricer.cost(reply.backend, reply.target_model or call.request.model, usage, call.alias)
        return None if cost is None else cost.total
