"""Headers that say when to come back and how much is left; the same for every dialect."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from ipfs_accelerate_py.types import RateLimits

__all__ = ["duration", "rate_limits", "retry_after", "should_retry"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds the provider asks us to wait, or None.

    ``retry-after-ms`` is read before ``retry-after``, which may be seconds (also with a fraction) or an HTTP date
    (RFC 9110, 10.2.3). ``now`` is wall-clock time, for dates.
    """
    value = headers.get("retry-after-ms")
    if value is not None and (milliseconds := _number(value)) is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    from email.utils import parsedate_to_datetime  # heavy, and dates are rare

    try:
        at = parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, at - (time.time() if now is None else now))


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """The provider's own verdict (``x-should-retry``), which overrides ours both ways; None where it gives none."""
    value = headers.get("x-should-retry")
    return None if value is None else {"true": True, "false": False}.get(value.strip().lower())


def duration(text: str) -> float | None:
    """Seconds of a duration such as ``6m0s``, ``1d2h``, ``120ms`` or a plain number; None for anything else."""
    plain = _number(text)
    if plain is not None:
        return plain
    text = text.strip()
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """OpenAI's headers ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, or None where there are none."""
    requests = headers.get("x-ratelimit-limit-requests")
    tokens = headers.get("x-ratelimit-limit-tokens")
    if requests is None and tokens is None:
        return None

    def number(name: str) -> float | None:
        value = headers.get(name)
        return None if value is None else _number(value)

    def reset(name: str) -> float | None:
        value = headers.get(name)
        return None if value is None else duration(value)

    return RateLimits(
        requests_limit=number("x-ratelimit-limit-requests"),
        requests_remaining=number("x-ratelimit-remaining-requests"),
        requests_reset=reset("x-ratelimit-reset-requests"),
        tokens_limit=number("x-ratelimit-limit-tokens"),
        tokens_remaining=number("x-ratelimit-remaining-tokens"),
        tokens_reset=reset("x-ratelimit-reset-tokens"),
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e9 else None
