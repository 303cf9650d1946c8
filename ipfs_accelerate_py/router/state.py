"""What can be seen of a router: its aliases and targets, who may answer a call, and the counts of both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ipfs_accelerate_py.features.host import FeatureHost
from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.router.aliases import AliasState
from ipfs_accelerate_py.router.opening import Targets
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.router.shadow import Shadows
from ipfs_accelerate_py.settings import Settings
from ipfs_accelerate_py.types import Call

__all__ = ["RouterState"]


class RouterState(FeatureHost):
    """Of a router that has these."""

    settings: Settings
    _aliases: dict[str, AliasState]
    _targets: Targets
    _shadows: Shadows

    @property
    def aliases(self) -> dict[str, AliasState]:
        """Every alias by name, opened."""
        return self._aliases

    @property
    def targets(self) -> dict[str, Routed]:
        """Every target by name, opened."""
        return {target.name: target for target in self._targets.all()}

    def time_limit(self, alias: str) -> float | None:
        """Seconds that a call of this alias may take in all where it does not say itself: ``total_timeout``."""
        found = self.aliases.get(alias)
        limit = ... if found is None else found.total_timeout
        return self.settings.total_timeout if limit is ... else limit

    def candidates(self, call: Call) -> list[tuple[str, str]]:
        """Backend and model of each target that may answer, those of fallbacks too: what budgets are reserved by."""
        alias = self.aliases.get(call.request.model)
        states = () if alias is None else (*alias.path, *alias.larger, *alias.policy)
        return [(target.backend.spec.name, target.target.model) for state in states for target in state.targets]

    def services(self) -> Iterable[tuple[str, str, str]]:
        targets = self._targets.all()
        return [(target.backend.spec.name, target.target.model, target.backend.base_url) for target in targets]

    def pipelines(self) -> dict[str, Pipeline]:
        """The targets' pipelines by their names: what reports and alerts look at."""
        return {target.name: target.backend.pipeline for target in self._targets.all()}

    def _hedge_after(self, call: Call) -> float | str | None:
        """When a call of this alias gets a second attempt, where the alias says it (``hedge``)."""
        alias = self.aliases.get(call.request.model)
        return None if alias is None else alias.config.hedge

    def reset_usage(self) -> None:
        """Set the usage counters to zero, those of the targets too."""
        self.usage_policy.totals.reset()
        for target in self._targets.all():
            target.backend.pipeline.totals.reset()

    def snapshot(self) -> dict[str, Any]:
        """Aliases, targets and usage as plain data; no key's value is in it."""
        return {
            "in_flight": self.usage_policy.in_flight,
            "usage": self.usage_policy.totals.snapshot(),
            "aliases": {name: alias.snapshot() for name, alias in self.aliases.items()},
            "targets": {target.name: target.snapshot() for target in self._targets.all()},
            "shadows": self._shadows.snapshot(),
        }
