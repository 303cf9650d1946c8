"""A target of a router, opened: its backend, and what the router knows of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from ipfs_accelerate_py.backends import Backend
from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.router.measures import PeakEwma, RetryBudget
from ipfs_accelerate_py.router.targets import Target
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Reply

__all__ = ["Routed"]

#: A target that failed counts as this slow (seconds), however fast it was about it.
FAILURE_SECONDS = 5.0


class Routed:
    """One target of a router, as strategies see it.

    Attributes:
        name: what logs and metrics call it; unique in its router.
        target: as it was configured: backend, model, weight.
        backend: the backend behind its own pipeline.
        model: the backend's own name of the model.
        dialect, operations, stream_usage: of the backend's wire format, for calls that are written anew for each.
        own_settings: names of the settings that alias or target have set for it.
        outstanding: calls of this router that it is answering right now, streams among them.
        latency: peak EWMA of the seconds until an answer, or a stream's first content.
        healthy: False where active health checks have found it unwell.
    """

    __slots__ = (
        "_clock", "asked", "backend", "budget", "closes", "dialect", "failed", "failed_checks", "healthy", "latency",
        "model", "name", "operations", "outstanding", "own_settings", "own_url", "stream_usage", "target",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        target: Target,
        backend: Backend,
        *,
        own_settings: frozenset[str] = frozenset(),
        closes: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``closes`` says that the backend is this router's own, and closed with it."""
        self.name = name
        self.target = target
        self.backend = backend
        self.model = target.model
        self.own_settings = own_settings
        self.closes = closes
        dialect = backend.http.dialect if backend.http is not None else None
        self.dialect = backend.dialect_name
        self.operations = None if dialect is None else dialect.operations
        self.stream_usage = bool(getattr(dialect, "stream_usage", True))
        #: Its address is not the service's own, so it may be a gateway, and even ours.
        self.own_url = backend.http is not None and backend.base_url != backend.spec.base_url
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget what was measured: at the beginning, and in a forked child."""
        self.outstanding = 0
        self.asked = 0
        self.failed = 0
        self.failed_checks = 0
        self.healthy = True
        self.latency = PeakEwma()
        self.budget = RetryBudget()
        self.backend.pipeline.retry.budget = self._may_retry

    def _may_retry(self) -> bool:
        return self.budget.retry(self._clock())

    # --- asking --------------------------------------------------------------------------------------------------

    async def ask(self, call: Call) -> Reply:
        """Ask it, through its pipeline, and note how it did."""
        began = self._clock()
        self.asked += 1
        self.budget.call()
        self.outstanding += 1
        try:
            reply = await self.backend(call)
        except Exception:
            self.outstanding -= 1
            self.failed += 1
            now = self._clock()
            self.latency.add(max(now - began, FAILURE_SECONDS), now)
            raise
        except BaseException:  # the caller has gone, which says nothing of the target
            self.outstanding -= 1
            raise
        now = self._clock()
        self.latency.add(now - began, now)
        if reply.stream is None:
            self.outstanding -= 1
        else:
            reply.stream.add_done_callback(self._left)
        return reply

    def _left(self, stream: Stream, error: BaseException | None) -> None:
        self.outstanding -= 1
        if isinstance(error, Exception):
            self.failed += 1
            self.latency.add(FAILURE_SECONDS, self._clock())

    # --- what strategies look at ---------------------------------------------------------------------------------

    @property
    def pipeline(self) -> Pipeline:
        return self.backend.pipeline

    def refuses(self) -> bool:
        """Whether it is not to be asked now while another one can be: its breaker is open, or it was found unwell."""
        return not self.healthy or self.refused()

    def refused(self) -> bool:
        """Whether its breaker would refuse a call now."""
        return self.backend.pipeline.breaker.refusal() is not None

    def load(self) -> float:
        """Calls that it works on or that wait for it, in shares of its slots; above 1 calls wait."""
        admission = self.backend.pipeline.admission
        return (admission.active + sum(admission.queued)) / self.backend.settings.max_concurrent_requests

    def cost_of_waiting(self) -> float:
        """What one more call would wait for it: its latency (seconds) times the calls it would then have."""
        return self.latency.value(self._clock()) * (self.outstanding + 1)

    def wait(self, call: Call) -> float:
        """Seconds until the rates of its keys have room for ``call``."""
        return self.backend.pipeline.keys.soonest(self._own(call))

    def headroom(self, call: Call) -> float:
        """How much of its keys' rates is left, from 0 to 1."""
        return self.backend.pipeline.keys.headroom(self._own(call))

    def _own(self, call: Call) -> Call:
        """The call as it would be asked here: a key's rates are those of a model."""
        if call.request.model == self.model:
            return call
        return replace(call, request=replace(call.request, model=self.model))

    def snapshot(self) -> dict[str, Any]:
        """State of its pipeline, and what the router knows of it."""
        return {
            **self.backend.snapshot(),
            "model": self.model,
            "healthy": self.healthy,
            "asked": self.asked,
            "failed": self.failed,
            "outstanding": self.outstanding,
            "latency": self.latency.value(self._clock()),
            "retries_left": self.budget.level,
            "retries_refused": self.budget.refused,
        }

    def __repr__(self) -> str:
        return f"Routed({self.name!r})"
