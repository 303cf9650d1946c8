"""What a configuration says a target costs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ipfs_accelerate_py.gateway import checks, litellm_words
from ipfs_accelerate_py.gateway.entries import ModelEntry
from ipfs_accelerate_py.gateway.yaml_source import Field, Section

__all__ = ["litellm_prices", "one_price_each", "own_price"]


def own_price(section: Section) -> Any:
    """``price``: US dollars for a million tokens, by class; a number alone for both input and output."""
    field = section.take("price")
    return None if field is None else field.checked(_price)


def _price(value: Any) -> Any:
    from ipfs_accelerate_py.prices.overrides import read_override

    read_override("this model", value)
    return value


def litellm_prices(section: Section) -> dict[str, float]:
    """LiteLLM's fields: US dollars for a token, by class."""
    return {
        name: value
        for name in litellm_words.PRICES
        if (field := section.take(name)) is not None and (value := field.checked(checks.number(0))) is not None
    }


def one_price_each(entries: Iterable[ModelEntry], field: Field) -> None:
    """Prices are looked up by backend and model: of two that differ, one would be charged for both."""
    told: dict[str, ModelEntry] = {}
    for entry in entries:
        name = f"{entry.target.backend}/{entry.model}"
        if entry.price is not None and told.setdefault(name, entry).price != entry.price:
            line = int(entry.target.place.rpartition(":")[2])
            where = told[name].target.place
            text = f"{name} has another price at {where}; a price holds for every target of this backend and model"
            field.problems.error(line, "price", text)
