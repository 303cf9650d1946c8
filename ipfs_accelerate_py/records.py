"""What is kept of a call when it is over: one record, for whoever wants to hear of it.

Ledger, metrics, alerts and budgets are observers. A record is made only where somebody observes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from ipfs_accelerate_py.types import Call, Cost, Operation, Priority, Usage

__all__ = ["CallRecord", "Observer", "Pricer"]


class CallRecord(msgspec.Struct, kw_only=True):
    """One call as its caller saw it. Durations in seconds; nothing of what was asked or answered is in it.

    Attributes:
        started: seconds since 1970 (UTC) when the call came in.
        alias: what the caller asked for, where that is an alias; else the model's name.
        backend, model: who answered; of a failure, who was asked last. Empty where nobody was.
        key: name of the provider's key used; ``caller`` is the name of the gateway's key that the caller showed.
        outcome: "success", "failure" or "cancelled".
        error, status: of a failure, its kind (name of the class in `errors`) and the upstream's HTTP status.
        latency: until the answer was complete; ``first_content`` until a stream's first content.
        usage: as the backend counted; of an answer from a cache, what is saved.
        cost: what was spent; None where no price is known. Of an answer from a cache it is zero, and ``saved`` is
            what it would have cost.
        cache: "exact", "semantic", "shared", or empty for a call of its own.
    """

    request_id: str
    started: float
    operation: Operation
    alias: str = ""
    backend: str = ""
    model: str = ""
    key: str = ""
    tenant: str = ""
    caller: str = ""
    priority: Priority = Priority.NORMAL
    stream: bool = False
    outcome: str = "success"
    error: str = ""
    status: int | None = None
    attempts: int = 1
    latency: float = 0.0
    first_content: float | None = None
    queued: float = 0.0
    usage: Usage = msgspec.field(default_factory=Usage)
    cost: Cost | None = None
    saved: float = 0.0
    cache: str = ""
    upstream_request_id: str = ""
    tags: dict[str, str] | None = None


Observer: TypeAlias = Callable[[CallRecord], None]
"""Called on the loop when a call is over: it must neither wait nor raise."""


class Pricer(Protocol):
    """Knows what models cost. `ipfs_accelerate_py.prices` is one."""

    def cost(self, backend: str, model: str, usage: Usage, alias: str = "") -> Cost | None:
        """What a call came to, or None where no price is known. An alias may have a price of its own."""
        ...

    def estimate(self, call: Call, backend: str, model: str) -> float | None:
        """US dollars that the call may cost at most, before it is made, or None where no price is known."""
        ...
