"""The request pipeline: one policy a file, put together in one place, in one order.

``usage > [front: see stack.py] > retry > admission > breaker > keys > backend``; `docs/architecture.md` says why each
stands where it does. A router has the same front, once, and each of its targets the rest.
"""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.pipeline.admission import Admission, AdmissionPolicy
from ipfs_accelerate_py.pipeline.breaker import Breaker, BreakerPolicy
from ipfs_accelerate_py.pipeline.keys import KeyPool, KeysPolicy
from ipfs_accelerate_py.pipeline.retry import RetryPolicy
from ipfs_accelerate_py.pipeline.stack import PolicyMaker, Stack
from ipfs_accelerate_py.pipeline.usage import UsagePolicy, UsageTotals
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Handler, Reply

__all__ = ["Pipeline"]


class Pipeline:
    """The policies in front of one target, and the state they keep."""

    def __init__(
        self, backend: Handler, settings: Settings, keys: KeyPool, makers: dict[str, PolicyMaker] | None = None
    ) -> None:
        """``makers`` are of the optional policies in front (see `Stack`)."""
        #: The innermost handler.
        self.backend = backend
        self.settings = settings
        self.keys = keys
        self.breaker = Breaker(settings)
        self.admission = Admission(settings, keys, self.breaker.refusal)
        keys.changed = self.admission.wake
        self.totals = UsageTotals()
        attempt = BreakerPolicy(KeysPolicy(backend, keys), self.breaker)
        self.retry = RetryPolicy(AdmissionPolicy(attempt, self.admission), settings, keys.can_rotate)
        self.front = Stack(self.retry, makers)
        self._handler = self.usage = UsagePolicy(self.front, self.totals)

    async def __call__(self, call: Call) -> Reply:
        return await self._handler(call)

    def snapshot(self) -> dict[str, Any]:
        """State of every policy, as plain data."""
        return {
            "in_flight": self.usage.in_flight,
            "queue": self.admission.snapshot(),
            "circuit": self.breaker.snapshot(),
            "keys": self.keys.snapshot(),
            "usage": self.totals.snapshot(),
        }
