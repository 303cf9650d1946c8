"""What batching has done so far, in numbers."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.types import Operation

__all__ = ["BatchTotals"]


class BatchTotals:
    """Plain counters."""

    def __init__(self) -> None:
        #: Upstream calls made of several callers', the callers' calls and the inputs in them, and the largest.
        self.batches = 0
        self.requests = 0
        self.items = 0
        self.largest = 0
        #: By operation: those upstream calls, and the callers' calls in them.
        self.by_operation: dict[Operation, tuple[int, int]] = {}
        #: Calls that went by themselves: no company came; or they cannot be merged.
        self.alone = 0
        self.apart = 0
        #: Calls that were too large, and the upstream calls made of them.
        self.split = 0
        self.parts = 0
        #: Merged calls that were refused and asked for again in halves; callers that left while they waited.
        self.refused = 0
        self.left = 0

    def sent(self, operation: Operation, requests: int, items: int) -> None:
        batches, before = self.by_operation.get(operation, (0, 0))
        self.by_operation[operation] = (batches + 1, before + requests)
        self.batches += 1
        self.requests += requests
        self.items += items
        self.largest = max(self.largest, requests)

    def cut(self, parts: int) -> None:
        self.split += 1
        self.parts += parts

    def snapshot(self) -> dict[str, Any]:
        """As `batching_stats` gives it."""
        return {
            "batches": self.batches,
            "batched_requests": self.requests,
            "avg_batch_size": self.requests / self.batches if self.batches else 0.0,
            "largest_batch": self.largest,
            "batched_items": self.items,
            "calls_saved": max(0, self.requests - self.batches),
            "alone": self.alone,
            "not_mergeable": self.apart,
            "split_calls": self.split,
            "split_parts": self.parts,
            "refused_batches": self.refused,
            "left_early": self.left,
        }
