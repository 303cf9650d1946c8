"""The semantic cache, by the older API's names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.errors import UnsupportedOperation
from ipfs_accelerate_py.sync import Client
from ipfs_accelerate_py.types import Operation

__all__ = ["SemanticCaching"]

_TEXTS = frozenset({Operation.CHAT, Operation.COMPLETION})


class SemanticCaching(ABC):
    """`enable_semantic_cache`, `disable_semantic_cache` and `get_cache_stats`."""

    @abstractmethod
    def _client_of(self, endpoint_id: Any) -> Client:
        """The client of an endpoint, or the one for calls that name none."""

    def enable_semantic_cache(
        self,
        similarity_threshold: float = 0.85,
        cache_size: int = 1000,
        ttl: float | None = 3600,
        embedding_model: str = "mini",
        *,
        endpoint_id: str | None = None,
        **options: Any,
    ) -> None:
        """Answer a question that was asked before in other words with the answer it had then.

        ``similarity_threshold`` (0 to 1) is how near the questions' embeddings must be; beside that they may differ in
        nothing but their wording: a changed number, name or "not" is never answered from the cache. ``cache_size`` is
        the most entries, ``ttl`` how many seconds one is kept; "mini" as ``embedding_model`` is all-MiniLM-L6-v2, in
        this process. Other options are those of `Client.enable_semantic_cache`. Raises `UnsupportedOperation` where the
        service answers no questions, `MissingExtra` without ``[local]``.
        """
        client = self._client_of(endpoint_id)
        operations = client.operations
        if find_backend(client.backend).store or (operations is not None and not operations & _TEXTS):
            raise UnsupportedOperation(
                f"{client.backend} answers no questions, so there is nothing to cache by meaning"
            )
        client.enable_semantic_cache(
            similarity_threshold=similarity_threshold,
            cache_size=cache_size,
            ttl=ttl,
            embedding_model=embedding_model,
            **options,
        )

    def disable_semantic_cache(self, endpoint_id: str | None = None) -> None:
        """Ask anew from now on, and forget what was kept."""
        self._client_of(endpoint_id).disable_semantic_cache()

    def get_cache_stats(self, endpoint_id: str | None = None) -> dict[str, Any]:
        """``hits``, ``misses``, ``hit_rate`` (percent), ``cost_savings`` (US dollars, where prices are known),
        ``tokens_saved``, ``entries`` and more; all zero where no cache is on."""
        found = self._client_of(endpoint_id).cache_stats().get("semantic", {})
        return {
            "hits": 0,
            "misses": 0,
            "tokens_saved": 0,
            "entries": 0,
            **found,
            "hit_rate": 100 * found.get("hit_rate", 0.0),
            "cost_savings": found.get("cost_saved", 0.0),
        }
