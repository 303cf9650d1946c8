"""Retry: the only policy that sleeps, and it stands outside admission, so a sleeping call holds no slot.

Full jitter (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): the delay before retry n is
drawn evenly between 0 and ``initial_retry_delay * backoff_factor ** n``, at most ``max_retry_delay``. A delay that the
provider names is never shortened.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from ipfs_accelerate_py.errors import AdmissionError, BackendError, ConfigurationError
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Attempt, Call, Handler, Reply

__all__ = ["RetryPolicy", "backoff"]


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

    async def __call__(self, call: Call) -> Reply:
        retries = 0
        last: BackendError | None = None
        try:
            while True:
                began = self._clock()
                try:
                    reply = await self._inner(call)
                except BackendError as error:
                    self._note(call, began, error)
                    error.attempts = retries + 1
                    delay = self._delay(call, error, retries)
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
                    reply.attempts = retries + 1
                    return reply
                retries += 1
                if delay > 0:
                    await self._sleep(delay)
        finally:
            last = None  # an error holds its traceback, and that this frame: do not keep each other alive

    def _delay(self, call: Call, error: BackendError, retries: int) -> float | None:
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
        return delay

    def _note(self, call: Call, began: float, error: BackendError) -> None:
        key = call.lease.key.name if call.lease is not None else None
        call.attempts.append(
            Attempt(len(call.attempts) + 1, key, self._clock() - began, type(error).__name__, error.status)
        )
