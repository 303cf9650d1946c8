"""One key and all that is known of it, and the lease of it that one attempt has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import BackendError
from ipfs_accelerate_py.pipeline.concurrency import Concurrency, Refusal
from ipfs_accelerate_py.pipeline.ratelimit import Rates, Reservation
from ipfs_accelerate_py.types import RateLimits

if TYPE_CHECKING:
    from ipfs_accelerate_py.pipeline.keys import KeyPool

__all__ = ["Key", "Lease"]


class Key:
    """One key and all that is known of it. Its value is in ``secret`` and nowhere else."""

    __slots__ = (
        "active",
        "blocked_until",
        "crowd",
        "failures",
        "header",
        "last_used",
        "max_concurrent",
        "name",
        "quarantine_error",
        "quarantined_until",
        "rates",
        "requests",
        "secret",
        "tokens",
    )

    def __init__(self, name: str, secret: Secret | None, max_concurrent: int | None = None) -> None:
        self.name = name
        self.secret = secret
        self.max_concurrent = max_concurrent
        self.header: Any = None  # the backend's prepared headers for this key
        self.active = 0
        self.requests = 0
        self.failures = 0
        self.tokens = 0
        self.last_used = 0.0
        self.blocked_until = 0.0
        self.quarantined_until = 0.0
        self.quarantine_error: BackendError | None = None
        self.rates = Rates()
        self.crowd = Concurrency(max_concurrent)

    def __repr__(self) -> str:
        return f"Key({self.name!r}, active={self.active})"


class Lease(msgspec.Struct):
    """A key taken for one attempt, and what was reserved of its buckets."""

    key: Key
    pool: KeyPool
    reservation: Reservation
    began: float = 0.0
    settled: bool = False
    #: What a 429 has meant, or will be found to mean.
    refusal: Refusal | None = None
    #: The answer's headers say that nothing remains of a rate.
    spent: bool = False

    def observe(self, limits: RateLimits) -> None:
        """Take over what the provider's headers say of this key and model."""
        self.spent = limits.requests_remaining == 0 or limits.tokens_remaining == 0
        self.pool.observe(self, limits)
