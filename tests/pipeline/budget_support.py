"""A front with budgets and a backend that does as it is told, prices that are easy to reckon with, and a ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from ipfs_accelerate_py.pipeline.accounts import Budget, BudgetWarning, most_tokens
from ipfs_accelerate_py.pipeline.budgets import Budgets
from ipfs_accelerate_py.pipeline.limits import Limits, LimitsPolicy, LimitState
from ipfs_accelerate_py.pipeline.scopes import Scope
from ipfs_accelerate_py.types import Call, Cost, Reply, Usage

from .support import Backend, Clock, make_call, text_reply

#: 2026-03-04 05:06:07 UTC, a Wednesday.
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()


class Prices:
    """A dollar a token, for every model but those without a price."""

    def cost(self, backend: str, model: str, usage: Usage, alias: str = "") -> Cost | None:
        return None if model.startswith("free") else Cost(float(usage.total_tokens))

    def estimate(self, call: Call, backend: str, model: str) -> float | None:
        return None if model.startswith("free") else float(most_tokens(call)) * (2 if backend == "dear" else 1)


class Book:
    """A ledger of what was spent before."""

    def __init__(self, usd: float = 0.0, tokens: int = 0) -> None:
        self.spends = (usd, tokens)
        self.asked: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def spent(self, **about: Any) -> tuple[float, int]:
        self.asked.append(about)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.spends


class Front:
    def __init__(self, *plays: Any, **budget: Any) -> None:
        self.clock = Clock(NOW)
        self.budgets = Budgets(self.clock)
        self.budgets.pricer = Prices
        self.backend = Backend(*plays)
        self.policy = LimitsPolicy(self.backend, LimitState(Limits(), self.budgets))
        self.told: list[BudgetWarning] = []
        self.budgets.observers.append(self.told.append)
        if budget:
            self.put(**budget)

    def put(self, name: str = "b", **budget: Any) -> None:
        scope = Scope(**{key: budget.pop(key) for key in ("tenant", "caller", "model") if key in budget})
        self.budgets.put(Budget(name=name, scope=scope, **budget))

    async def ask(self, most: int = 100, *, tenant: str = "", model: str = "m") -> Reply:
        return await self.policy(call_of(most, tenant=tenant, model=model))

    @property
    def account(self) -> dict[str, Any]:
        (found,) = self.budgets.snapshot()
        return found


def call_of(most: int | None = 100, *, tenant: str = "", model: str = "m", **options: Any) -> Call:
    call = make_call(model=model, options={} if most is None else {"max_tokens": most}, **options)
    call.tenant = tenant
    return call


def used(tokens: int) -> Reply:
    return text_reply(usage=Usage(tokens, 0, reported=True))


INPUT = most_tokens(call_of(1)) - 1
