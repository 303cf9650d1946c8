"""Records to write down."""

from __future__ import annotations

import random
from typing import Any

from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.types import Cost, Operation, Usage

__all__ = ["DAY", "NOON", "record", "records"]

DAY = 86400.0
#: 2026-03-01 12:00 UTC.
NOON = 1772366400.0


def record(**given: Any) -> CallRecord:
    """A successful chat of 100 tokens in and 20 out that cost 0.00045 dollars, but for what is ``given``."""
    made: dict[str, Any] = {
        "request_id": "req_1",
        "started": NOON,
        "operation": Operation.CHAT,
        "alias": "smart",
        "backend": "openai",
        "model": "gpt-4o",
        "key": "first",
        "latency": 0.5,
        "usage": Usage(100, 20, reported=True),
        "cost": Cost(0.00045, {"input": 0.00025, "output": 0.0002}, "test"),
    }
    return CallRecord(**{**made, **given})


def records(count: int, seed: int = 0) -> list[CallRecord]:
    """Calls of all kinds, over three days."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        usage = Usage(rng.randrange(5000), rng.randrange(800), cached_tokens=rng.randrange(50), reported=True)
        outcome = rng.choice(["success", "success", "success", "failure", "cancelled"])
        cost = None if outcome != "success" or rng.random() < 0.1 else Cost(rng.random() / 100, {}, "test")
        hit = outcome == "success" and rng.random() < 0.1
        made.append(
            record(
                request_id=f"req_{number}",
                started=NOON + rng.random() * 3 * DAY,
                model=rng.choice(["gpt-4o", "claude-sonnet-5-5", "llama"]),
                tenant=rng.choice(["", "acme", "globex"]),
                caller=rng.choice(["", "team-a", "team-b"]),
                outcome=outcome,
                error="ServerError" if outcome == "failure" else "",
                status=503 if outcome == "failure" else None,
                latency=rng.random() * 3,
                usage=usage,
                cost=Cost(0.0) if hit else cost,
                saved=0.001 if hit else 0.0,
                cache="exact" if hit else "",
                tags={"project": rng.choice(["x", "y"])} if rng.random() < 0.5 else None,
            )
        )
    return made
