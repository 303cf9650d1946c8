"""The tables, and the steps by which a database of an older version becomes one of this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.ledger.rows import COLUMNS

__all__ = ["MIGRATIONS", "TABLE", "VERSIONS", "is_current", "migrate"]

TABLE: Final = "ledger_calls"
VERSIONS: Final = "ledger_version"
_INDEXES: Final = ("started", "tenant, started", "caller, started", "alias, started", "model, day", "key_name, day")


def _first(kinds: Mapping[str, str]) -> list[str]:
    columns = []
    for name, kind in COLUMNS:
        optional = kind.endswith("?")
        primary = " PRIMARY KEY" if name == "uid" else ""
        columns.append(f"{name} {kinds[kind.rstrip('?')]}{'' if optional else ' NOT NULL'}{primary}")
    made = [f"CREATE TABLE {TABLE} ({', '.join(columns)})"]
    for index in _INDEXES:
        name = index.replace(", ", "_")
        made.append(f"CREATE INDEX {TABLE}_by_{name} ON {TABLE} ({index})")
    return made


#: Statements that lead from each version to the next; version 0 is an empty database. Never change one that has been
#: released: add another.
MIGRATIONS: Final[Sequence[Callable[[Mapping[str, str]], list[str]]]] = (_first,)


def is_current(execute: Callable[..., Sequence[Sequence[Any]]]) -> bool:
    """Whether there is nothing to migrate; to ask it takes no lock."""
    return bool(execute(f"SELECT MAX(version) FROM {VERSIONS}")[0][0] == len(MIGRATIONS))  # noqa: S608


def migrate(execute: Callable[..., Sequence[Sequence[Any]]], kinds: Mapping[str, str], name: str) -> None:
    """Bring a database up to date, inside a transaction that the caller holds, and that keeps others out.

    Raises `ConfigurationError` for a database that a later version of this package has changed.
    """
    execute(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (version {kinds['int']} NOT NULL)")
    found = execute(f"SELECT MAX(version) FROM {VERSIONS}")  # noqa: S608
    version = found[0][0] or 0
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"the ledger {name} is of version {version}, and this package knows versions up to {len(MIGRATIONS)}: "
            "install a newer ipfs-accelerate-py, or use another ledger"
        )
    for number in range(version, len(MIGRATIONS)):
        for statement in MIGRATIONS[number](kinds):
            execute(statement)
        execute(f"INSERT INTO {VERSIONS} (version) VALUES ({number + 1})")  # noqa: S608
