"""`PriceBook`: what calls cost, and at most may cost. It is a `Pricer`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.estimates import bound_input, most_output
from ipfs_accelerate_py.prices.overrides import Override, read_override, read_prices
from ipfs_accelerate_py.prices.package import Package
from ipfs_accelerate_py.prices.price import Price
from ipfs_accelerate_py.types import Call, Cost, ImageRequest, Operation, SpeechRequest, TranscriptionRequest, Usage

__all__ = ["LOCAL", "PriceBook"]

#: What runs in this process or on servers of one's own: it costs nothing here (electricity is on another bill).
LOCAL: Final = frozenset(("local", "ollama", "hf_tgi", "hf_tei", "llvm", "ovms", "opea", "s3_kit"))
#: Where services with the formats of these are somebody else's after all, and what they cost is not known.
_HOSTED: Final = ("huggingface.co", "huggingface.cloud", "ollama.com")
#: What genai-prices calls the providers of our backends.
_PROVIDERS: Final = {"openai": "openai", "claude": "anthropic", "groq": "groq", "gemini": "google"}
#: Calls that are never billed.
_FREE: Final = frozenset((Operation.MODELS, Operation.COUNT, Operation.STORE))
#: Models remembered at once: their names come from callers.
_MOST: Final = 4096
#: Bytes of a second of a recording, at least: eight kilobits a second is less than people record speech with.
_BYTES_PER_SECOND: Final = 1000


class PriceBook:
    """Prices by backend and model, from genai-prices and from ``overrides``, which go first.

    ::

        book = PriceBook({"gpt-4o": {"input": 2.0, "output": 8.0}, "openai/*": {"cached": 0.5}, "smart": 1.0})

    Args:
        overrides: prices by name, or a file of them (`read_prices`). A name is an alias, ``backend/model``, a model,
            ``backend/*`` or ``*``, and they are looked for in that order; `read_override` says what a price may be.
        package: read genai-prices; without it only what ``overrides`` has is known, and local backends.
        default_output: tokens that an answer is taken to have at most where its request sets no limit, for `estimate`.
        wall: seconds since 1970, for prices that change with day and hour.

    Backends of one's own servers cost 0 (``source`` is "local"), unless ``overrides`` has them.

    Raises `MissingExtra` where genai-prices is wanted and not installed, `ConfigurationError` for wrong prices.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        package: bool = True,
        default_output: int = 16_384,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._package = Package(wall) if package else None
        self._wall = wall
        self.default_output = default_output
        self._providers: dict[tuple[str, str], str | None] = {}
        self._overrides: dict[str, Override] = {}
        self._known: dict[tuple[str, str, str, str], tuple[Price | None, float | None]] = {}
        if isinstance(overrides, str | os.PathLike):
            overrides = read_prices(overrides)
        for name, given in (overrides or {}).items():
            self.override(name, given)

    # --- what is known -------------------------------------------------------------------------------------------

    def override(self, name: str, given: Any) -> None:
        """Set the price of an alias, ``backend/model``, model, ``backend/*`` or ``*`` (see `read_override`)."""
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"prices are set by name of a model or alias, not {name!r}")
        self._overrides[name] = read_override(name, given)
        self._known.clear()

    def locate(self, backend: str, base_url: str, model: str = "") -> None:
        """Say where a backend is: another provider's prices hold at another provider's address (OpenRouter by the
        backend ``openai``, for instance). With ``model``, of that model alone."""
        provider: str | None = None
        if self._package is not None:
            provider = self._package.provider_at(base_url)
        host = urlsplit(base_url).hostname or ""
        if provider is None and backend in LOCAL and host.endswith(_HOSTED):
            provider = ""
        if provider is not None:
            self._providers[backend, model] = provider
            self._known.clear()

    def find(self, backend: str, model: str, alias: str = "", tier: str = "") -> Price | None:
        """The prices that hold for a model now; None where none are known."""
        key = (backend, model, alias, tier)
        found = self._known.get(key)
        if found is None or (found[1] is not None and found[1] <= self._wall()):
            if len(self._known) >= _MOST:
                self._known.clear()
            found = self._known[key] = self._look_up(backend, model, alias, tier)
        return found[0]

    def _look_up(self, backend: str, model: str, alias: str, tier: str) -> tuple[Price | None, float | None]:
        price, until = self._listed(backend, model, tier)
        for name in (alias, f"{backend}/{model}", model, f"{backend}/*", "*"):
            override = self._overrides.get(name) if name else None
            if override is not None:
                return override.over(None if price is not None and price.source == "local" else price), until
        return price, until

    def _listed(self, backend: str, model: str, tier: str) -> tuple[Price | None, float | None]:
        provider = self._providers.get((backend, model), self._providers.get((backend, "")))
        if provider is None:
            if backend in LOCAL:
                return _LOCAL_PRICE, None
            provider = _PROVIDERS.get(backend, backend)
        if self._package is None or not provider:
            return None, None
        return self._package.find(provider, model, tier)

    # --- Pricer --------------------------------------------------------------------------------------------------

    def cost(self, backend: str, model: str, usage: Usage, alias: str = "") -> Cost | None:
        """What a call came to, or None where no price is known, or nobody counted what the call used."""
        price = self.find(backend, model, alias, usage.tier)
        if price is None:
            return None
        if price is _LOCAL_PRICE:
            return Cost(0.0, {}, "local")
        return price.cost(usage)

    def estimate(self, call: Call, backend: str, model: str) -> float | None:
        """US dollars that a call may cost at most, before it is made; None where no price is known.

        Every byte of the input is taken for a token (but no more than the model's context holds, where that is known),
        at the price of the dearest class; the answer is taken to be as long as the request lets it be, and
        ``default_output`` tokens where it does not say; so often as choices are asked for.
        """
        if call.operation in _FREE:
            return 0.0
        price = self.find(backend, model, call.alias)
        if price is None:
            return None
        if price is _LOCAL_PRICE:
            return 0.0
        return _bound(call, price, self.default_output)


def _bound(call: Call, price: Price, default_output: int) -> float | None:
    request, units = call.request, price.units
    fixed = units.get("request", 0.0)
    if isinstance(request, SpeechRequest) and "character" in units:
        return fixed + (len(request.input) or bound_input(call)) * units["character"]
    if isinstance(request, ImageRequest) and "image" in units:
        return fixed + _number(call, "n") * units["image"]
    if isinstance(request, TranscriptionRequest) and "second" in units:
        size = len(call.passthrough.body) if call.passthrough is not None else len(request.audio)
        return fixed + max(price.least_seconds, size / _BYTES_PER_SECOND) * units["second"]
    rate = price.most_input
    if rate is None:
        return fixed if "request" in units else None
    given = bound_input(call)
    if price.context is not None:
        given = min(given, price.context)
    made = price.most_output
    if made is None or call.operation is Operation.EMBED:
        return fixed + given * rate
    choices = max(_number(call, "n"), _number(call, "best_of"))
    return fixed + given * rate + (most_output(call) or default_output) * choices * made


def _number(call: Call, name: str) -> int:
    value = call.request.options.get(name)
    return value if type(value) is int and value > 1 else 1


_LOCAL_PRICE: Final = Price({"input": 0.0, "output": 0.0}, source="local")
