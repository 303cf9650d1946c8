"""Reading a time series: its values, which of them were observed, and what is known beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .pictures import refuse

__all__ = ["Series", "read_series"]

#: Most values of one series: steps times variables.
MAX_VALUES = 10_000_000


@dataclass(frozen=True, slots=True)
class Series:
    """One series.

    Attributes:
        values: steps x variables, float32; 0 where nothing was observed.
        seen: of the same shape, whether it was observed.
        flat: whether it came as a plain list of numbers.
        also: what else the caller gave, by name.
    """

    values: Any
    seen: Any
    flat: bool
    also: Mapping[str, Any]

    def last(self, steps: int) -> tuple[Any, Any]:
        """Values and mask of the last so many steps; steps before the first are unobserved."""
        np = require("numpy")
        lack = steps - len(self.values)
        if lack <= 0:
            return self.values[-steps:], self.seen[-steps:]
        pad = ((lack, 0), (0, 0))
        return np.pad(self.values, pad), np.pad(self.seen, pad)

    def rows(self, name: str, steps: int, width: int) -> Any:
        """Features of each of the last so many steps: steps x width. Unobserved ones before the first are 0."""
        np = require("numpy")
        if not width:
            return np.zeros((steps, 0), dtype="float32")
        found = _floats(self.also.get(name), name, f"{width} numbers for each of {steps} steps")
        found = found.reshape(-1, 1) if found.ndim == 1 and width == 1 else found
        if found.ndim != 2 or found.shape[1] != width or (len(found) < steps and name.startswith("future")):
            raise refuse(f"{name} has the shape {found.shape}; this model needs ({steps}, {width})", name)
        if name.startswith("future"):
            return found[:steps]
        return np.pad(found[-steps:], ((max(0, steps - len(found)), 0), (0, 0)))

    def row(self, name: str, width: int) -> Any:
        """Features of the whole series."""
        found = _floats(self.also.get(name), name, f"{width} numbers").reshape(-1)
        if len(found) != width:
            raise refuse(f"{name} has {len(found)} entries; this model needs {width}", name)
        return found


def read_series(given: Any) -> Series:
    """A series from numbers, rows of numbers, or a mapping with these as ``past_values``.

    Raises:
        InvalidRequest: it is none of these, is empty, or has a value that is infinite.
    """
    np = require("numpy")
    also = given if isinstance(given, Mapping) else {}
    values = _floats(given.get("past_values") if isinstance(given, Mapping) else given, "past_values", "numbers")
    flat = values.ndim == 1
    values = values.reshape(-1, 1) if flat else values
    if values.ndim != 2 or not values.size or values.size > MAX_VALUES:
        raise refuse(f"past_values has the shape {values.shape}; a series is steps, or steps x variables", "input")
    if np.isinf(values).any():
        raise refuse("past_values has infinite values", "input")
    seen = ~np.isnan(values)
    if isinstance(also.get("past_observed_mask"), list | tuple) or hasattr(also.get("past_observed_mask"), "shape"):
        told = _floats(also["past_observed_mask"], "past_observed_mask", "0 and 1").reshape(values.shape)
        seen = seen & (told > 0)
    if not seen.any():
        raise refuse("past_values has no value that was observed", "input")
    return Series(np.where(seen, values, 0).astype("float32"), seen, flat, also)


def _floats(given: Any, name: str, what: str) -> Any:
    np = require("numpy")
    if given is None:
        raise refuse(f"{name} must be given: {what}", name)
    try:
        return np.asarray(given, dtype="float32")
    except (TypeError, ValueError) as exc:
        raise refuse(f"{name} must be {what}: {exc}", name) from exc
