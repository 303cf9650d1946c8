"""Calls of many callers merged into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.features.host import FeatureHost
from ipfs_accelerate_py.types import Operation

# Imported where batching is asked for.
if TYPE_CHECKING:
    from ipfs_accelerate_py.pipeline.batching import Batcher, BatchStrategy

__all__ = ["BatchingFeatures"]


class BatchingFeatures(FeatureHost):
    """Calls of many callers merged into one. What it does and what it costs: docs/batching.md."""

    _batcher: Batcher | None = None

    def enable_batching(
        self,
        max_batch_size: int | None = None,
        batch_timeout: float = 0.01,
        *,
        max_tokens: int | None = None,
        operations: Collection[str] | None = None,
        strategies: Mapping[str, BatchStrategy] | None = None,
    ) -> None:
        """Merge embeddings, rerankings, classifications and moderations of many callers into fewer upstream calls.

        A lone caller waits for nobody. While a call is under way those that come meanwhile gather, and go when it has
        come back, when they are ``max_batch_size`` inputs or ``max_tokens`` estimated tokens, or ``batch_timeout``
        seconds after the first of them came. Calls go together that ask the same of the same model for the same
        tenant, with the same key, priority and headers. Each caller gets its own vectors, its own share of the usage,
        and its own error; calls that are too large for the service are cut and put together again.

        Args:
            max_batch_size: inputs in one upstream call; what the service takes, or 64 where that is not known.
            batch_timeout: seconds, the most that a call waits for company.
            operations: some of "embed", "rerank", "classify" and "moderate"; all of them unless told otherwise.
            strategies: by pattern of the model's name (``"text-embedding-*"``), what holds for it instead.
        """
        from ipfs_accelerate_py.pipeline.batching import Batcher, BatchingPolicy, Strategies
        from ipfs_accelerate_py.pipeline.batching.work import MERGEABLE

        chosen = MERGEABLE if operations is None else frozenset(_operation(name) for name in operations)
        made = Strategies(
            max_items=max_batch_size,
            max_tokens=max_tokens,
            max_wait=batch_timeout,
            given=strategies,
            service=getattr(self, "backend", ""),
        )
        tei = getattr(self, "backend", "") == "hf_tei"
        batcher = Batcher(made, chosen, learn=self._inputs_that_tei_takes if tei else None)
        self.front.install("batching", lambda inner: BatchingPolicy(inner, batcher))
        self._batcher = batcher

    def disable_batching(self) -> None:
        """Every call by itself again; those that wait go as they were to go. The counts stay."""
        self.front.remove("batching")

    def batching_stats(self) -> dict[str, Any]:
        """What was merged, as plain counts.

        ``batches`` (upstream calls of several callers), ``batched_requests`` (the callers' calls in them),
        ``avg_batch_size``, ``largest_batch``, ``batched_items`` (inputs), ``calls_saved``, ``alone`` (calls that found
        no company), ``not_mergeable``, ``split_calls`` and ``split_parts`` (calls too large for the service),
        ``refused_batches`` (asked for again in halves), ``left_early`` (callers that left), ``waiting`` (now).
        """
        policy = self.front.get("batching")
        batcher = self._batcher if policy is None else policy.batcher
        from ipfs_accelerate_py.pipeline.batching import Batcher, Strategies

        return Batcher(Strategies()).snapshot() if batcher is None else batcher.snapshot()

    async def _inputs_that_tei_takes(self) -> int | None:
        """Text Embeddings Inference says it at ``/info``; where there is none (hosted), nobody knows."""
        ask: Any = getattr(self, "request", None)
        found = (await ask("/info", method="GET", timeout=2.0)).raw
        takes = found.get("max_client_batch_size") if isinstance(found, dict) else None
        return takes if isinstance(takes, int) else None


def _operation(name: str) -> Operation:
    from ipfs_accelerate_py.pipeline.batching.work import MERGEABLE

    if name not in MERGEABLE:
        raise ConfigurationError(f"operations that can be merged are {', '.join(sorted(MERGEABLE))}, not {name!r}")
    return Operation(name)
