"""Rates, quotas and budgets by tenant, model and key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py import forks
from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.features.host import FeatureHost
from ipfs_accelerate_py.types import Call, Handler

# Imported where a limit is set: who sets none does not wait for it.
if TYPE_CHECKING:
    from ipfs_accelerate_py.pipeline.accounts import BudgetWarning, Spending
    from ipfs_accelerate_py.pipeline.limits import LimitsPolicy, LimitState

__all__ = ["LimitFeatures"]


class LimitFeatures(FeatureHost):
    """Limits of our own, in front of what is sent: docs/limits.md.

    In each of them ``tenant``, ``caller`` (the name of a gateway's key) and ``model`` (what the caller asks for) say
    whose calls are counted: a name's, every one's by itself (``"*"``), or all together (left out).
    """

    def set_limits(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        max_concurrent: int | None = None,
        tenant: str = "",
        caller: str = "",
        model: str = "",
        wait: float = 0.0,
        name: str = "",
    ) -> str:
        """Limit requests and tokens a minute, and calls at once; gives the limit's name.

        A call over the limit is refused at once with `LimitExceeded`, or waits up to ``wait`` seconds for its turn.
        The limit of the same name (by default its scope's) is replaced; with no figures it is removed.
        """
        from ipfs_accelerate_py.pipeline.limits import LimitRule
        from ipfs_accelerate_py.pipeline.scopes import Scope, positive

        scope = Scope(tenant=tenant, caller=caller, model=model)
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < math.inf:
            raise ConfigurationError(f"wait must be a number of seconds, at least 0, not {wait!r}")
        rule = LimitRule(
            name=name or scope.name,
            scope=scope,
            requests_per_minute=positive("requests_per_minute", requests_per_minute),
            tokens_per_minute=positive("tokens_per_minute", tokens_per_minute),
            max_concurrent=positive("max_concurrent", max_concurrent, whole=True),
            wait=float(wait),
        )
        if rule.requests_per_minute is rule.tokens_per_minute is rule.max_concurrent is None:
            self.remove_limits(rule.name)
        else:
            self._limit_state().limits.put(rule)
        return rule.name

    def remove_limits(self, name: str) -> bool:
        """Take a limit away; whether there was one of that name. Calls under way are not touched."""
        state = self._found()
        removed = state is not None and state.limits.remove(name)
        if removed:
            self._tidy()
        return removed

    def limits(self) -> list[dict[str, Any]]:
        """Every limit and whom it has counted, with what is left of it now."""
        state = self._found()
        return [] if state is None else state.limits.snapshot()

    def set_budget(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        per: str = "month",
        tenant: str = "",
        caller: str = "",
        model: str = "",
        warn_at: Sequence[float] = (0.8, 1.0),
        on_warning: Callable[[BudgetWarning], None] | None = None,
        unpriced: str = "refuse",
        name: str = "",
    ) -> str:
        """Limit what calls may come to, in US dollars or tokens (input and output); gives the budget's name.

        The most that a call may cost is reserved before it is made, and what it did cost is charged after. A call that
        does not fit is refused with `BudgetExceeded`, which says when the budget is whole again.

        Args:
            per: "minute", "hour", "day", "week", "month" (of the calendar, UTC), or "total".
            warn_at: shares of the budget (0 to 1) at which a warning is told, once in each window.
            on_warning: told of the warnings of every budget, on the loop; it must neither wait nor raise.
            unpriced: what becomes of calls whose price nobody knows, with ``usd``: "refuse", or "allow" (they count 0).
            name: the budget of the same name (by default its scope's and ``per``) is replaced.
        """
        from ipfs_accelerate_py.pipeline.accounts import Budget
        from ipfs_accelerate_py.pipeline.scopes import Scope, positive
        from ipfs_accelerate_py.pipeline.windows import check_period

        scope = Scope(tenant=tenant, caller=caller, model=model)
        check_period(per)
        if unpriced not in ("refuse", "allow"):
            raise ConfigurationError(f'unpriced must be "refuse" or "allow", not {unpriced!r}')
        budget = Budget(
            name=name or f"{scope.name}/{per}",
            scope=scope,
            per=per,
            usd=positive("usd", usd),
            tokens=positive("tokens", tokens, whole=True),
            warn_at=tuple(sorted(_share(share) for share in warn_at)),
            unpriced=unpriced,
        )
        if budget.usd is None and budget.tokens is None:
            raise ConfigurationError("a budget needs usd or tokens")
        budgets = self._limit_state().budgets
        budgets.put(budget)
        if on_warning is not None and on_warning not in budgets.observers:
            budgets.observers.append(on_warning)
        return budget.name

    def remove_budget(self, name: str) -> bool:
        """Take a budget away; whether there was one of that name. Calls under way are not touched."""
        state = self._found()
        removed = state is not None and state.budgets.remove(name)
        if removed:
            self._tidy()
        return removed

    def budgets(self) -> list[dict[str, Any]]:
        """Every budget and whom it has counted in this window: spent, reserved, the share used, and when it resets."""
        state = self._found()
        return [] if state is None else state.budgets.snapshot()

    def budget_shares(self) -> dict[str, float]:
        """The share of each budget that is used, the greatest of its holders: what alerts watch."""
        shares: dict[str, float] = {}
        for account in self.budgets():
            shares[account["budget"]] = max(shares.get(account["budget"], 0.0), account["used"])
        return shares

    def seed_budgets(self, spending: Spending | None) -> None:
        """Where budgets learn what was spent before this process began (a ledger); None: nowhere."""
        self._spending = spending
        state = self._found()
        if state is not None:
            state.budgets.spending = spending

    # --- state: of the policy, which is the same for every face of a client -----------------------------------------

    _spending: Spending | None = None

    def _found(self) -> LimitState | None:
        policy = self.front.get("limits")
        return None if policy is None else policy.state

    def _limit_state(self) -> LimitState:
        found = self._found()
        if found is not None:
            return found
        from ipfs_accelerate_py.pipeline.budgets import Budgets
        from ipfs_accelerate_py.pipeline.limits import Limits, LimitsPolicy, LimitState

        state = LimitState(Limits(), Budgets())
        state.budgets.pricer = lambda: self.usage_policy.pricer
        state.budgets.candidates = self.candidates
        state.budgets.spending = self._spending
        process = forks.generation()

        def make(inner: Handler) -> LimitsPolicy:
            nonlocal process
            if process != forks.generation():
                process = forks.generation()
                state.forget()
            return LimitsPolicy(inner, state)

        self.front.install("limits", make)
        return state

    def _tidy(self) -> None:
        state = self._found()
        if state is not None and not state.limits.rules and not state.budgets.budgets:
            self.front.remove("limits")

    def candidates(self, call: Call) -> Sequence[tuple[str, str]]:
        """Backend and model of each target that may answer a call: the dearest of them is what is reserved."""
        return ((getattr(self, "backend", ""), call.request.model),)


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigurationError(f"warn_at holds shares above 0 and up to 1, not {value!r}")
    return float(value)
