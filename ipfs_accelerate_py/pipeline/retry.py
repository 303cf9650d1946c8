"""Retry: the only policy that sleeps, and it stands outside admission, so a sleeping call holds no slot.

Full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the delay before retry n is
drawn evenly between 0 and ``initial_retry_delay * backoff_factor ** n``, at most ``max_retry_delay``. A delay that the
provider names is never shortened.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

from ipfs_accelerate_py.errors import AdmissionError, BackendError, ConfigurationError, RateLimited, TransportError
from ipfs_accelerate_py.pipeline.concurrency import Refusal
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Attempt, Call, Handler, Reply

__all__ = ["RetryPolicy", "backoff"]


#: A call is asked again without counting it as a retry at most so often, where it came back because too many were under
#: way at once.
MOST_EXCUSED = 20
#: Seconds to wait for the meaning of a 429 where the call would else end with it.
GRACE = 1.0


def backoff(settings: Settings, retry: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait before retry number ``retry`` (from 0). ``draw`` gives a number in [0, 1)."""
    try:
        most = settings.initial_retry_delay * settings.backoff_factor**retry
    except OverflowError:
        most = settings.max_retry_delay
    return draw() * min(most, settings.max_retry_delay)


class RetryPolicy:
    """Asks again where the error's verdict says that this may help, inside the call's deadline."""

    def __init__(
        self,
        inner: Handler,
        settings: Settings,
        can_rotate: Callable[[Call, BackendError], bool] = lambda call, error: False,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``can_rotate`` tells whether another key may do better at once, after the error that this one has met."""
        self._inner = inner
        self._settings = settings
        self._can_rotate = can_rotate
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        #: May be asked before a target that is unwell is asked again: False where that was done often enough.
        self.budget: Callable[[], bool] = lambda: True

    async def __call__(self, call: Call) -> Reply:
        attempts = 0
        came: float | None = None
        crowds: list[Refusal] = []
        last: BackendError | None = None
        try:
            while True:
                began = self._clock()
                if came is None:
                    came = began
                try:
                    reply = await self._inner(call)
                except BackendError as error:
                    self._note(call, began, error)
                    attempts += 1
                    error.attempts = attempts
                    retries = attempts - 1 - sum(refusal.crowded is True for refusal in crowds[:MOST_EXCUSED])
                    delay = self._delay(call, error, retries, began)
                    refusal = _crowd(call, error)
                    hopeless = delay is None
                    if refusal is not None:
                        crowds.append(refusal)
                        delay = self._grace(call, error, delay, refusal)
                    if delay is None:
                        raise
                    last = error
                except (AdmissionError, ConfigurationError):
                    # The breaker that our own failures opened, a queue filled or a key removed meanwhile: what the
                    # caller should hear of is the failure that the retry was for.
                    if last is not None:
                        raise last from None
                    raise
                else:
                    reply.attempts = attempts + 1
                    reply.began = began
                    return reply
                if delay > 0:
                    await self._sleep(delay)
                if refusal is not None and refusal.crowded:
                    call.since = came  # nobody's fault, so it keeps its place in the queue
                elif hopeless:
                    raise last
        finally:
            last = None  # an error holds its traceback, and that this frame: do not keep each other alive

    def _delay(self, call: Call, error: BackendError, retries: int, began: float) -> float | None:
        """Seconds to wait before the next attempt, or None to give up."""
        settings = self._settings
        if retries >= settings.max_retries:
            return None
        told_not_to = not error.__dict__.get("retryable", True)  # x-should-retry: false holds for every key
        if call.key_name is None and not told_not_to and error.rotate and self._can_rotate(call, error):
            return 0.0
        if not error.retryable:
            return None
        delay = backoff(settings, retries, self._draw)
        if error.retry_after is not None:
            if error.retry_after > settings.max_retry_delay:
                return None
            # A little jitter on top, or everybody who was told the same instant arrives at it together.
            delay = error.retry_after + min(delay, 0.1 * error.retry_after)
        if call.deadline is not None and self._clock() + delay >= call.deadline:
            return None
        if call.patience is not None:
            # There is another target, which may answer sooner than this one can be asked again; and one that took its
            # time not to answer would take it again.
            spent = self._clock() - began if isinstance(error, TransportError) else 0.0
            if max(delay, spent) > call.patience:
                return None
        return None if error.outage and not self.budget() else delay

    def _grace(self, call: Call, error: BackendError, delay: float | None, refusal: Refusal) -> float | None:
        """Seconds until a call goes back that may have been one too many at once; None where it ends with this.

        Where it would have another attempt anyway it waits as long as for that. Else for as long as it takes to learn
        whether it was one too many, and that is no retry.
        """
        if delay is not None:
            return 0.0 if refusal.crowded and error.retry_after is None else delay
        settings = self._settings
        if call.patience is not None or not error.retryable or len(call.attempts) > settings.max_retries + MOST_EXCUSED:
            return None
        wait = settings.initial_retry_delay if error.retry_after is None else error.retry_after
        left = math.inf if call.deadline is None else call.deadline - self._clock()
        if wait > settings.max_retry_delay or wait >= left:
            wait = GRACE
        return wait if wait < left else None

    def _note(self, call: Call, began: float, error: BackendError) -> None:
        key = call.lease.key.name if call.lease is not None else None
        call.attempts.append(
            Attempt(
                len(call.attempts) + 1,
                key,
                self._clock() - began,
                type(error).__name__,
                error.status,
                error.backend or "",
                call.request.model,
                began,
            )
        )


def _crowd(call: Call, error: BackendError) -> Refusal | None:
    """The refusal, where it may mean that too many calls were under way at once with the key."""
    if not isinstance(error, RateLimited):
        return None
    refusal: Refusal | None = getattr(call.lease, "refusal", None)
    return None if refusal is None or refusal.crowded is False else refusal
