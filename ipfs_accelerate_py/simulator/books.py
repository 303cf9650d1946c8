"""What the simulated provider has served, and would bill: its own account, to hold other people's books against.

It counts what was said in the answers' own usage. Of an answer that its client did not get whole (cut by a fault, or
left early) it counts the whole prompt and the tokens that were produced until then, as providers bill them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .wire import Request

__all__ = ["PRICES", "Books", "Served"]

#: US dollars for a million tokens: of the prompt, of the prompt where it was cached, and of the answer. Made up where a
#: model is not among them (see ``Books.rates``): a simulator's prices are to be checked by, not to be paid.
PRICES: Final[Mapping[str, tuple[float, float, float]]] = {
    "gpt-4o": (2.5, 1.25, 10.0),
    "gpt-4o-mini": (0.15, 0.075, 0.6),
    "o3-mini": (1.1, 0.55, 4.4),
    "text-embedding-3-small": (0.02, 0.02, 0.0),
    "claude-haiku-4-5": (1.0, 0.1, 5.0),
    "claude-sonnet-4-5": (3.0, 0.3, 15.0),
}


@dataclass(slots=True)
class Served:
    """Totals of answers with usage. ``input_tokens`` are all of the prompt's, those that were read from the cache or
    written to it among them; ``complete`` of the ``requests`` were answered to their end."""

    requests: int = 0
    complete: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def add(self, other: Served) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Books:
    """Totals by minute, model, key and kind ("completions" or "embeddings")."""

    def __init__(self, prices: Mapping[str, tuple[float, float, float]] | None = None) -> None:
        self.prices = {**PRICES, **(prices or {})}
        self._served: dict[tuple[int, str, str, str], Served] = {}

    def add(self, request: Request) -> None:
        """Enter a request that is over."""
        raw = request.usage
        if raw is None or not 200 <= request.status < 300:
            return
        one = _read(raw)
        if request.complete:
            one.complete = 1
        elif isinstance(request.body, dict) and request.body.get("stream"):
            one.output_tokens = min(one.output_tokens, request.streamed_tokens)
            one.reasoning_tokens = min(one.reasoning_tokens, one.output_tokens)
        kind = "embeddings" if request.path.endswith("embeddings") else "completions"
        place = (int(request.at // 60), request.model, request.key or "", kind)
        found = self._served.get(place)
        if found is None:
            self._served[place] = one
        else:
            found.add(one)

    def between(self, start: float, end: float, kind: str | None = None) -> Iterator[tuple[str, str, Served]]:
        """Model, key and totals of each minute that begins in a stretch of time (seconds since 1970)."""
        for (minute, model, key, what), served in self._served.items():
            if start <= minute * 60 < end and kind in (None, what):
                yield model, key, served

    def totals(self, by: str = "model") -> dict[str, Served]:
        """All that was served, by ``model`` or by ``key``."""
        found: dict[str, Served] = {}
        for (_, model, key, _), served in self._served.items():
            found.setdefault(model if by == "model" else key, Served()).add(served)
        return found

    def rates(self, model: str) -> tuple[float, float, float]:
        """Dollars for a million tokens, of the prompt, of the cached prompt, of the answer."""
        # A snapshot (gpt-4o-2024-08-06) costs what its model does.
        named = [name for name in self.prices if model == name or model.startswith(f"{name}-2")]
        return self.prices[max(named, key=len)] if named else (1.0, 0.5, 2.0)

    def amount(self, model: str, served: Served) -> float:
        """What they cost, in dollars. (What is written to the cache costs a quarter more than the rest.)"""
        whole, cached, made = self.rates(model)
        plain = served.input_tokens - served.cached_tokens - served.cache_write_tokens
        prompt = plain * whole + served.cached_tokens * cached + served.cache_write_tokens * whole * 1.25
        return (prompt + served.output_tokens * made) / 1e6


def _read(raw: Mapping[str, Any]) -> Served:
    """Usage as OpenAI's formats or Anthropic's report it."""
    if "cache_read_input_tokens" in raw:
        read, written = raw["cache_read_input_tokens"], raw["cache_creation_input_tokens"]
        thought = (raw.get("output_tokens_details") or {}).get("thinking_tokens", 0)
        return Served(1, 0, raw["input_tokens"] + read + written, read, written, raw["output_tokens"], thought)
    given = raw.get("prompt_tokens", raw.get("input_tokens", 0))
    made = raw.get("completion_tokens", raw.get("output_tokens", 0))
    details = raw.get("prompt_tokens_details") or raw.get("input_tokens_details") or {}
    more = raw.get("completion_tokens_details") or raw.get("output_tokens_details") or {}
    return Served(1, 0, given, details.get("cached_tokens", 0), 0, made, more.get("reasoning_tokens", 0))
