"""Embeddings of many callers merged, by the older API's names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.sync import Client
from ipfs_accelerate_py.types import Operation

__all__ = ["EmbeddingBatching"]


class EmbeddingBatching(ABC):
    """`enable_embedding_batching` and `get_batching_stats`."""

    @abstractmethod
    def _client_of(self, endpoint_id: Any) -> Client:
        """The client of an endpoint, or the one for calls that name none."""

    def enable_embedding_batching(
        self,
        max_batch_size: int | None = None,
        batch_timeout: float = 0.1,
        auto_batching: bool = True,
        *,
        endpoint_id: str | None = None,
    ) -> None:
        """Merge the embeddings of many callers (threads, tasks) into fewer calls of the service.

        ``max_batch_size`` is the most inputs in one, ``batch_timeout`` the most seconds that a call waits for company;
        a lone caller waits for nobody. ``auto_batching=False`` switches merging off again. Raises
        `UnsupportedOperation` where the service has no embeddings.
        """
        client = self._client_of(endpoint_id)
        if client.operations is not None and Operation.EMBED not in client.operations:
            raise UnsupportedOperation(f"{client.backend} has no embeddings, so there is nothing to merge")
        if auto_batching:
            client.enable_batching(max_batch_size, batch_timeout, operations=["embed"])
        else:
            client.disable_batching()

    def get_batching_stats(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """``batches``, ``batched_requests``, ``avg_batch_size``, ``calls_saved`` and more; ``cost_savings`` in dollars.

        ``cost_savings`` is 0: services charge for tokens, and merged calls have as many. What is saved is requests
        (``calls_saved``), which count against rate limits, and their time.
        """
        return {**self._client_of(endpoint_id).batching_stats(), "cost_savings": 0.0}
