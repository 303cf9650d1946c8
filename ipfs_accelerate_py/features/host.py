"""What a feature is added to: a client or a router, with the policies in front of its targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.pipeline.stack import Stack
from ipfs_accelerate_py.pipeline.usage import UsagePolicy

__all__ = ["FeatureHost"]


class FeatureHost(ABC):
    """Has a front: the optional policies that all its calls pass, and the outermost one that hears of every call."""

    @property
    @abstractmethod
    def front(self) -> Stack:
        """The optional policies, in their order."""

    @property
    @abstractmethod
    def usage_policy(self) -> UsagePolicy:
        """The outermost policy: its ``observers`` hear of every call, and its ``pricer`` knows what they cost."""

    def services(self) -> Iterable[tuple[str, str, str]]:
        """Who may answer: backend, model (empty: any) and base URL. Prices depend on where a service is."""
        return ()

    def pipelines(self) -> Mapping[str, Pipeline]:
        """The targets' pipelines, by the names that reports and alerts call them."""
        return {}
