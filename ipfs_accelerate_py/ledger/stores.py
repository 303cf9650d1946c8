"""Where rows are kept: what a database must be able to do, and which one an address means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.ledger.rows import Row

__all__ = ["DURABILITIES", "Connection", "Store", "default_path", "open_store"]

DURABILITIES = ("normal", "full")


class Connection(Protocol):
    """An open connection, used by one thread."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement with ``?`` for parameters, by itself."""
        ...

    def insert(self, rows: Sequence[Row]) -> None:
        """Write rows, all or none; those whose uid is there already are left out."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """A database.

    Attributes:
        name: what logs and errors call it; no password is in it.
        expressions: the SQL of what the databases spell differently: ``month`` and ``hour`` of a row, and ``tag``, with
            a ``?`` for the tag's name.
        data_errors: what `Connection.insert` raises for a row that this database will never take; anything else that it
            raises says that the database cannot be had now.
        spill_to: folder and beginning of the name of files that hold rows while it is away.
    """

    @property
    def name(self) -> str: ...
    @property
    def expressions(self) -> Mapping[str, str]: ...
    @property
    def data_errors(self) -> tuple[type[Exception], ...]: ...
    @property
    def spill_to(self) -> Path: ...

    def connect(self) -> Connection:
        """Connect; the tables are made, and brought up to date."""
        ...


def default_path() -> Path:
    """``usage.sqlite3`` in this user's folder for state (XDG_STATE_HOME, else ``~/.local/state``)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return folder / "ipfs-accelerate" / "usage.sqlite3"


def open_store(where: str | os.PathLike[str] | None = None, durability: str = "normal") -> Store:
    """The database that an address means; nothing is opened yet.

    ``where`` is a path or ``sqlite:///path`` (``sqlite:////absolute``), ``postgresql://user@host/database``, or None
    for `default_path`. ``durability`` "full" makes SQLite wait for the disk at each write, so that a power cut loses no
    more than a killed process does; PostgreSQL does so by itself.

    Raises `ConfigurationError` for another address, `MissingExtra` where PostgreSQL's client is not installed.
    """
    if durability not in DURABILITIES:
        raise ConfigurationError(f"durability is one of {', '.join(DURABILITIES)}, not {durability!r}")
    if where is None:
        where = default_path()
    text = os.fspath(where)
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"a ledger is a path or an address, not {where!r}")
    scheme, mark, rest = text.partition("://")
    if not mark:
        path = text
    elif scheme in ("postgresql", "postgres"):
        from ipfs_accelerate_py.ledger.postgres import PostgresStore

        return PostgresStore(text)
    elif scheme == "sqlite":
        if not rest.startswith("/") or urlsplit(text).netloc:
            raise ConfigurationError("a ledger in SQLite is a path, sqlite:///path, or sqlite:////absolute/path")
        path = unquote(rest[1:])
    else:
        raise ConfigurationError(f"a ledger is in sqlite:// or postgresql://, not in {scheme}://")
    if not path or path.startswith(":memory:"):
        raise ConfigurationError("a ledger needs a file: several connections read and write it")
    from ipfs_accelerate_py.ledger.sqlite import SqliteStore

    return SqliteStore(Path(path).expanduser(), full=durability == "full")
