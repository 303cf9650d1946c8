"""The arithmetic of limits by tenant, gateway's key and model: who has how much left. No I/O, an injected clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import LimitExceeded
from ipfs_accelerate_py.estimates import estimate_tokens
from ipfs_accelerate_py.pipeline.ratelimit import Bucket
from ipfs_accelerate_py.pipeline.scopes import Holder, Scope, Scoped, spoken
from ipfs_accelerate_py.types import Call

__all__ = ["SOON", "Counter", "Hold", "LimitRule", "Limits", "exceeded"]

#: Holders whose counts are kept, for all rules together: names come from callers.
MOST_HOLDERS = 20_000
#: Seconds after which to come back where one of the calls under way must end first, which may be any time.
SOON = 1.0


class LimitRule(msgspec.Struct, frozen=True, kw_only=True):
    """One limit. ``wait`` is how many seconds a call over it may wait for its turn; 0 refuses at once."""

    name: str
    scope: Scope
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrent: int | None = None
    wait: float = 0.0


class Counter:
    """What one holder has used of one rule."""

    __slots__ = ("active", "holder", "requests", "rule", "tokens")

    def __init__(self, rule: LimitRule, holder: Holder, now: float) -> None:
        self.rule = rule
        self.holder = holder
        self.active = 0
        per_minute = rule.requests_per_minute
        self.requests = None if per_minute is None else Bucket.per_minute(per_minute, now)
        per_minute = rule.tokens_per_minute
        self.tokens = None if per_minute is None else Bucket.per_minute(per_minute, now)

    def wait(self, call: Call, now: float) -> float:
        most = self.rule.max_concurrent
        if most is not None and self.active >= most:
            return math.inf
        wait = 0.0 if self.requests is None else self.requests.wait(1, now)
        if self.tokens is not None:
            wait = max(wait, self.tokens.wait(call.cost, now))
        return wait

    def limiting(self, wait: float) -> str:
        """What of it a call would have to wait for so long."""
        if wait == math.inf:
            return "concurrency"
        return "tokens" if self.requests is None or self.requests.level(0.0) >= 1 else "requests"

    def idle(self, now: float) -> bool:
        """Whether nothing would be lost by forgetting it."""
        buckets = [bucket for bucket in (self.requests, self.tokens) if bucket is not None]
        return self.active == 0 and all(bucket.level(now) >= bucket.capacity for bucket in buckets)


class Hold(msgspec.Struct):
    """What one call has taken of its limits."""

    counters: list[Counter]
    tokens: int
    queued: bool = False


class Limits:
    """The arithmetic of the rules. No I/O, an injected clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.rules: Scoped[LimitRule] = Scoped()
        self._counters: dict[tuple[str, Holder], Counter] = {}

    def put(self, rule: LimitRule) -> None:
        """Add a rule, or replace the one of that name, whose counts begin anew."""
        self.remove(rule.name)
        self.rules.put(rule)

    def remove(self, name: str) -> bool:
        for key in [key for key in self._counters if key[0] == name]:
            del self._counters[key]
        return self.rules.pop(name) is not None

    def blocking(self, call: Call) -> tuple[Counter, float] | None:
        """The limit that ``call`` would have to wait for longest, with the seconds (infinite: until another ends)."""
        now = self.clock()
        worst = max(((c.wait(call, now), c) for c in self._of(call, now)), key=lambda each: each[0], default=None)
        return None if worst is None or worst[0] <= 0 else (worst[1], worst[0])

    def acquire(self, call: Call) -> Hold | float:
        """Take what ``call`` needs of all its limits, or the seconds until that may be there; then nothing is taken."""
        now = self.clock()
        counters = self._of(call, now)
        wait = max((counter.wait(call, now) for counter in counters), default=0.0)
        if wait > 0:
            return float(wait)
        for counter in counters:
            counter.active += 1
            if counter.requests is not None:
                counter.requests.take(1, now)
            if counter.tokens is not None:
                counter.tokens.reserve(call.cost, now)
        return Hold(counters, call.cost)

    def release(self, hold: Hold, used: int | None) -> None:
        """End a call, which has used so many tokens; None: nobody knows, and then what was reserved is used."""
        now = self.clock()
        for counter in hold.counters:
            counter.active -= 1
            if counter.tokens is not None:
                counter.tokens.settle(hold.tokens, hold.tokens if used is None else used, now)

    def cancel(self, hold: Hold) -> None:
        """Undo it: the call was never made."""
        now = self.clock()
        for counter in hold.counters:
            if counter.requests is not None:
                counter.requests.take(-1, now)
        self.release(hold, 0)

    def forget_holds(self) -> None:
        """Nothing is under way any more."""
        for counter in self._counters.values():
            counter.active = 0
            if counter.tokens is not None:
                counter.tokens.settle(counter.tokens.reserved, 0, self.clock())

    def snapshot(self) -> list[dict[str, Any]]:
        """Every rule and holder that has counts: what the limit is, and what is left of it."""
        now = self.clock()
        return [
            {
                "limit": counter.rule.name,
                **dict(zip(("tenant", "caller", "model"), counter.holder, strict=True)),
                "active": counter.active,
                "max_concurrent": counter.rule.max_concurrent,
                "requests_per_minute": counter.rule.requests_per_minute,
                "requests_left": None if counter.requests is None else max(0.0, counter.requests.level(now)),
                "tokens_per_minute": counter.rule.tokens_per_minute,
                "tokens_left": None if counter.tokens is None else max(0.0, counter.tokens.level(now)),
            }
            for counter in self._counters.values()
        ]

    def _of(self, call: Call, now: float) -> list[Counter]:
        found = []
        for rule, holder in self.rules.counted(call):
            counter = self._counters.get((rule.name, holder))
            if counter is None:
                if len(self._counters) >= MOST_HOLDERS:
                    self._sweep(now)
                counter = self._counters[rule.name, holder] = Counter(rule, holder, now)
            if counter.tokens is not None and not call.cost:
                call.cost = estimate_tokens(call)
            found.append(counter)
        return found

    def _sweep(self, now: float) -> None:
        """Forget holders of whom there is nothing to know; where that is not enough, those that came first."""
        kept = {key: counter for key, counter in self._counters.items() if not counter.idle(now)}
        for key in [key for key, counter in kept.items() if counter.active == 0][: len(kept) - MOST_HOLDERS // 2]:
            del kept[key]
        self._counters = kept


def exceeded(counter: Counter, wait: float) -> LimitExceeded:
    """The refusal of a call that would have to wait so many seconds for this limit (infinite: until another ends)."""
    error = _refusal(counter, wait)
    error.scope = counter.rule.scope.kind
    error.limit = counter.limiting(wait)
    return error


def _refusal(counter: Counter, wait: float) -> LimitExceeded:
    rule = counter.rule
    whose = spoken(counter.holder)
    if wait == math.inf:
        return LimitExceeded(
            f"Limit {rule.name!r}{whose}: {counter.active} calls are under way, and {rule.max_concurrent} may be",
            retry_after=SOON,
        )
    parts = []
    if rule.requests_per_minute is not None:
        parts.append(f"{rule.requests_per_minute:g} requests a minute")
    if rule.tokens_per_minute is not None:
        parts.append(f"{rule.tokens_per_minute:g} tokens a minute")
    return LimitExceeded(
        f"Limit {rule.name!r}{whose}: {' and '.join(parts)} are used up; try again in {wait:.1f} s", retry_after=wait
    )
