"""Caches of answers: exact (the same request again) and semantic (the same question in other words).

``stores``: where answers are kept (memory, disk, Redis); ``answers``: what is kept of one, and how it is given again;
``exact`` and ``semantic``: the policies; ``wording``: whether two questions differ in more than their words.
"""

from ipfs_accelerate_py.pipeline.cache.disk_store import DiskStore
from ipfs_accelerate_py.pipeline.cache.exact import ExactCache, ExactCachePolicy
from ipfs_accelerate_py.pipeline.cache.memory_store import MemoryStore
from ipfs_accelerate_py.pipeline.cache.redis_store import RedisStore
from ipfs_accelerate_py.pipeline.cache.semantic import SemanticCache, SemanticCachePolicy
from ipfs_accelerate_py.pipeline.cache.stores import CacheStore
from ipfs_accelerate_py.pipeline.cache.wording import same_question

__all__ = [
    "CacheStore",
    "DiskStore",
    "ExactCache",
    "ExactCachePolicy",
    "MemoryStore",
    "RedisStore",
    "SemanticCache",
    "SemanticCachePolicy",
    "same_question",
]
