"""Batching: calls of many callers merged into one upstream call, and its answer given to each exactly.

``strategies`` says how much may go together, ``work`` what may, ``cutter`` when it goes (plain arithmetic), ``shares``
whose part of the answer is whose, ``batcher`` does it.
"""

from __future__ import annotations

from ipfs_accelerate_py.pipeline.batching.batcher import Batcher, BatchingPolicy
from ipfs_accelerate_py.pipeline.batching.strategies import BatchStrategy, Strategies

__all__ = ["BatchStrategy", "Batcher", "BatchingPolicy", "Strategies"]
