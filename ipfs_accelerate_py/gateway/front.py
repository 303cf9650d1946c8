"""What every call to the gateway passes before it goes to whoever answers: usage, and the policies that are on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.features import Features
from ipfs_accelerate_py.pipeline import Pipeline
from ipfs_accelerate_py.pipeline.stack import PolicyMaker, Stack
from ipfs_accelerate_py.pipeline.usage import UsagePolicy, UsageTotals
from ipfs_accelerate_py.types import Call, EmbedRequest, Operation, Reply, new_request_id

if TYPE_CHECKING:
    from ipfs_accelerate_py.gateway.table import ModelTable
    from ipfs_accelerate_py.prices import PriceBook
    from ipfs_accelerate_py.records import Observer

__all__ = ["GatewayFront"]


#: Seconds for one embedding of the semantic cache's.
EMBEDDING_TIMEOUT = 10.0
#: Policies whose answers are told apart in the metrics.
_TELLING = frozenset(("exact_cache", "semantic_cache", "single_flight"))


def _routed(call: Call) -> Awaitable[Reply]:
    """To the target that the call was addressed to: a backend, or an alias of the router."""
    route = call.route
    if route is None:
        raise ConfigurationError("the call has no route; set call.route to the handler that is to answer")
    return route(call)


class _FrontStack(Stack):
    """Says so when a policy comes whose answers are counted apart."""

    def __init__(self, telling: Callable[[], None]) -> None:
        super().__init__(_routed)
        self._telling = telling

    def install(self, name: str, make: PolicyMaker) -> Any:
        if name in _TELLING:
            self._telling()
        return super().install(name, make)


class GatewayFront(Features):
    """The gateway's one front: caches, single flight, limits and hedging stand here, before it is known who answers."""

    def __init__(self, table: ModelTable, counted: Observer | None = None) -> None:
        """``counted`` hears of every call from when there is more to tell than is counted anyway: prices, caches."""
        self.table = table
        self.totals = UsageTotals()
        self._counted = counted
        self._stack = _FrontStack(self._count)
        self._usage = UsagePolicy(self._stack, self.totals)
        #: What a call is given to.
        self.send = self._usage.__call__

    @property
    def front(self) -> Stack:
        return self._stack

    @property
    def usage_policy(self) -> UsagePolicy:
        return self._usage

    def pipelines(self) -> Mapping[str, Pipeline]:
        return {name: backend.pipeline for name, backend in self.table.backends.items()}

    def _hedge_after(self, call: Call) -> float | str | None:
        router = self.table.router
        alias = None if router is None or not call.alias else router.aliases.get(call.alias)
        return None if alias is None else alias.config.hedge

    def candidates(self, call: Call) -> Sequence[tuple[str, str]]:
        """Who may answer a call: every target of its alias, or its one backend."""
        target = self.table.find(call.alias)
        router = self.table.router
        if target is not None and target.alias and router is not None:
            return router.candidates(call)
        backend = target.backend if target is not None else None
        return (("" if backend is None else backend.spec.name, call.request.model),)

    def services(self) -> Iterable[tuple[str, str, str]]:
        router = self.table.router
        if router is not None:
            for routed in router.targets.values():
                yield routed.backend.spec.name, routed.model, routed.backend.base_url
        for backend in self.table.backends.values():
            yield backend.spec.name, "", backend.base_url

    def track_costs(self, *args: Any, **options: Any) -> PriceBook:
        """As a client's; the router has these prices too, for its strategy "cost"."""
        book = super().track_costs(*args, **options)
        self._count()
        if self.table.router is not None:
            self.table.router.usage_policy.pricer = book
        return book

    def stop_tracking_costs(self) -> None:
        super().stop_tracking_costs()
        if self.table.router is not None:
            self.table.router.usage_policy.pricer = None

    def _count(self) -> None:
        # A record of every call costs something: it is made from now on, and not before.
        if self._counted is not None and self._counted not in self._usage.observers:
            self._usage.observers.append(self._counted)

    def embedder(self, name: str) -> Callable[[str], Awaitable[list[float]]] | None:
        """Embeddings by a model that this gateway serves; None where it serves none of this name."""
        target = self.table.find(name)
        if target is None:
            return None

        async def embed(text: str) -> list[float]:
            call = Call(
                operation=Operation.EMBED,
                request=EmbedRequest(target.model, [text]),
                request_id=new_request_id(),
                deadline=time.monotonic() + EMBEDDING_TIMEOUT,
                alias=target.name,
            )
            return (await target.route(call)).vectors[0]

        return embed
