"""Token buckets for requests and tokens: reserve before a call, reconcile after it, follow the provider's headers."""

from __future__ import annotations

import math

import msgspec

from ipfs_accelerate_py.estimates import estimate_tokens
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, RateLimits

__all__ = ["Bucket", "Rates", "Reservation", "learn"]

#: A provider's limits are for a key and a model; of this many models they are remembered, the latest.
MOST_MODELS = 64


class Bucket:
    """A token bucket: ``capacity`` units, refilled at ``rate`` units a second. Instants are passed in.

    The level may go below zero when a call used more than was reserved for it; later calls wait for it to recover.
    """

    __slots__ = ("_at", "_level", "capacity", "rate", "reserved")

    def __init__(self, capacity: float, rate: float, now: float) -> None:
        self.capacity = capacity
        self.rate = rate
        #: What is reserved by calls under way.
        self.reserved = 0.0
        self._level = capacity
        self._at = now

    @classmethod
    def per_minute(cls, amount: float, now: float) -> Bucket:
        return cls(amount, amount / 60.0, now)

    def level(self, now: float) -> float:
        """Units available at ``now``."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` can be taken; an amount over the capacity waits for a full bucket, not for ever."""
        missing = min(amount, self.capacity) - self.level(now)
        if missing <= 1e-9:
            return 0.0
        return missing / self.rate if self.rate > 0 else math.inf

    def take(self, amount: float, now: float) -> None:
        """Take for good; call `wait` first."""
        self._level = self.level(now) - amount

    def reserve(self, amount: float, now: float) -> None:
        """Take for a call under way, which `settle` ends."""
        self.take(amount, now)
        self.reserved += amount

    def settle(self, amount: float, used: float, now: float, seen: tuple[float, float] | None = None) -> None:
        """End a reservation of ``amount``, of which ``used`` was used (more than ``amount`` is taken as well).

        ``seen`` is what the provider said was left, and when: what comes back must not lift the level above that, less
        what the others under way have reserved, for the provider may not have heard of them yet.
        """
        self.reserved = max(0.0, self.reserved - amount)
        level = min(self.capacity, self.level(now) + amount - used)
        if seen is not None:
            remaining, at = seen
            level = min(level, remaining + (now - at) * self.rate - self.reserved)
        self._level = level

    def follow(self, limit: float | None, remaining: float | None, reset: float | None, now: float) -> None:
        """Correct the bucket by what the provider counted; never upwards, for calls in flight are not in its count."""
        level = self.level(now)
        if limit is not None and limit > 0:
            self.capacity = limit
            if remaining is not None and reset is not None and reset > 0 and limit > remaining:
                self.rate = (limit - remaining) / reset
        if remaining is not None and remaining < level:
            self._level = remaining


def learn(limit: float | None, remaining: float | None, reset: float | None, now: float) -> Bucket | None:
    """A bucket from headers alone, or None where they do not say enough."""
    if limit is None or limit <= 0 or remaining is None:
        return None
    bucket = Bucket(limit, limit / 60.0, now)
    bucket.follow(limit, remaining, reset, now)
    return bucket


class Reservation(msgspec.Struct):
    """What one attempt has taken of its key's buckets."""

    model: str = ""
    tokens: float = 0.0
    request_buckets: list[Bucket] = []
    token_buckets: list[Bucket] = []
    learnt: Bucket | None = None
    seen: tuple[float, float] | None = None


