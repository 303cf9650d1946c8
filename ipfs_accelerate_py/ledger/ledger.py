"""`Ledger`: hears of every call that is over, writes it down off the hot path, and answers questions about them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, LedgerError
from ipfs_accelerate_py.ledger import queries
from ipfs_accelerate_py.ledger.queries import Filters, UsageRow
from ipfs_accelerate_py.ledger.stores import Connection, Store, open_store
from ipfs_accelerate_py.ledger.writer import Writer
from ipfs_accelerate_py.records import CallRecord

__all__ = ["Ledger"]

T = TypeVar("T")
#: Seconds given to the last records of a process that ends.
_LAST = 5.0
_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


class Ledger:
    """A row for every call, in SQLite or PostgreSQL. It is an `Observer`.

    ::

        ledger = Ledger()                                   # this user's own file; or a path, or postgresql://...
        client.usage_policy.observers.append(ledger)        # (`open_ledger` of a client does all this)
        for row in await ledger.usage(by=["day", "model"], since=time.time() - 7 * 86400):
            print(row.group, row.calls, row.cost)
        await ledger.aclose()

    A record waits ``window`` seconds for others and is then written with them, by a thread of its own: a process that
    is killed (``kill -9``) loses the records of its last 0.2 s at most, as long as the database takes a batch of 500
    in 0.15 s. A power cut may cost SQLite some seconds more, unless ``durability`` is "full".

    Args:
        where: path or address, see `open_store`.
        durability: "normal" or "full", see `open_store`.
        window: seconds, see above.
        keep_days: calls that are older are forgotten, once an hour, by whoever writes; None keeps all.
        most: records kept in memory at most, while neither database nor disk takes them.
        retry: seconds until a database that was away is tried again, at first and at most.

    Nothing is opened or made before the first record or question. Raises `ConfigurationError` for a wrong address.
    """

    def __init__(
        self,
        where: str | os.PathLike[str] | None = None,
        *,
        durability: str = "normal",
        window: float = 0.05,
        keep_days: float | None = None,
        most: int = 100_000,
        retry: tuple[float, float] = (0.5, 15.0),
    ) -> None:
        if keep_days is not None and not keep_days > 0:
            raise ConfigurationError(f"keep_days is a number of days above 0, not {keep_days!r}")
        if not 0 <= window <= 60:
            raise ConfigurationError(f"a ledger's window is seconds from 0 to 60, not {window!r}")
        self.store: Store = open_store(where, durability)
        self._writer = Writer(self.store, window=window, keep_days=keep_days, most=most, retry=retry)
        _ledgers.add(self)

    def observe(self, record: CallRecord) -> None:
        """Hear of a call that is over. It neither waits nor raises."""
        self._writer.add(record)

    __call__ = observe

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return self.store.name

    # --- questions -----------------------------------------------------------------------------------------------

    async def usage(
        self, by: str | Sequence[str] = (), *, since: float | None = None, until: float | None = None, **only: Any
    ) -> list[UsageRow]:
        """Totals by one or several of `queries.DIMENSIONS` (or ``tag:NAME``), of all calls until now.

        ``since`` and ``until`` are seconds since 1970; days and months are those of UTC. ``only`` filters by the other
        fields of `Filters` (``tenant="acme"``). Raises `LedgerError` where the database cannot be read.
        """
        return await off_loop(self.totals, by, since=since, until=until, **only)

    async def spent(
        self,
        *,
        since: float,
        tenant: str | None = None,
        caller: str | None = None,
        model: str | None = None,
        key: str | None = None,
    ) -> tuple[float, int]:
        """US dollars and tokens of the calls that began at or after ``since``; ``model`` is what was asked for.

        Answers from caches do not count, and of calls without a known price only the tokens.
        """
        filters = Filters(since=since, tenant=tenant, caller=caller, alias=model, key=key)
        return await off_loop(self._read, lambda connection: queries.spent(connection, filters))

    async def check(self) -> None:
        """Connect, make or mend the tables, and go. Raises `LedgerError` where the database cannot be had."""
        await off_loop(self._read, lambda connection: None)

    async def prune(self, before: float) -> None:
        """Forget the calls that began before an instant (seconds since 1970)."""
        await off_loop(self._read, lambda connection: queries.prune(connection, before))

    def totals(
        self, by: str | Sequence[str] = (), *, since: float | None = None, until: float | None = None, **only: Any
    ) -> list[UsageRow]:
        """`usage`, for ordinary code: it waits for the database."""
        names = [by] if isinstance(by, str) else list(by)
        unknown = sorted(set(only) - set(Filters.__struct_fields__))
        if unknown:
            raise ConfigurationError(
                f"usage cannot be filtered by {unknown[0]!r}; it can by: {', '.join(Filters.__struct_fields__)}"
            )
        filters = Filters(since=since, until=until, **only)
        return self._read(lambda connection: queries.totals(self.store, connection, names, filters))

    def _read(self, ask: Callable[[Connection], T]) -> T:
        self._writer.flush(_LAST)
        try:
            with contextlib.closing(self.store.connect()) as connection:
                return ask(connection)
        except AccelerateError:
            raise
        except Exception as error:  # the database's own kinds, of which there are many
            first = str(error).strip().partition("\n")[0]
            raise LedgerError(f"the ledger {self.name} cannot be had: {type(error).__name__}: {first}") from error

    # --- life ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What was ``written``, what is ``waiting`` in memory and ``in_file``, what was ``spilled`` there and ``lost``,
        and the ``trouble`` with the database, if there is any now."""
        return {"name": self.name, **self._writer.snapshot()}

    async def flush(self) -> None:
        """Wait until all that was heard of is written (or in the file that stands in for the database)."""
        await off_loop(self._writer.flush)

    async def aclose(self) -> None:
        """Write what is left, and end the thread. A ledger that hears of another call begins again."""
        await off_loop(self._writer.close)

    def close(self, timeout: float | None = None) -> bool:
        """`aclose`, for ordinary code. False: ``timeout`` seconds were not enough."""
        return self._writer.close(timeout)

    def __repr__(self) -> str:
        return f"Ledger({self.name!r})"


async def off_loop(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run something that waits in a thread that ends with it (a pool's would stay: the portal's loop never ends)."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function(*args, **options)
        except BaseException as error:
            _tell(loop, done, error=error)
        else:
            _tell(loop, done, result=result)

    threading.Thread(target=run, name="ipfs-accelerate-ledger-query", daemon=True).start()
    return await done


def _tell(
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[Any],
    *,
    result: Any = None,
    error: BaseException | None = None,
) -> None:
    def tell() -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
        loop.call_soon_threadsafe(tell)


def _at_exit() -> None:
    for ledger in list(_ledgers):
        ledger.close(_LAST)


def _after_fork() -> None:
    for ledger in list(_ledgers):
        ledger._writer.forked()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
