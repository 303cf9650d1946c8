"""What commands about the ledger share: which one, from when until when, and money as people read it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import option

if TYPE_CHECKING:
    from ipfs_accelerate_py.ledger import Ledger

__all__ = ["find_ledger", "ledger_options", "money", "written_option"]

F = TypeVar("F", bound=Callable[..., Any])

LEDGER_VARIABLE = "IPFS_ACCELERATE_LEDGER"
_DAY = 86400
_UNITS = {"m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY}
_SPAN = re.compile(r"(\d+)\s*([mhdw])")


def _instant(ctx: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Seconds since 1970: of a span back from now, a date, or an instant (ISO 8601; UTC where it does not say)."""
    if text is None:
        return None
    now = time.time()
    midnight = now // _DAY * _DAY
    if text in ("today", "yesterday"):
        return midnight - _DAY * (text == "yesterday")
    span = _SPAN.fullmatch(text)
    if span is not None:
        number, unit = int(span[1]), span[2]
        if unit in "dw":  # whole days, today among them
            return midnight - (number * _UNITS[unit] - _DAY)
        return now - number * _UNITS[unit]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no 7d, 12h, today, 2026-01-31 or 2026-01-31T12:00") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def ledger_options(since: str | None) -> Callable[[F], F]:
    """``--ledger``, ``--since`` and ``--until``; ``since`` is what ``--since`` is by default."""

    def decorate(function: F) -> F:
        for each in (
            option(
                "--ledger",
                metavar="PATH|URL",
                envvar=LEDGER_VARIABLE,
                show_default=False,
                section="Which calls",
                help=f"The ledger: a path, or postgresql://...  [default: {LEDGER_VARIABLE}, or this user's own]",
            ),
            option(
                "--since",
                metavar="WHEN",
                default=since,
                callback=_instant,
                section="Which calls",
                help="From then on: 7d (days of UTC, today among them), 12h, 30m, today, yesterday, or a date.",
            ),
            option(
                "--until",
                metavar="WHEN",
                callback=_instant,
                section="Which calls",
                help="Up to then, written in the same way.",
            ),
        ):
            function = each(function)
        return function

    return decorate


def written_option(section: str) -> Callable[[F], F]:
    """``--ledger`` for a command that makes calls. Nothing is written where neither it nor the variable says so."""
    return option(
        "--ledger",
        metavar="PATH|URL",
        envvar=LEDGER_VARIABLE,
        show_default=False,
        section=section,
        help=f"Write the calls into this ledger, which `ipfs-accelerate usage` reads: a path, or postgresql://...  "
        f"[default: {LEDGER_VARIABLE}, else none]",
    )


def find_ledger(where: str | None) -> Ledger:
    """The ledger to read. One that is not there is an error: nothing is made by asking."""
    from ipfs_accelerate_py.ledger import Ledger
    from ipfs_accelerate_py.ledger.sqlite import SqliteStore

    ledger = Ledger(where)
    if isinstance(ledger.store, SqliteStore) and not ledger.store.path.exists():
        raise click.UsageError(
            f"there is no ledger at {ledger.store.path}: a client's open_ledger() makes one, and so do the section "
            "'ledger' of a gateway's configuration and --ledger of chat and embed; --ledger names another one"
        )
    return ledger


def money(dollars: float) -> str:
    """Dollars with as many digits as say something: cents for large sums, two significant digits of the smallest."""
    if dollars == 0:
        return "0.00"
    size = abs(dollars)
    if size >= 100:
        return f"{dollars:,.2f}"
    if size >= 0.01:
        return f"{dollars:.4f}"
    return f"{dollars:.8f}".rstrip("0") if size >= 1e-7 else f"{dollars:.1e}"
