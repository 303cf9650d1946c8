"""Prices of the package genai-prices, as `Price`. It is imported when the first book of prices is made, not before."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ipfs_accelerate_py.errors import MissingExtra
from ipfs_accelerate_py.prices.price import Price, Step

__all__ = ["Package", "prices_installed"]

#: Our classes of tokens by the package's names, dollars for a million.
_TOKENS: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
}
#: Other units by the package's names, and how many of ours make one of them.
_UNITS: Final = {
    "requests_kcount": ("request", 1e3),
    "input_mchars": ("character", 1e6),
    "audio_hours": ("second", 3600.0),
    "input_audio_hours": ("second", 3600.0),
}
#: Ways of being served that have prices of their own, as the package calls them.
_TIERS: Final[Mapping[str, Mapping[str, str]]] = {
    "batch": {"processing": "batch"},
    "fast": {"speed": "fast", "service_tier": "fast"},
}
#: Groq bills ten seconds of a recording at least. (The package knows it too, in its own arithmetic.)
_LEAST_SECONDS: Final = {("groq", "whisper-large-v3"): 10.0, ("groq", "whisper-large-v3-turbo"): 10.0}
#: Seconds for which a price holds that depends on the day or the hour.
_HOLDS: Final = 60.0


def prices_installed() -> bool:
    """Whether genai-prices is there; it is not imported to find out."""
    return importlib.util.find_spec("genai_prices") is not None


class Package:
    """The package's data, read when it is made: some 0.2 s, once in a process.

    Raises `MissingExtra` where it is not installed.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        try:
            from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
        except ImportError:
            raise MissingExtra(
                'prices come from genai-prices, which is not installed: pip install "ipfs-accelerate-py[prices]" '
                "(or give prices of your own, and package=False)"
            ) from None
        self._snapshot: Any = get_snapshot()
        self._by_id: Any = find_provider_by_id
        self._wall = wall
        self.source = f"genai-prices {importlib.metadata.version('genai-prices')}"

    def provider_at(self, base_url: str) -> str | None:
        """The provider that serves at an address; None for one that it does not know."""
        for provider in self._snapshot.providers:
            if re.match(provider.api_pattern, base_url):
                return str(provider.id)
        return None

    def find(self, provider: str, model: str, tier: str = "") -> tuple[Price | None, float | None]:
        """A model's prices, and until when they hold (seconds since 1970) where that is not for good."""
        found = self._by_id(self._snapshot.providers, provider)
        if found is None:
            return None, None
        for name in spellings(model):
            known = found.find_model(name, all_providers=self._snapshot.providers)
            if known is not None:
                return self._price(found, known, tier)
        return None, None

    def _price(self, provider: Any, model: Any, tier: str) -> tuple[Price | None, float | None]:
        now = self._wall()
        context = _TIERS.get(tier, {"service_tier": tier}) if tier else None
        if context is not None and all(model is not own for own in provider.models):
            context = None  # another provider's model: its variants are not this one's
        prices = model.get_prices(datetime.fromtimestamp(now, UTC), context)
        until = now + _HOLDS if isinstance(model.prices, list) else None
        tokens, units, steps = _read(prices)
        if not tokens and not units:
            return None, until
        least = _LEAST_SECONDS.get((provider.id, model.id), 0.0)
        room = model.context_window
        made = Price(tokens, units, steps, least_seconds=least, context=room, source=self.source)
        return made, until


def _read(prices: Any) -> tuple[dict[str, float], dict[str, float], tuple[Step, ...]]:
    tokens: dict[str, float] = {}
    units: dict[str, float] = {}
    stepped: dict[int, dict[str, float]] = {}
    for name, value in vars(prices).items():
        if value is None:
            continue
        base = getattr(value, "base", value)
        if name in _TOKENS:
            tokens[_TOKENS[name]] = float(base) / 1e6
            for tier in getattr(value, "tiers", ()):
                stepped.setdefault(int(tier.start), {})[_TOKENS[name]] = float(tier.price) / 1e6
        elif name in _UNITS:
            unit, many = _UNITS[name]
            units[unit] = float(base) / many
    # A later step's table has what the earlier ones changed, too.
    steps, carried = [], dict[str, float]()
    for start in sorted(stepped):
        carried = {**carried, **stepped[start]}
        steps.append(Step(start, carried))
    return tokens, units, tuple(steps)


def spellings(model: str) -> Iterator[str]:
    """The name as it is, and without what some services and clients put in front of it."""
    yield model
    bare = model.removeprefix("models/")
    if bare != model:
        yield bare
    last = model.rpartition("/")[2]
    if last not in (model, bare):
        yield last
