"""What a client or a router can be told to do beside answering: each in a file of its own."""

from __future__ import annotations

from ipfs_accelerate_py.features.accounting import AccountingFeatures
from ipfs_accelerate_py.features.batching import BatchingFeatures
from ipfs_accelerate_py.features.caching import CachingFeatures
from ipfs_accelerate_py.features.limiting import LimitFeatures
from ipfs_accelerate_py.features.monitoring import MonitoringFeatures
from ipfs_accelerate_py.features.sharing import SharingFeatures

__all__ = ["Features"]


class Features(
    CachingFeatures, SharingFeatures, LimitFeatures, BatchingFeatures, AccountingFeatures, MonitoringFeatures
):
    """All of them."""
