"""Reading a call's options: each is checked where it is read, and the error names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest

__all__ = ["bad_input", "bad_option", "choice", "flag", "number", "whole", "words"]


def bad_input(message: str) -> InvalidRequest:
    """An error that blames the input."""
    return InvalidRequest(message, status=400, param="input")


def bad_option(name: str, message: str) -> InvalidRequest:
    """An error that blames an option."""
    return InvalidRequest(f"option {name!r} {message}", status=400, param=name)


def whole(options: Mapping[str, Any], name: str, default: int, *, low: int = 0, high: int | None = None) -> int:
    """A whole number of at least ``low`` and at most ``high``; ``default`` where it is not there or None."""
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        raise bad_option(name, f"is a whole number from {low}{'' if high is None else f' to {high}'}, not {value!r}")
    return value


def number(
    options: Mapping[str, Any], name: str, default: float, *, low: float | None = None, high: float | None = None
) -> float:
    """A number of at least ``low`` and at most ``high``; ``default`` where it is not there or None."""
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise bad_option(name, f"is a number, not {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise bad_option(name, f"is out of bounds: {value!r}")
    return float(value)


def flag(options: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """True or False; ``default`` where it is not there or None."""
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad_option(name, f"is true or false, not {value!r}")
    return value


def choice(options: Mapping[str, Any], name: str, allowed: Sequence[str], default: str) -> str:
    """One of the ``allowed`` words; ``default`` where it is not there or None."""
    value = options.get(name)
    if value is None:
        return default
    if value not in allowed:
        raise bad_option(name, f"is one of {', '.join(allowed)}, not {value!r}")
    return str(value)


def words(options: Mapping[str, Any], name: str, why: str) -> list[str]:
    """A list of texts, at least one; a single text is split at commas. ``why`` ends the error where there is none."""
    value = options.get(name)
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",") if each.strip()]
    if value is None or isinstance(value, str | bytes) or not isinstance(value, Sequence) or not value:
        raise bad_option(name, f"is needed: {why}")
    if not all(isinstance(each, str) and each for each in value):
        raise bad_option(name, "is a list of texts, none of them empty")
    return list(value)
