"""Single flight and hedging: identical calls share one, and a slow one gets a second."""

from __future__ import annotations

from collections.abc import Iterable

from ipfs_accelerate_py.features.host import FeatureHost
from ipfs_accelerate_py.types import Call, Operation

__all__ = ["SharingFeatures"]


class SharingFeatures(FeatureHost):
    """Single flight and hedging: identical calls share one, and a slow one gets a second."""

    def enable_single_flight(
        self, operations: Iterable[Operation | str] | None = None, *, nondeterministic: bool = False
    ) -> None:
        """From now on identical calls that are under way at the same time share one call to the upstream.

        Streams as well: who joins late is given what came so far, then follows. Only calls of the same tenant share.
        Replies of those who joined have ``cache="shared"``, and cost nothing. A call with ``cache="off"`` asks for
        itself; one with ``cache="on"`` shares even what is not deterministic.

        Args:
            operations: by name (``"embed"``, ``"chat"``, ...), only these; None: all but raw requests. Raw requests
                are shared only where they are named here, and only ``GET``.
            nondeterministic: share also calls of which two would bring two different answers. Deterministic are
                embeddings, reranking, classification, counts of tokens, moderation and lists of models; and texts
                with ``temperature=0`` or a ``seed``.

        Raises `ConfigurationError` for an operation that there is not.
        """
        from ipfs_accelerate_py.pipeline.singleflight import SingleFlight, SingleFlightPolicy

        state = SingleFlight(operations, nondeterministic=nondeterministic)
        self.front.install("single_flight", lambda inner: SingleFlightPolicy(inner, state))

    def disable_single_flight(self) -> None:
        """Each call asks for itself again; those that share one already go on."""
        self.front.remove("single_flight")

    def single_flight_stats(self) -> dict[str, int]:
        """``in_flight``: calls that can be joined right now; ``flown``: calls to the upstream; ``shared``: callers
        that joined one. All 0 while single flight is off."""
        policy = self.front.get("single_flight")
        if policy is None:
            return {"in_flight": 0, "flown": 0, "shared": 0}
        found: dict[str, int] = policy.state.snapshot()
        return found

    def enable_hedging(
        self,
        after: float | str | None = "p95",
        *,
        most_share: float = 0.1,
        operations: Iterable[Operation | str] | None = None,
    ) -> None:
        """From now on a call that is slow to answer gets a second attempt, and the first answer of the two is taken.

        The other attempt is cancelled at once. On a router the second goes to another target; on a client to another
        slot and key, where they are free: it never waits in the queue. It is one call in all our books. What the
        upstream charges for the attempt that was cancelled is not known here.

        Args:
            after: seconds after which the second attempt begins; or "p95" (any of "p1" to "p99"): as long as all but
                the slowest twentieth of recent calls of the same model and operation took to answer (streams, to their
                first content). Before twenty of them have been measured, nothing is hedged. None: only the aliases of
                a router that say so themselves (``hedge``), each after its own time.
            most_share: at most this share of all calls gets a second attempt (and one more, at the start).
            operations: by name, only these; None: all but raw requests and those of stores. Calls that are not
                deterministic are hedged too: whichever answer comes first is an answer.

        Raises `ConfigurationError` for values that make no sense.
        """
        from ipfs_accelerate_py.pipeline.hedging import Hedging, HedgingPolicy

        state = Hedging(after, most_share, operations, after_of=self._hedge_after)
        self.front.install("hedging", lambda inner: HedgingPolicy(inner, state))

    def disable_hedging(self) -> None:
        """No second attempts any more."""
        self.front.remove("hedging")

    def _hedge_after(self, call: Call) -> float | str | None:
        """A call's own time for the second attempt, which goes before that of `enable_hedging`; None: none of its own.

        Routers answer with what the call's alias says."""
        return None

    def hedging_stats(self) -> dict[str, int]:
        """``calls`` that could be hedged; ``hedged``: second attempts begun; ``won``: those that answered in place of
        the first. All 0 while hedging is off."""
        policy = self.front.get("hedging")
        if policy is None:
            return {"calls": 0, "hedged": 0, "won": 0}
        found: dict[str, int] = policy.state.snapshot()
        return found
