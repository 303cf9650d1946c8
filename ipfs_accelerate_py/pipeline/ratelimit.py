"""Token buckets for requests and tokens: reserve before a call, reconcile after it, follow the provider's headers."""

from __future__ import annotations

import math
from typing import Any

from ipfs_accelerate_py.types import Call, ChatRequest, CompletionRequest, EmbedRequest, ResponseRequest

__all__ = ["Bucket", "estimate_tokens", "learn"]


class Bucket:
    """A token bucket: ``capacity`` units, refilled at ``rate`` units a second. Instants are passed in.

    The level may go below zero when a call used more than was reserved for it; later calls wait for it to recover.
    """

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(self, capacity: float, rate: float, now: float) -> None:
        self.capacity = capacity
        self.rate = rate
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
        """Reserve; call `wait` first."""
        self._level = self.level(now) - amount

    def give_back(self, amount: float, now: float) -> None:
        """Return what was reserved and not used (a negative amount takes what was used beyond it)."""
        self._level = min(self.capacity, self.level(now) + amount)

    def follow(self, limit: float | None, remaining: float | None, reset: float | None, now: float) -> None:
        """Correct the bucket by what the provider counted; never upwards, for calls in flight are not in its count."""
        level = self.level(now)
        if remaining is not None and remaining < level:
            self._level = remaining
        if limit is not None and limit > 0:
            self.capacity = min(self.capacity, limit)
            if remaining is not None and reset is not None and reset > 0 and limit > remaining:
                self.rate = (limit - remaining) / reset


def learn(limit: float | None, remaining: float | None, reset: float | None, now: float) -> Bucket | None:
    """A bucket from headers alone, or None where they do not say enough."""
    if limit is None or limit <= 0 or remaining is None:
        return None
    bucket = Bucket(limit, limit / 60.0, now)
    bucket.follow(limit, remaining, reset, now)
    return bucket


def estimate_tokens(call: Call) -> int:
    """Tokens to reserve: a quarter of the input's characters, and the most the answer may have.

    Providers count the same way: OpenAI's limiter charges the greater of ``max_tokens`` and an estimate from the
    number of characters before the call runs.
    """
    request = call.request
    if call.passthrough is not None:
        size = len(call.passthrough.body)
    elif isinstance(request, ChatRequest):
        size = _characters(request.messages)
    elif isinstance(request, CompletionRequest):
        size = _characters(request.prompt)
    elif isinstance(request, ResponseRequest | EmbedRequest):
        size = _characters(request.input)
    else:
        size = 0
    options = request.options
    answer = options.get("max_completion_tokens") or options.get("max_tokens") or options.get("max_output_tokens") or 0
    return size // 4 + (max(0, answer) if type(answer) is int else 0) + 1  # -1 is "no limit" to some servers


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(4 if isinstance(item, int) else _characters(item) for item in value)
    if isinstance(value, dict):
        return sum(_characters(item) for key, item in value.items() if key not in ("type", "image_url", "input_audio"))
    return 0
