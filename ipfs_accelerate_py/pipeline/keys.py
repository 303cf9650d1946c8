"""The key pool of a target: which key a call uses, what each may still do, and which ones are out of service.

Choosing is synchronous and admission asks for it together with the slot, so that a key's last place is never promised
twice. The policy settles what was taken when the attempt is over.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    MissingCredential,
    QuotaExhausted,
    RateLimited,
)
from ipfs_accelerate_py.pipeline.key import Key, Lease
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call, Handler, RateLimits, Reply, Usage

__all__ = ["Key", "KeyPool", "KeysPolicy", "Lease"]

#: A refused key is tried again after this many seconds: keys are rotated and re-enabled behind our back.
AUTHENTICATION_QUARANTINE = 300.0
#: An exhausted account rests this long when the provider does not say when it is filled again.
QUOTA_QUARANTINE = 600.0


class KeyPool:
    """The keys of one target. Belongs to the event loop's thread, like everything in the pipeline."""

    def __init__(
        self,
        settings: Settings,
        *,
        missing: str = "",
        clock: Callable[[], float] = time.monotonic,
        remote: bool = True,
    ) -> None:
        """``missing`` is what to tell a caller when a key is needed and there is none; empty where none is needed.

        ``remote`` is False where no upstream could answer 429: then there is nothing to learn of concurrency.
        """
        self._settings = settings
        self._remote = remote
        self._missing = missing
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._anonymous = Key("none", None)
        #: Called when a key has come or gone: admission wakes those who wait for one.
        self.changed: Callable[[], None] = lambda: None

    def add(self, name: str, secret: Secret, max_concurrent: int | None = None) -> None:
        """Add a key, or replace the one of that name (a new value starts with a clean record)."""
        if not name:
            raise ConfigurationError("a key needs a name")
        self._keys[name] = Key(name, secret, max_concurrent)
        self.changed()

    def remove(self, name: str) -> None:
        """Forget a key; calls that use it right now finish."""
        if self._keys.pop(name, None) is None:
            raise ConfigurationError(f"there is no key named {name!r}; the keys are: {self._names()}")
        self.changed()

    def __len__(self) -> int:
        return len(self._keys)

    def names(self) -> list[str]:
        return list(self._keys)

    def acquire(self, call: Call) -> Lease | float:
        """A key for one attempt, or the seconds until one may be free (infinite: when another call lets go).

        Raises `MissingCredential` where there is no key, the keys' own error where all are in quarantine, and
        `RateLimited` where none will be free before the call's deadline.
        """
        now = self._clock()
        best: Key | None = None
        wait = math.inf
        usable = busy = False
        barred = call.barred
        for key in self._candidates(call):
            if self._rests(key, now):
                continue
            usable = True
            needed = self._wait(key, call, now)
            if barred is not None and barred[0] == key.name:
                needed = max(needed, barred[1] - now)
            if needed > 0:
                # Who waits for other calls with the key may get it any time.
                busy = busy or needed == math.inf or (key.active >= key.crowd.limit and key.blocked_until <= now)
                wait = min(wait, needed)
            elif best is None or self._better(key, best, call):
                best = key
        if best is not None:
            return self._take(best, call, now)
        if not usable:
            raise self._out_of_service(call, now)
        if call.deadline is not None and not busy and now + wait >= call.deadline:
            raise RateLimited(
                f"Rate limit: every key is at its limit for another {wait:.1f} s, which is past the call's deadline",
                retry_after=wait,
                retryable=False,
            )
        return wait

    def can_rotate(self, call: Call, error: BackendError) -> bool:
        """Whether another key than the one that has just met ``error`` may do better, without a delay.

        After a refused key that is any other in service: admission waits for it. After a limited one it must be free
        at once, or backing off is the better manners.
        """
        used = None if call.lease is None else call.lease.key
        now = self._clock()
        for key in self._keys.values():
            if key is used or self._rests(key, now):
                continue
            if not error.retryable or self._wait(key, call, now) <= 0:
                if used is not None and error.retryable and error.retry_after is not None:
                    # The key itself may not rest (see `Concurrency`), but this call was told when to come back to it.
                    call.barred = (used.name, now + error.retry_after)
                return True
        return False

    def release(self, lease: Lease, usage: Usage | None, error: BaseException | None) -> None:
        """Settle an attempt: give the key back, and draw from its outcome what the key may do next."""
        if lease.settled:
            return
        lease.settled = True
        key = lease.key
        now = self._clock()
        key.active -= 1
        if error is None:
            key.crowd.answered(lease, lease.began, now)
        if not isinstance(error, RateLimited):
            key.crowd.ended(lease)
        used = usage.total_tokens if usage is not None and usage.reported else None
        key.tokens += used or 0
        key.rates.settle(lease.reservation, 0 if used is None and error is not None else used, now)
        if isinstance(error, BackendError):
            key.failures += 1
            self._judge(lease, error, now)

    def accepted(self, lease: Lease) -> None:
        """A stream's first content has come; the key stays taken until its end."""
        if lease.key.crowd.answered(lease, lease.began, self._clock()):
            self.changed()

    def cancel(self, lease: Lease) -> None:
        """Undo a lease whose attempt was never made."""
        if lease.settled:
            return
        lease.settled = True
        key = lease.key
        now = self._clock()
        key.active -= 1
        key.crowd.ended(lease)
        key.requests -= 1
        key.rates.cancel(lease.reservation, now)

    def observe(self, lease: Lease, limits: RateLimits) -> None:
        """Correct a key's buckets by the provider's own count."""
        lease.key.rates.observe(lease.reservation, limits, self._clock())

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """By name of key: requests, failures, tokens, active, and why it rests, if it does. Never a value."""
        now = self._clock()
        return {
            key.name: {
                "requests": key.requests,
                "failures": key.failures,
                "tokens": key.tokens,
                "active": key.active,
                "quarantined": key.quarantined_until > now,
                "quarantine_reason": key.quarantine_error.code
                if key.quarantine_error is not None and key.quarantined_until > now
                else None,
                "available_in": max(0.0, key.quarantined_until - now, key.blocked_until - now),
                "concurrency_limit": key.crowd.ceiling,
            }
            for key in (self._keys.values() or (self._anonymous,))
        }

    def soonest(self, call: Call) -> float:
        """Seconds until a key's rates may have room for ``call``, 0 where one has; nothing is taken.

        Infinite where no key is in service, or none will be free before another call lets go.
        """
        now = self._clock()
        soonest = math.inf
        try:
            candidates = self._candidates(call)
        except ConfigurationError:
            return 0.0  # not a matter of time: whoever asks hears of it
        for key in candidates:
            if not self._rests(key, now):
                needed = self._wait(key, call, now)
                if needed <= 0:
                    return 0.0
                soonest = min(soonest, needed)
        return soonest

    def headroom(self, call: Call) -> float:
        """How much of their rates the keys have left, from 0 to 1 (on average; 1 where no limit is known)."""
        now = self._clock()
        keys = list(self._keys.values()) or [self._anonymous]
        rooms = [
            0.0 if self._rests(key, now) or key.blocked_until > now else key.rates.room(call, self._settings, now)
            for key in keys
        ]
        return sum(rooms) / len(rooms)

    # --- choosing ------------------------------------------------------------------------------------------------

    def _candidates(self, call: Call) -> Any:
        if call.key_name is not None:
            key = self._keys.get(call.key_name)
            if key is None:
                raise ConfigurationError(f"there is no key named {call.key_name!r}; the keys are: {self._names()}")
            return (key,)
        if self._keys:
            return self._keys.values()
        if self._missing:
            raise MissingCredential(self._missing)
        return (self._anonymous,)

    def _wait(self, key: Key, call: Call, now: float) -> float:
        if key.blocked_until > now:
            return key.blocked_until - now
        if key.max_concurrent is not None and key.active >= key.max_concurrent:
            return math.inf
        wait = key.rates.wait(call, self._settings, now)
        if key.active >= key.crowd.limit and self._adaptive():
            wait = max(wait, key.crowd.wait(key.active, now))
        return wait

    def _adaptive(self) -> bool:
        # Without a queue a call that may not go at once is refused, and that for our own caution would be too much.
        return self._remote and self._settings.adaptive_concurrency and self._settings.queue_enabled

    def _rests(self, key: Key, now: float) -> bool:
        # A lone key is never locked away: its owner may be mending the account, and there is nothing to turn to.
        return key.quarantined_until > now and len(self._keys) > 1

    def _better(self, key: Key, best: Key, call: Call) -> bool:
        strategy = call.key_strategy or self._settings.key_selection_strategy
        if strategy == "least-loaded" and key.active != best.active:
            return key.active < best.active
        return key.last_used < best.last_used

    def _take(self, key: Key, call: Call, now: float) -> Lease:
        key.active += 1
        key.requests += 1
        # Calls of the same instant must still rotate, so the mark is a little later than any other key's.
        key.last_used = now if now > key.last_used else key.last_used + 1e-9
        lease = Lease(key, self, key.rates.reserve(call, now), now)
        if key.active >= key.crowd.limit:
            key.crowd.take(lease, key.active, now)
        return lease

    # --- judging -------------------------------------------------------------------------------------------------

    def _judge(self, lease: Lease, error: BackendError, now: float) -> None:
        key = lease.key
        if isinstance(error, AuthenticationError):
            self._quarantine(key, error, now + (error.retry_after or AUTHENTICATION_QUARANTINE))
        elif isinstance(error, QuotaExhausted):
            self._quarantine(key, error, now + (error.retry_after or QUOTA_QUARANTINE))
        elif isinstance(error, RateLimited):
            rest = error.retry_after
            if self._adaptive():
                wait = self._settings.initial_retry_delay if rest is None else rest
                lease.refusal = refusal = key.crowd.refused(
                    lease, lease.began, key.active, wait, now, told=rest is not None, rate=lease.spent
                )
                if refusal.crowded is not False:
                    return
                key.blocked_until = max(key.blocked_until, refusal.until)
            if rest is None and len(self._keys) > 1:
                rest = self._settings.initial_retry_delay  # another key is tried before this one again
            if rest is not None:
                key.blocked_until = max(key.blocked_until, now + rest)

    def _quarantine(self, key: Key, error: BackendError, until: float) -> None:
        if len(self._keys) > 1:
            key.quarantined_until = until
            key.quarantine_error = error

    def _out_of_service(self, call: Call, now: float) -> BackendError:
        resting = [key for key in self._candidates(call) if key.quarantine_error is not None]
        soonest = min(resting, key=lambda key: key.quarantined_until)
        reason = soonest.quarantine_error
        assert reason is not None
        left = max(0.0, soonest.quarantined_until - now)
        names = ", ".join(key.name for key in resting)
        error: BackendError = type(reason)(
            f"{reason.message} (every key is out of service: {names}; the first is tried again in {left:.0f} s)",
            status=reason.status,
            code=reason.code,
            type=reason.type,
            backend=reason.backend,
            retry_after=left,
            body=reason.body,
        )
        error.rotate = False
        return error

    def _names(self) -> str:
        return ", ".join(self._keys) or "(none)"


class KeysPolicy:
    """Settles the key that admission took for the attempt."""

    def __init__(self, inner: Handler, pool: KeyPool) -> None:
        self._inner = inner
        self.pool = pool

    async def __call__(self, call: Call) -> Reply:
        lease: Lease = call.lease
        try:
            reply = await self._inner(call)
        except BaseException as error:
            self.pool.release(lease, None, error)
            raise
        reply.key_name = lease.key.name
        if reply.stream is None:
            self.pool.release(lease, reply.usage, None)
        else:
            self.pool.accepted(lease)
            reply.stream.add_done_callback(lambda stream, error: self.pool.release(lease, stream.usage, error))
        return reply
