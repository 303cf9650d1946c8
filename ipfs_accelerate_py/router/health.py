"""Active health checks: targets are asked now and then, so that nobody's call has to find out that one is down.

A check does not pass the queue, the breaker or the judgement of keys: it takes a key, asks, and gives it back. Only an
outage counts against the target; an answer of any kind, a refusal too, says that it is there. A failed check counts for
the breaker as one more outage. One that passes closes no breaker, for a list of models proves no inference: it lets the
next call in as the probe, where the breaker would have waited longer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConfigurationError,
    MissingCredential,
    UnsupportedOperation,
)
from ipfs_accelerate_py.pipeline.breaker import BreakerState
from ipfs_accelerate_py.pipeline.keys import Lease
from ipfs_accelerate_py.router.attempt import with_model
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.types import Call, ChatRequest, ModelsRequest, Request, new_request_id

__all__ = ["CHECK_SECONDS", "FAILED_CHECKS", "Check", "HealthChecks", "make_check"]

#: A check may take this long (seconds), or the interval where that is shorter.
CHECK_SECONDS = 10.0
#: So many failed checks in a row, and the target is asked only where nobody else is left.
FAILED_CHECKS = 2

Check = Callable[[Routed], Request]


def make_check(told: str | Check) -> Check:
    """What is asked: "models" (the list of models, which costs nothing), "chat" (an answer of one token), or a function
    that gives a request for a target."""
    if callable(told):
        return told
    if told == "models":
        return lambda target: ModelsRequest()
    if told == "chat":
        return lambda target: ChatRequest(target.model, [{"role": "user", "content": "Hi"}], {"max_tokens": 1})
    raise ConfigurationError(f'health_check must be "models", "chat" or a function, not {told!r}')


class HealthChecks:
    """One background task of a router, from its first call until it is closed."""

    def __init__(
        self,
        interval: float,
        check: str | Check,
        targets: Callable[[], Iterable[Routed]],
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``interval`` in seconds, give or take a tenth, so that many routers do not ask at the same instant."""
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not interval > 0:
            raise ConfigurationError(f"health_check_interval must be a number of seconds above 0, not {interval!r}")
        self.interval = float(interval)
        self._request = make_check(check)
        self._targets = targets
        self._sleep = sleep
        self._draw = draw
        self._task: asyncio.Task[None] | None = None
        self._unable: set[Routed] = set()

    def start(self) -> None:
        """Begin, unless that has been done; needs a running loop."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def forget(self) -> None:
        """In a forked child the task is the parent's."""
        self._task = None

    async def aclose(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._sleep(self.interval * (0.9 + 0.2 * self._draw()))
            await self.check_all()

    async def check_all(self) -> None:
        """Check every target now, all at once."""
        targets = [target for target in self._targets() if target not in self._unable]
        await asyncio.gather(*(self.check(target) for target in targets))

    async def check(self, target: Routed) -> None:
        """Check one target, and note how that went."""
        request = with_model(self._request(target), target.model)
        call = Call(
            operation=request.operation,
            request=request,
            request_id=new_request_id(),
            deadline=time.monotonic() + min(self.interval, CHECK_SECONDS),
        )
        pipeline = target.backend.pipeline
        lease: Lease | None = None
        try:
            taken = pipeline.keys.acquire(call)
            if isinstance(taken, float):
                return  # its keys are at their limits, which is no sign of illness
            call.lease = lease = taken
            await pipeline.backend(call)
        except UnsupportedOperation:
            self._unable.add(target)
        except MissingCredential:
            return
        except AccelerateError as error:
            _note(target, well=not error.outage)
        else:
            _note(target, well=True)
        finally:
            if lease is not None:
                pipeline.keys.cancel(lease)


def _note(target: Routed, *, well: bool) -> None:
    breaker = target.backend.pipeline.breaker
    if well:
        if target.failed_checks:
            breaker.allow_probe()
        target.failed_checks = 0
        target.healthy = True
        return
    target.failed_checks += 1
    if target.failed_checks >= FAILED_CHECKS:
        target.healthy = False
    if breaker.state is BreakerState.CLOSED:
        breaker.leave(breaker.enter(), False)
