"""Checks of the values in a configuration's sections: each raises `ValueError` with what the value must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["flag", "number", "one_of", "optional", "share", "text", "texts", "whole"]


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text, not {value!r}")
    return value.strip()


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts; one alone is a list of one."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not all(isinstance(each, str) and each for each in given):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(given)


def number(least: float | None = 0, *, more: bool = False) -> Callable[[Any], float]:
    """A number of at least ``least``, or of ``more`` than that."""

    def check(value: Any) -> float:
        if isinstance(value, str):
            value = _of_text(value)  # YAML reads 1e-06 as a text
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"must be a number, not {value!r}")
        if least is not None and (value < least or (more and value == least)):
            raise ValueError(f"must be a number of {'more than' if more else 'at least'} {least:g}, not {value!r}")
        return float(value)

    return check


def _of_text(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def whole(least: int = 1) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number of at least {least}, not {value!r}")
        return value

    return check


def share(value: Any) -> float:
    found = number(0)(value)
    if found > 1:
        raise ValueError(f"must be a share from 0 to 1, not {value!r}")
    return found


def one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {value!r}")
        return str(value)

    return check


def optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same, or a text that the section itself explains (p95, INFO)."""

    def checked(value: Any) -> Any:
        return value.strip() if isinstance(value, str) else check(value)

    return checked
