"""Prices as people write them: in a dictionary, or in a file of YAML or JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, Final

from ipfs_accelerate_py.errors import ConfigurationError, MissingExtra
from ipfs_accelerate_py.prices.price import CLASSES, Price, Step

__all__ = ["Override", "read_override", "read_prices"]

#: Dollars for one token, by the names that LiteLLM's configuration has for them.
_PER_TOKEN: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
}
_PER_UNIT: Final = {
    "input_cost_per_request": "request",
    "input_cost_per_second": "second",
    "input_cost_per_character": "character",
    "output_cost_per_image": "image",
}
#: Our own names of what is no token, and how many of `price.UNITS` the price is for.
_UNITS: Final = {"request": ("request", 1.0), "image": ("image", 1.0), "second": ("second", 1.0)}
_MORE_UNITS: Final = {"minute": ("second", 60.0), "million_characters": ("character", 1e6)}
_NAMES: Final = (*CLASSES, *_UNITS, *_MORE_UNITS, "steps", "per", *_PER_TOKEN, *_PER_UNIT)


class Override:
    """What of a model's prices is another than elsewhere."""

    def __init__(self, tokens: dict[str, float], units: dict[str, float], steps: tuple[Step, ...]) -> None:
        self.tokens = tokens
        self.units = units
        self.steps = steps

    def over(self, price: Price | None) -> Price:
        """A price with these in the place of its own. Who names a price of input or output names it whole: classes of
        that side which are not named follow it, and steps of length are gone."""
        if price is None:
            return Price(self.tokens, self.units, self.steps, source="override")
        kept = {name: rate for name, rate in price.tokens.items() if _side(name) not in self.tokens}
        steps = self.steps or (() if self.tokens else price.steps)
        whole = "input" in self.tokens and "output" in self.tokens
        return Price(
            {**kept, **self.tokens},
            {**price.units, **self.units},
            steps,
            least_seconds=price.least_seconds,
            context=price.context,
            source="override" if whole else f"{price.source} + override",
        )


def read_override(name: str, given: Any) -> Override:
    """One model's prices.

    ``{"input": 2.5, "output": 10, "cached": 1.25}`` are dollars for a million tokens (``"per": "token"``: for one),
    with any of the classes of `price.CLASSES`; ``request``, ``image``, ``second``, ``minute`` and
    ``million_characters`` are for one of these; ``steps`` is a list of ``{"above": 200000, "input": ..., ...}``.
    LiteLLM's ``input_cost_per_token`` and the like are understood too. A number alone is the price of both input and
    output; 0 is free.
    """
    if _is_price(given):
        both = float(given) / 1e6
        return Override({"input": both, "output": both}, {}, ())
    if isinstance(given, bool) or not isinstance(given, Mapping):
        raise ConfigurationError(f"the prices of {name!r} must be a table of prices, or a number, not {given!r}")
    per = given.get("per", "million")
    if per not in ("million", "token"):
        raise ConfigurationError(f"the prices of {name!r} are per 'million' or per 'token', not {per!r}")
    many = 1e6 if per == "million" else 1.0
    tokens: dict[str, float] = {}
    units: dict[str, float] = {}
    steps: list[Step] = []
    for key, value in given.items():
        if key == "per":
            continue
        if key == "steps":
            steps = [_step(name, each, many) for each in (value if isinstance(value, list) else [value])]
        elif not _is_price(value):
            raise ConfigurationError(f"the price {key!r} of {name!r} must be a number of at least 0, not {value!r}")
        elif key in CLASSES:
            tokens[key] = value / many
        elif key in _PER_TOKEN:
            tokens[_PER_TOKEN[key]] = float(value)
        elif key in _PER_UNIT:
            units[_PER_UNIT[key]] = float(value)
        elif key in _UNITS or key in _MORE_UNITS:
            unit, size = _UNITS.get(key) or _MORE_UNITS[key]
            units[unit] = value / size
        else:
            raise ConfigurationError(f"the prices of {name!r} have no {key!r}; there are: {', '.join(_NAMES)}")
    if not tokens and not units and not steps:
        raise ConfigurationError(f"the prices of {name!r} are empty; 0 makes it free")
    return Override(tokens, units, tuple(steps))


def _step(name: str, given: Any, many: float) -> Step:
    if not isinstance(given, Mapping) or type(given.get("above")) is not int:
        raise ConfigurationError(f"a step of {name!r} needs 'above', a number of tokens, and prices; not {given!r}")
    tokens = {key: value for key, value in given.items() if key != "above"}
    for key, value in tokens.items():
        if key not in CLASSES or not _is_price(value):
            raise ConfigurationError(f"a step of {name!r} has prices by class of tokens, not {key}: {value!r}")
    return Step(given["above"], {key: value / many for key, value in tokens.items()})


def _side(name: str) -> str:
    while CLASSES[name]:
        name = CLASSES[name]
    return name


def _is_price(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def read_prices(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A file of prices: an object by name, in JSON or (with the extra ``[prices]``) YAML.

    Raises `ConfigurationError` where it cannot be read or is something else.
    """
    name = os.fspath(path)
    try:
        with open(name, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigurationError(f"the file of prices {name} cannot be read: {reason}") from None
    found: Any
    if name.endswith((".yaml", ".yml")):
        try:
            import yaml
        except ImportError:
            raise MissingExtra(
                f'{name} is YAML, which needs PyYAML: pip install "ipfs-accelerate-py[prices]", or write it in JSON'
            ) from None
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigurationError(f"the file of prices {name} is no YAML: {error}") from None
    else:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"the file of prices {name} is no JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigurationError(f"the file of prices {name} must hold prices by name of model")
    return found
