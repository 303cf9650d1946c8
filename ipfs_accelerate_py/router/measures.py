"""What a router measures of a target: how long it takes, and how often it is asked again. Instants are passed in."""

from __future__ import annotations

import math

__all__ = ["PeakEwma", "RetryBudget"]


class PeakEwma:
    """A mean of durations (seconds) that follows a rise at once and forgets it slowly.

    As Finagle and Linkerd balance by ("peak exponentially weighted moving average"): a duration above the mean becomes
    the mean, one below it pulls with a weight that grows with the time since the last one. Left alone it falls to zero,
    so that a target that was slow is tried again.
    """

    __slots__ = ("_at", "_mean", "decay")

    def __init__(self, decay: float = 10.0) -> None:
        """``decay``: seconds after which about a third (1/e) of a peak is left."""
        self.decay = decay
        self._mean = 0.0
        self._at = 0.0

    def add(self, seconds: float, now: float) -> None:
        if seconds >= self._mean:
            self._mean = seconds
        else:
            left = math.exp(-max(0.0, now - self._at) / self.decay)
            self._mean = self._mean * left + seconds * (1.0 - left)
        self._at = now

    def value(self, now: float) -> float:
        """The mean as it stands at ``now``."""
        return self._mean * math.exp(-max(0.0, now - self._at) / self.decay) if self._mean else 0.0


class RetryBudget:
    """How often an unwell target may be asked again: a share of the calls, and a few more.

    Every call adds ``share`` of a retry, every retry takes one; ``reserve`` are there from the beginning, and come back
    at ``per_second``. Without it, retries multiply the load of whoever is down for having too much of it. (The idea of
    a retry budget is Finagle's.)
    """

    __slots__ = ("_at", "_level", "per_second", "refused", "reserve", "share")

    #: Of the share of calls no more than this is kept: a quiet day is no licence for a storm.
    MOST = 100.0

    def __init__(self, share: float = 0.2, reserve: float = 10.0, per_second: float = 0.5) -> None:
        self.share = share
        self.reserve = reserve
        self.per_second = per_second
        self.refused = 0
        self._level = reserve
        self._at = 0.0

    def call(self) -> None:
        """A call has come."""
        self._level = min(self.MOST, self._level + self.share)

    def retry(self, now: float) -> bool:
        """Take a retry, if there is one."""
        if self._level < self.reserve:
            self._level = min(self.reserve, self._level + (now - self._at) * self.per_second)
        self._at = now
        if self._level < 1.0:
            self.refused += 1
            return False
        self._level -= 1.0
        return True

    @property
    def level(self) -> float:
        """Retries that are left."""
        return self._level
