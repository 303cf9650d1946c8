"""What a cache came to: plain counters, read at leisure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.records import Pricer
from ipfs_accelerate_py.types import Call, Reply, Usage

__all__ = ["CacheStats"]


class CacheStats:
    """Hits and misses, and what the hits saved. ``pricer`` gives whoever knows prices at the moment, or None."""

    def __init__(self, pricer: Callable[[], Pricer | None] = lambda: None) -> None:
        self._pricer = pricer
        self.reset()

    def reset(self) -> None:
        """Start again from zero."""
        self.hits = 0
        self.misses = 0
        #: Calls that were not looked up: told not to, or of a kind that is not kept.
        self.bypassed = 0
        self.kept = 0
        #: Answers that were not kept: incomplete, filtered, refused, left early, too large, or the store had no room.
        self.not_kept = 0
        self.tokens_saved = 0
        self.cost_saved = 0.0

    def hit(self, call: Call, reply: Reply, usage: Usage) -> None:
        """An answer was given; ``usage`` is what it would have taken."""
        self.hits += 1
        self.saved(call, reply, usage)

    def saved(self, call: Call, reply: Reply, usage: Usage) -> None:
        """Tokens, and money where prices are known, that were not spent."""
        self.tokens_saved += usage.input_tokens + usage.output_tokens
        pricer = self._pricer()
        if pricer is not None:
            cost = pricer.cost(reply.backend, reply.target_model or reply.model or call.request.model, usage)
            if cost is not None:
                self.cost_saved += cost.total

    def snapshot(self) -> dict[str, Any]:
        """``hit_rate`` is a share, from 0 to 1; ``cost_saved`` is in US dollars."""
        looked = self.hits + self.misses
        return {
            "hits": self.hits,
            "misses": self.misses,
            "hit_rate": self.hits / looked if looked else 0.0,
            "bypassed": self.bypassed,
            "kept": self.kept,
            "not_kept": self.not_kept,
            "tokens_saved": self.tokens_saved,
            "cost_saved": self.cost_saved,
        }
