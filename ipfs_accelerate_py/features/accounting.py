"""Prices, and the ledger of every call."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.features.host import FeatureHost

if TYPE_CHECKING:
    from ipfs_accelerate_py.ledger import Ledger, UsageRow
    from ipfs_accelerate_py.prices import PriceBook

__all__ = ["AccountingFeatures"]


class AccountingFeatures(FeatureHost):
    """Prices, and the ledger of every call. Both are off until they are asked for: nothing is written unasked."""

    # --- prices --------------------------------------------------------------------------------------------------

    def track_costs(
        self,
        prices: PriceBook | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        package: bool = True,
        default_output: int = 16_384,
    ) -> PriceBook:
        """From now on replies have their ``cost``, and totals, ledger and budgets their dollars.

        Args:
            prices: prices of your own, which go before those of genai-prices: a mapping or a file (see `PriceBook`), or
                a `PriceBook` that others use too.
            package: read the prices of genai-prices (the extra ``[prices]``); it takes some 0.2 s, once in a process.
            default_output: see `PriceBook`.

        Raises `MissingExtra` where genai-prices is wanted and not installed, `ConfigurationError` for wrong prices.
        """
        from ipfs_accelerate_py.prices import PriceBook

        if isinstance(prices, PriceBook):
            book = prices
        else:
            book = PriceBook(prices, package=package, default_output=default_output)
        for backend, model, base_url in self.services():
            if base_url:
                book.locate(backend, base_url, model)
        self.usage_policy.pricer = book
        return book

    def stop_tracking_costs(self) -> None:
        """Calls have no ``cost`` from now on."""
        self.usage_policy.pricer = None

    # --- the ledger ----------------------------------------------------------------------------------------------

    async def open_ledger(
        self,
        where: str | os.PathLike[str] | Ledger | None = None,
        *,
        durability: str = "normal",
        window: float = 0.05,
        keep_days: float | None = None,
        check: bool = True,
    ) -> Ledger:
        """From now on every call that is over is a row in a database, written off the hot path.

        A ledger that was open here is closed. Where costs are not tracked yet and genai-prices is installed, they are
        from now on. Budgets learn from the ledger what was spent before.

        Args:
            where: a path, ``sqlite:///path``, ``postgresql://user@host/database`` (the extra ``[postgres]``), or a
                `Ledger` that others use too; without it ``usage.sqlite3`` in this user's folder for state.
            durability: "full" makes SQLite wait for the disk at each write (see `Ledger`).
            window: seconds that records wait to be written together; what a killed process may lose.
            keep_days: forget calls that are older than this.
            check: connect now, and raise `LedgerError` where that fails. Without it, records are kept in a file until
                the database can be had.

        Raises `ConfigurationError` for a wrong address, `MissingExtra` for one that needs an extra.
        """
        from ipfs_accelerate_py.ledger import Ledger
        from ipfs_accelerate_py.prices import prices_installed

        if isinstance(where, Ledger):
            ledger = where
        else:
            ledger = Ledger(where, durability=durability, window=window, keep_days=keep_days)
        if check:
            await ledger.check()
        await self.close_ledger()
        if self.usage_policy.pricer is None and prices_installed():
            self.track_costs()
        self.usage_policy.observers.append(ledger)
        self._seed(ledger)
        return ledger

    async def close_ledger(self) -> None:
        """Write what is left, and keep no more books; harmless where no ledger is open."""
        ledger = self.ledger
        if ledger is not None:
            self.usage_policy.observers.remove(ledger)
            self._seed(None)
            await ledger.aclose()

    async def flush_ledger(self) -> None:
        """Write what is left, and let the thread that writes end until there is another call."""
        ledger = self.ledger
        if ledger is not None:
            await ledger.aclose()

    async def usage(
        self, /, by: str | Sequence[str] = (), *, since: float | None = None, until: float | None = None, **only: Any
    ) -> list[UsageRow]:
        """Calls, tokens, dollars and latencies from the ledger: all together, or apart ``by`` day, hour, month, model,
        alias, backend, key, tenant, caller, operation, outcome, error, cache, tier, priority or ``tag:NAME``.

        ``since`` (inclusive) and ``until`` are seconds since 1970; ``only`` filters (``tenant="acme"``). Days are those
        of UTC. All calls of the ledger are meant, whoever made them.

        Raises `ConfigurationError` where no ledger is open, `LedgerError` where it cannot be read.
        """
        ledger = self.ledger
        if ledger is None:
            raise ConfigurationError("no ledger is open: await open_ledger() first")
        return await ledger.usage(by, since=since, until=until, **only)

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that is open here."""
        # Found among the observers, which outlive a fork and are the same for every face of a client (`bound`).
        if "ipfs_accelerate_py.ledger" not in sys.modules:
            return None  # and it is not imported to find out
        from ipfs_accelerate_py.ledger import Ledger

        return next((observer for observer in self.usage_policy.observers if isinstance(observer, Ledger)), None)

    def _seed(self, ledger: Ledger | None) -> None:
        seed = getattr(self, "seed_budgets", None)
        if seed is not None:
            seed(ledger)