class Rates:
    """The buckets of one key: those that the settings ask for, and those learnt from the provider, one pair a model."""

    __slots__ = ("_from", "_learnt", "requests", "tokens")

    def __init__(self) -> None:
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self._from: tuple[float | None, float | None] = (None, None)  # the settings these were made from
        self._learnt: dict[str, tuple[Bucket | None, Bucket | None]] = {}

    def wait(self, call: Call, settings: Settings, now: float) -> float:
        """Seconds until every bucket has room for ``call``."""
        limits = (settings.requests_per_minute, settings.tokens_per_minute)
        if limits != self._from:
            self._configure(limits, now)
        requests, tokens = self._buckets(call.request.model)
        wait = 0.0
        for bucket in requests:
            wait = max(wait, bucket.wait(1, now))
        if tokens:
            if not call.cost:
                call.cost = estimate_tokens(call)
            for bucket in tokens:
                wait = max(wait, bucket.wait(call.cost, now))
        return wait

    def room(self, call: Call, settings: Settings, now: float) -> float:
        """The share of the tightest bucket that is left, from 0 to 1; 1 where there is none."""
        self.wait(call, settings, now)  # brings the buckets up to date
        requests, tokens = self._buckets(call.request.model)
        return min((max(0.0, bucket.level(now)) / bucket.capacity for bucket in (*requests, *tokens)), default=1.0)

    def reserve(self, call: Call, now: float) -> Reservation:
        """Take what the call may need; `wait` has said that it is there."""
        model = call.request.model
        requests, tokens = self._buckets(model)
        if not requests and not tokens:
            return Reservation(model)
        reserved = float(call.cost) if tokens else 0.0
        for bucket in requests:
            bucket.take(1, now)
        for bucket in tokens:
            bucket.reserve(reserved, now)
        return Reservation(model, reserved, requests, tokens)

    def observe(self, reservation: Reservation, limits: RateLimits, now: float) -> None:
        """Follow the provider's own count, which came with the answer to the attempt that made the reservation."""
        requests, tokens = self._learnt.pop(reservation.model, (None, None))
        request = (limits.requests_limit, limits.requests_remaining, limits.requests_reset)
        token = (limits.tokens_limit, limits.tokens_remaining, limits.tokens_reset)
        if requests is not None:
            requests.follow(*request, now)
        else:
            requests = learn(*request, now)
        if tokens is not None:
            tokens.follow(*token, now)
        else:
            tokens = learn(*token, now)
        if requests is None and tokens is None:
            return
        self._learnt[reservation.model] = (requests, tokens)  # the latest last
        if len(self._learnt) > MOST_MODELS:
            del self._learnt[next(iter(self._learnt))]
        if tokens is not None and limits.tokens_remaining is not None:
            reservation.learnt = tokens
            reservation.seen = (limits.tokens_remaining, now)

    def settle(self, reservation: Reservation, used: float | None, now: float) -> None:
        """End a reservation: ``used`` tokens were used; None where nobody knows, and then all of it counts as used."""
        for bucket in reservation.token_buckets:
            seen = reservation.seen if bucket is reservation.learnt else None
            bucket.settle(reservation.tokens, reservation.tokens if used is None else used, now, seen)

    def cancel(self, reservation: Reservation, now: float) -> None:
        """Undo a reservation whose attempt was never made."""
        for bucket in reservation.request_buckets:
            bucket.take(-1, now)
        self.settle(reservation, 0.0, now)

    def _buckets(self, model: str) -> tuple[list[Bucket], list[Bucket]]:
        if not self._learnt and self.requests is None and self.tokens is None:
            return _NONE
        requests, tokens = self._learnt.get(model, (None, None))
        return (
            [bucket for bucket in (self.requests, requests) if bucket is not None],
            [bucket for bucket in (self.tokens, tokens) if bucket is not None],
        )

    def _configure(self, limits: tuple[float | None, float | None], now: float) -> None:
        """Make the buckets that the settings ask for now; what has been used of the old ones stays used."""
        self.requests = _changed(self.requests, self._from[0], limits[0], now)
        self.tokens = _changed(self.tokens, self._from[1], limits[1], now)
        self._from = limits


_NONE: tuple[list[Bucket], list[Bucket]] = ([], [])


def _changed(old: Bucket | None, before: float | None, amount: float | None, now: float) -> Bucket | None:
    if amount == before:
        return old
    if amount is None:
        return None
    made = Bucket.per_minute(amount, now)
    if old is not None:
        made.take(old.capacity - old.level(now), now)
    return made
