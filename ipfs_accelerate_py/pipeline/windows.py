"""The times over which budgets run: they begin and end where the calendar's do, in UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["PERIODS", "check_period", "window"]

PERIODS = ("minute", "hour", "day", "week", "month", "total")


def check_period(value: str) -> str:
    """One of `PERIODS`, or a `ConfigurationError`."""
    if value not in PERIODS:
        raise ConfigurationError(f"per must be one of {', '.join(PERIODS)}, not {value!r}")
    return value


def window(period: str, now: float) -> tuple[float, float]:
    """Begin and end (seconds since 1970) of the minute, hour, day, week (from Monday) or month that ``now`` is in.

    ``total`` is all time: from 0 to infinity.
    """
    if period == "total":
        return 0.0, math.inf
    if period == "minute":
        begin = now // 60 * 60
        return begin, begin + 60
    if period == "hour":
        begin = now // 3600 * 3600
        return begin, begin + 3600
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day.timestamp(), (day + timedelta(days=1)).timestamp()
    if period == "week":
        monday = day - timedelta(days=day.weekday())
        return monday.timestamp(), (monday + timedelta(days=7)).timestamp()
    first = day.replace(day=1)
    following = (
        first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
    )
    return first.timestamp(), following.timestamp()
