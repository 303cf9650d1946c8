"""A ledger in PostgreSQL, by psycopg 3 (the extra ``[postgres]``)."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from ipfs_accelerate_py.ledger.rows import COLUMNS, NAMES, Row
from ipfs_accelerate_py.ledger.schema import TABLE, VERSIONS, is_current, migrate

__all__ = ["PostgresStore"]

_KINDS: Final = {"text": "text", "real": "double precision", "int": "bigint"}
#: Seconds to connect, and for a statement; a server that has gone is noticed in about as long.
_CONNECT, _STATEMENT = 5, 10
#: Only one process at a time makes tables; any number will do, so long as it is the same.
_LOCK: Final = 0x69706673
_NAMES: Final = ", ".join(NAMES)
_TYPES: Final = ", ".join(f"{name} {_KINDS[kind.rstrip('?')]}" for name, kind in COLUMNS)
#: All rows of a batch as one parameter, so that one statement and one answer cross the network.
_INSERT: Final = (
    f"INSERT INTO {TABLE} ({_NAMES}) SELECT {_NAMES} FROM json_to_recordset(%s::json) AS given ({_TYPES}) "  # noqa: S608
    "ON CONFLICT (uid) DO NOTHING"
)
_encode = msgspec.json.Encoder().encode


class PostgresStore:
    """A database; ``url`` as libpq takes it. Its password is in no name or message of ours."""

    expressions: Mapping[str, str] = {
        "month": "to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYY-MM')",
        "hour": "FLOOR(started / 3600)::bigint",
        "tag": "(tags::json ->> ?::text)",
    }

    def __init__(self, url: str) -> None:
        if importlib.util.find_spec("psycopg") is None:
            raise MissingExtra(
                "a ledger in PostgreSQL needs psycopg, which is not installed: "
                'pip install "ipfs-accelerate-py[postgres]"'
            )
        self._url = url
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ConfigurationError("the ledger's address is no URL of PostgreSQL's") from None
        self.name = f"postgresql://{host}{f':{port}' if port else ''}{parts.path}"
        from ipfs_accelerate_py.ledger.stores import default_path

        digest = hashlib.sha256(f"{self.name}?{parts.username}".encode()).hexdigest()[:12]
        self.spill_to: Path = default_path().with_name(f"postgres-{digest}")

    @property
    def data_errors(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (psycopg.DataError, psycopg.IntegrityError, OverflowError, UnicodeError)

    def connect(self) -> PostgresConnection:
        import psycopg

        connection = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=_CONNECT,
            application_name="ipfs-accelerate ledger",
            keepalives_idle=30,
            tcp_user_timeout=_STATEMENT * 1000,
            options=f"-c statement_timeout={_STATEMENT * 1000} -c lock_timeout={_CONNECT * 1000}",
        )
        try:
            made = PostgresConnection(connection)
            there = made.execute("SELECT to_regclass(?) IS NOT NULL", (VERSIONS,))[0][0]
            if not there or not is_current(made.execute):
                with connection.transaction():
                    made.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
                    migrate(made.execute, _KINDS, self.name)
        except BaseException:
            connection.close()
            raise
        return made

    def __repr__(self) -> str:
        return f"PostgresStore({self.name!r})"  # without the password


class PostgresConnection:
    """See `stores.Connection`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        # A percent sign of ours is no placeholder.
        cursor = self._connection.execute(sql.replace("%", "%%").replace("?", "%s"), parameters)
        return list(cursor.fetchall()) if cursor.description is not None else []

    def insert(self, rows: Sequence[Row]) -> None:
        batch = _encode([dict(zip(NAMES, row, strict=True)) for row in rows]).decode()
        self._connection.execute(_INSERT, (batch,))

    def close(self) -> None:
        self._connection.close()
