"""What is asked of a ledger: totals by day, model, key and the like, and what was spent."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.ledger.schema import TABLE
from ipfs_accelerate_py.ledger.stores import Connection, Store

__all__ = ["DIMENSIONS", "Filters", "UsageRow", "prune", "spent", "totals"]

#: What totals can be kept apart by, and the SQL of each; ``tag:NAME`` is one too.
DIMENSIONS: Final = {
    "day": "day",
    "hour": "",  # databases differ in these two
    "month": "",
    "model": "model",
    "alias": "alias",
    "backend": "backend",
    "key": "key_name",
    "tenant": "tenant",
    "caller": "caller",
    "operation": "operation",
    "outcome": "outcome",
    "error": "error",
    "cache": "cache",
    "tier": "tier",
    "priority": "priority",
}
_PRIORITIES: Final = ("HIGH", "NORMAL", "LOW")
_TEXTS: Final = (
    "model",
    "alias",
    "backend",
    "key",
    "tenant",
    "caller",
    "operation",
    "outcome",
    "error",
    "cache",
    "tier",
)


class Filters(msgspec.Struct, kw_only=True, frozen=True):
    """Which calls are meant: those that began at or after ``since`` and before ``until`` (seconds since 1970), and
    whose other columns are these. ``model`` is the one that answered, ``alias`` what was asked for. None is any."""

    since: float | None = None
    until: float | None = None
    model: str | None = None
    alias: str | None = None
    backend: str | None = None
    key: str | None = None
    tenant: str | None = None
    caller: str | None = None
    operation: str | None = None
    outcome: str | None = None
    error: str | None = None
    cache: str | None = None
    tier: str | None = None

    def sql(self) -> tuple[str, list[Any]]:
        """A condition, and its parameters."""
        conditions, parameters = ["1 = 1"], list[Any]()
        for condition, value in (("started >= ?", self.since), ("started < ?", self.until)):
            if value is not None:
                conditions.append(condition)
                parameters.append(float(value))
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None:
                conditions.append(f"{DIMENSIONS[name]} = ?")
                parameters.append(value)
        return " AND ".join(conditions), parameters


class UsageRow(msgspec.Struct, kw_only=True):
    """Totals of the calls that have the same values of what they are grouped by (``group``, in that order).

    Attributes:
        calls: all; ``failures`` and ``cancelled`` are among them. ``cache_hits`` were answered by a cache, or shared.
        input_tokens, ...: of calls that were really made; ``saved_tokens`` of those that a cache spared. The special
            classes are parts of input and output, as in `Usage`.
        cost: US dollars, of the calls whose price is known. ``unpriced`` answers have none.
        saved: US dollars that caches spared.
        p50, p95, mean: seconds until the answer was complete, of calls that succeeded; None where there are none.
    """

    group: dict[str, Any] = {}
    calls: int = 0
    failures: int = 0
    cancelled: int = 0
    cache_hits: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    images: int = 0
    characters: int = 0
    seconds: float = 0.0
    saved_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    saved: float = 0.0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


_SPENT: Final = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "images",
    "characters",
    "seconds",
)
_INTEGERS: Final = frozenset(_SPENT) - {"seconds"}
_SUMS: Final = (
    ("calls", "COUNT(*)"),
    ("failures", "SUM(CASE WHEN outcome = 'failure' THEN 1 ELSE 0 END)"),
    ("cancelled", "SUM(CASE WHEN outcome = 'cancelled' THEN 1 ELSE 0 END)"),
    ("cache_hits", "SUM(CASE WHEN cache <> '' THEN 1 ELSE 0 END)"),
    ("attempts", "SUM(attempts)"),
    *((name, f"SUM(CASE WHEN cache = '' THEN {name} ELSE 0 END)") for name in _SPENT),
    ("saved_tokens", "SUM(CASE WHEN cache <> '' THEN input_tokens + output_tokens ELSE 0 END)"),
    ("cost", "COALESCE(SUM(cost), 0.0)"),
    ("unpriced", "SUM(CASE WHEN cost IS NULL AND outcome = 'success' THEN 1 ELSE 0 END)"),
    ("saved", "SUM(saved)"),
    ("mean", "AVG(CASE WHEN outcome = 'success' THEN latency END)"),
)


def totals(store: Store, connection: Connection, by: Sequence[str], filters: Filters) -> list[UsageRow]:
    """Totals by the values of ``by``, which names `DIMENSIONS` and tags; all together where it is empty.

    Rows are in the order of their values; without calls there are none. Quantiles are exact.
    """
    condition, asked = filters.sql()
    grouped, given = _expressions(store, by)
    columns = "".join(f"{expression} AS g{number}, " for number, expression in enumerate(grouped))
    names = ", ".join(f"g{number}" for number in range(len(grouped)))
    group = f" GROUP BY {names}" if names else ""
    sums = ", ".join(f"{expression} AS {name}" for name, expression in _SUMS)
    lead = f"{names}, " if names else ""
    counted = connection.execute(
        f"SELECT {lead}{sums} FROM (SELECT {columns}c.* FROM {TABLE} AS c WHERE {condition}) AS subset{group}",  # noqa: S608
        [*given, *asked],
    )
    partition = f"PARTITION BY {names} " if names else ""
    quantiles = connection.execute(
        f"SELECT {lead}MIN(CASE WHEN place >= 0.5 * many THEN latency END), "  # noqa: S608
        f"MIN(CASE WHEN place >= 0.95 * many THEN latency END) FROM (SELECT {lead}latency, "
        f"ROW_NUMBER() OVER ({partition}ORDER BY latency) AS place, COUNT(*) OVER ({partition}) AS many "
        f"FROM (SELECT {columns}latency FROM {TABLE} WHERE {condition} AND outcome = 'success') AS subset) AS placed"
        f"{group}",
        [*given, *asked],
    )
    size = len(grouped)
    latencies = {tuple(row[:size]): row[size:] for row in quantiles}
    found = []
    for row in counted:
        if not row[size]:
            continue  # a sum of nothing
        made = UsageRow(group={name: _shown(name, value) for name, value in zip(by, row, strict=False)})
        for (name, _), value in zip(_SUMS, row[size:], strict=True):
            if value is not None:
                setattr(made, name, int(value) if isinstance(getattr(made, name), int) else float(value))
        made.p50, made.p95 = latencies.get(tuple(row[:size]), (None, None))
        found.append(made)
    return sorted(found, key=lambda row: [(value is None, str(value)) for value in row.group.values()])


def _expressions(store: Store, by: Sequence[str]) -> tuple[list[str], list[Any]]:
    found: list[str] = []
    given: list[Any] = []
    for name in by:
        if name in ("month", "hour"):
            found.append(store.expressions[name])
        elif name.startswith("tag:") and len(name) > 4:
            found.append(store.expressions["tag"])
            given.append(name[4:].replace('"', ""))
        elif name in DIMENSIONS:
            found.append(DIMENSIONS[name])
        else:
            raise ConfigurationError(f"usage is by {', '.join(DIMENSIONS)} or tag:NAME, not by {name!r}")
    if len(set(by)) != len(by):
        raise ConfigurationError(f"usage by {', '.join(by)}: one of them comes twice")
    return found, given


def _shown(name: str, value: Any) -> Any:
    if name == "day":
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=int(value))).isoformat()
    if name == "hour":
        return datetime.datetime.fromtimestamp(int(value) * 3600, datetime.UTC).strftime("%Y-%m-%dT%H:00Z")
    if name == "priority":
        return _PRIORITIES[int(value)] if 0 <= int(value) < len(_PRIORITIES) else str(value)
    return value


def spent(connection: Connection, filters: Filters) -> tuple[float, int]:
    """US dollars and tokens of the calls meant; answers from caches cost nothing, and neither do their tokens."""
    condition, parameters = filters.sql()
    [(dollars, tokens)] = connection.execute(
        "SELECT COALESCE(SUM(cost), 0.0), COALESCE(SUM(input_tokens + output_tokens), 0) "  # noqa: S608
        f"FROM {TABLE} WHERE {condition} AND cache = ''",
        parameters,
    )
    return float(dollars), int(tokens)


def prune(connection: Connection, before: float) -> None:
    """Forget the calls that began before an instant (seconds since 1970)."""
    connection.execute(f"DELETE FROM {TABLE} WHERE started < ?", (float(before),))  # noqa: S608
