"""The gateway's own fields: one check a kind, for YAML, environment and flags alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["FIELDS"]


def _host(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "/" in value:
        raise ValueError("must be a host name or address, such as 127.0.0.1 (or 0.0.0.0 for every interface)")
    return value.strip().removeprefix("[").removesuffix("]")


def _port(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ValueError(f"must be a port number from 0 (any free one) to 65535, not {value!r}")
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1024:
        raise ValueError(f"must be a whole number of bytes of at least 1024, not {value!r}")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"must be a number of seconds, not {value!r}")
    return float(value)


def _some_seconds(value: Any) -> float:
    if _seconds(value) == 0:
        raise ValueError("must be more than 0 seconds")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def _names(value: Any) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if value is None or value is False:
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        raise ValueError("must be a model's name or a list of them")
    return tuple(given)


FIELDS: dict[str, Callable[[Any], Any]] = {
    "host": _host,
    "port": _port,
    "max_body_bytes": _bytes,
    "max_header_bytes": _bytes,
    "header_timeout": _some_seconds,
    "body_timeout": _some_seconds,
    "keep_alive_timeout": _some_seconds,
    "write_timeout": _some_seconds,
    "shutdown_timeout": _seconds,
    "shutdown_delay": _seconds,
    "environment": _flag,
    "local": _flag,
    "preload": _names,
}
