"""Rate limits as providers keep them: requests a minute, tokens a minute, and requests at once, each per key.

Buckets refill continuously, as OpenAI's do ("rate limits", platform.openai.com): a limit of 60 requests a minute gives
one request back each second, and ``reset`` is the time until the bucket is full again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Bucket", "Limiter", "Refusal", "retry_headers"]


class Bucket:
    """A token bucket. ``now`` is given at each use, in seconds."""

    __slots__ = ("_at", "_level", "limit")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._level = float(limit)
        self._at = now

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._level = min(float(self.limit), self._level + (now - self._at) * self.limit / 60.0)
            self._at = now

    def wait(self, amount: int, now: float) -> float:
        """Seconds until ``amount`` can be taken; 0 where it can be now, infinity where it never can."""
        self._refill(now)
        if amount > self.limit:
            return math.inf
        # The tolerance keeps a client that waits for exactly the time it was told from being refused for a rounding.
        missing = amount - self._level
        return 0.0 if missing <= 1e-6 else missing * 60.0 / self.limit

    def take(self, amount: int) -> None:
        self._level -= amount

    def state(self, now: float) -> tuple[int, int, float]:
        """Limit, remaining (whole units), and seconds until full."""
        self._refill(now)
        return self.limit, max(0, int(self._level + 1e-6)), (self.limit - self._level) * 60.0 / self.limit


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a request was not let in.

    Attributes:
        kind: ``requests``, ``tokens`` or ``concurrency``.
        limit, used, requested: in units of the kind.
        retry_after: seconds until it may be let in, or None where it never will be.
    """

    kind: str
    limit: int
    used: int
    requested: int
    retry_after: float | None


class _Lane:
    __slots__ = ("active", "requests", "tokens")

    def __init__(self, requests: Bucket | None, tokens: Bucket | None) -> None:
        self.active = 0
        self.requests = requests
        self.tokens = tokens


class Limiter:
    """Limits of each key. A limit of None is no limit. Changed limits hold for keys that come later."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        concurrency_per_key: int | None = None,
        concurrency_retry_after: float = 1.0,
    ) -> None:
        for name, value in (
            ("requests_per_minute", requests_per_minute),
            ("tokens_per_minute", tokens_per_minute),
            ("concurrency_per_key", concurrency_per_key),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or None for no limit; got {value}")
        self._clock = clock
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.concurrency_per_key = concurrency_per_key
        self.concurrency_retry_after = concurrency_retry_after
        self._lanes: dict[str | None, _Lane] = {}

    @property
    def active(self) -> bool:
        """Whether there is any limit at all."""
        return not (self.requests_per_minute is self.tokens_per_minute is self.concurrency_per_key is None)

    def _lane(self, key: str | None) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            now = self._clock()
            lane = self._lanes[key] = _Lane(
                Bucket(self.requests_per_minute, now) if self.requests_per_minute else None,
                Bucket(self.tokens_per_minute, now) if self.tokens_per_minute else None,
            )
        return lane

    def acquire(self, key: str | None, cost: int) -> Refusal | None:
        """Let a request in, or say why not. What was let in must be released."""
        lane = self._lane(key)
        now = self._clock()
        limit = self.concurrency_per_key
        if limit is not None and lane.active >= limit:
            return Refusal("concurrency", limit, lane.active, 1, self.concurrency_retry_after)
        for kind, bucket, amount in (("requests", lane.requests, 1), ("tokens", lane.tokens, cost)):
            if bucket is not None and (wait := bucket.wait(amount, now)):
                used = bucket.limit - bucket.state(now)[1]
                return Refusal(kind, bucket.limit, used, amount, None if math.isinf(wait) else wait)
        if lane.requests is not None:
            lane.requests.take(1)
        if lane.tokens is not None:
            lane.tokens.take(cost)
        lane.active += 1
        return None

    def release(self, key: str | None) -> None:
        self._lane(key).active -= 1

    def states(self, key: str | None) -> dict[str, tuple[int, int, float]]:
        """Limit, remaining and seconds to full, of ``requests`` and ``tokens`` where they are limited."""
        lane = self._lane(key)
        now = self._clock()
        pairs = (("requests", lane.requests), ("tokens", lane.tokens))
        return {kind: bucket.state(now) for kind, bucket in pairs if bucket is not None}


def retry_headers(seconds: float) -> list[tuple[str, str]]:
    """``Retry-After`` in whole seconds rounded up, and the exact ``retry-after-ms`` beside it where they differ."""
    whole = math.ceil(seconds - 1e-9)
    headers = [("retry-after", str(whole))]
    if whole != seconds:
        headers.append(("retry-after-ms", str(math.ceil(seconds * 1000))))
    return headers
