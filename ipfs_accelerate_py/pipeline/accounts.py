"""What budgets are made of: the budget, the account of one holder in one window, and what one call has reserved."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from ipfs_accelerate_py.errors import BudgetExceeded
from ipfs_accelerate_py.estimates import bound_input, most_output
from ipfs_accelerate_py.pipeline.scopes import Holder, Scope, spoken
from ipfs_accelerate_py.types import Call, Operation

__all__ = ["ASSUMED_OUTPUT", "Account", "Budget", "BudgetWarning", "Claim", "Spending", "most_tokens"]

#: Tokens of answer that are reserved where the request does not limit them.
ASSUMED_OUTPUT = 4096
#: Seconds after which to come back where the budget is not spent but reserved, for calls under way.
SOON = 1.0
_WRITTEN = frozenset((Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE))
_EPSILON = 1e-9


class Spending(Protocol):
    """Knows what was spent before this process began: the ledger."""

    async def spent(
        self, *, since: float, tenant: str | None = None, caller: str | None = None, model: str | None = None
    ) -> tuple[float, int]:
        """US dollars and tokens of the calls that began at or after ``since`` (seconds since 1970); None is any."""
        ...


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of a scope may come to in each ``per``. ``usd`` and ``tokens``: at least one of them.

    ``warn_at`` are shares (0 to 1) at which `BudgetWarning` is told. ``unpriced`` says what becomes of calls whose
    price nobody knows, where there is a budget in money: "refuse" or "allow" (they count nothing).
    """

    name: str
    scope: Scope
    per: str = "month"
    usd: float | None = None
    tokens: int | None = None
    warn_at: tuple[float, ...] = (0.8, 1.0)
    unpriced: str = "refuse"


class BudgetWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A budget has been used to a share that somebody wants to hear of; once for each share in each window.

    ``used`` is the share used now; ``resets`` is when it is whole again (seconds since 1970; infinite: never).
    """

    budget: str
    tenant: str
    caller: str
    model: str
    share: float
    used: float
    spent_usd: float
    spent_tokens: int
    resets: float


class Account:
    """What one holder has spent of one budget in one window."""

    __slots__ = (
        "begins", "budget", "claims", "ends", "holder", "reserved_tokens", "reserved_usd", "seeded", "seeding",
        "spent_tokens", "spent_usd", "warned",
    )  # fmt: skip

    def __init__(self, budget: Budget, holder: Holder, begins: float, ends: float) -> None:
        self.budget = budget
        self.holder = holder
        self.begins = begins
        self.ends = ends
        self.spent_usd = self.reserved_usd = 0.0
        self.spent_tokens = self.reserved_tokens = 0
        self.claims = 0
        self.warned = 0.0
        self.seeded = False
        self.seeding: asyncio.Event | None = None

    @property
    def used(self) -> float:
        """The share that is spent; what is reserved is not."""
        usd, tokens = self.budget.usd, self.budget.tokens
        return max(0.0 if usd is None else self.spent_usd / usd, 0.0 if tokens is None else self.spent_tokens / tokens)

    def give_back(self, claim: Claim) -> None:
        """A call is over: what was reserved for it is so no more."""
        self.claims = max(0, self.claims - 1)
        self.reserved_tokens = max(0, self.reserved_tokens - claim.tokens)
        # Sums of floats do not come back to zero by themselves, and what is left over would add up in a year.
        self.reserved_usd = max(0.0, self.reserved_usd - (claim.usd or 0.0)) if self.claims else 0.0

    def warning(self) -> BudgetWarning | None:
        """What is to be told of the share that is used by now; None where it was told, or nobody asked for it."""
        passed = [share for share in self.budget.warn_at if self.warned < share <= self.used + _EPSILON]
        if not passed:
            return None
        self.warned = max(passed)
        tenant, caller, model = self.holder
        return BudgetWarning(
            budget=self.budget.name,
            tenant=tenant,
            caller=caller,
            model=model,
            share=self.warned,
            used=self.used,
            spent_usd=self.spent_usd,
            spent_tokens=self.spent_tokens,
            resets=self.ends,
        )

    def check(self, usd: float | None, tokens: int, now: float) -> None:
        """Raise `BudgetExceeded` where a call that may come to this much does not fit; ``usd`` None: nobody knows."""
        budget = self.budget
        if budget.usd is not None:
            if usd is not None:
                self._within(usd, self.spent_usd, self.reserved_usd, budget.usd, "${:.4f}", now)
            elif budget.unpriced == "refuse":
                raise self._refused(
                    "usd",
                    f"The budget {budget.name!r}{spoken(self.holder)} is in US dollars, and no price of the model is "
                    "known: set one (see docs/costs.md), or set the budget with unpriced='allow'",
                    code="price_unknown",
                )
        if budget.tokens is not None:
            self._within(tokens, self.spent_tokens, self.reserved_tokens, budget.tokens, "{:,} tokens", now)

    def _within(self, more: float, spent: float, reserved: float, most: float, unit: str, now: float) -> None:
        if spent + reserved + more <= most * (1 + _EPSILON):
            return
        limit = "usd" if unit.startswith("$") else "tokens"
        most_said, spent_said, more_said = unit.format(most), unit.format(spent), unit.format(more)
        name = f"Budget {self.budget.name!r}{spoken(self.holder)}"
        per = "in all" if self.budget.per == "total" else f"a {self.budget.per}"
        if spent + more <= most:
            raise self._refused(
                limit,
                f"{name}: of {most_said} {per}, {spent_said} are spent and the rest is reserved for calls under way; "
                f"this one may take {more_said}",
                retry_after=SOON,
            )
        again = "never" if self.ends == math.inf else f"{datetime.fromtimestamp(self.ends, UTC):%Y-%m-%d %H:%M} UTC"
        raise self._refused(
            limit,
            f"{name}: of {most_said} {per}, {spent_said} are spent; this call may take {more_said}; "
            f"it is whole again: {again}",
            retry_after=None if self.ends == math.inf else max(0.0, self.ends - now),
        )

    def _refused(self, limit: str, text: str, **options: Any) -> BudgetExceeded:
        error = BudgetExceeded(text, **options)
        error.scope, error.limit = self.budget.scope.kind, limit
        return error


class Claim(msgspec.Struct):
    """What is reserved for one call, of all its budgets."""

    call: Call
    accounts: list[Account]
    usd: float | None
    tokens: int


def most_tokens(call: Call) -> int:
    """The most tokens that a call may use; see the table above for where it may be more."""
    if call.operation not in _WRITTEN:
        return bound_input(call) + (most_output(call) or 0)
    choices = call.request.options.get("n")
    return bound_input(call) + (most_output(call) or ASSUMED_OUTPUT) * (choices if type(choices) is int else 1)
