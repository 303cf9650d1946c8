"""What a call has used and what that costs, and what a provider says of its limits."""

from __future__ import annotations

import msgspec

__all__ = ["Cost", "RateLimits", "Usage"]


class Usage(msgspec.Struct):
    """Tokens of one call, as the backend counted them.

    ``cached_tokens`` (read from the provider's cache), ``cache_write_tokens`` (written to it, of which
    ``cache_write_1h_tokens`` to be kept for an hour) and ``input_audio_tokens`` are parts of ``input_tokens``;
    ``reasoning_tokens``, ``output_audio_tokens`` and ``output_image_tokens`` are parts of ``output_tokens``.
    ``reported`` is False where the backend sent no counts of tokens, and then these are all zero.

    What is billed otherwise: ``images`` made, ``characters`` spoken, ``seconds`` listened to. ``tier`` is how the
    provider served the call where it says so, and where that changes the price: "batch", "flex", "priority", ...
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_write_tokens: int = 0
    reported: bool = False
    cache_write_1h_tokens: int = 0
    output_image_tokens: int = 0
    images: int = 0
    characters: int = 0
    seconds: float = 0.0
    tier: str = ""

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def classes(self) -> dict[str, int]:
        """The total in classes that do not overlap, as they are priced, and that sum to it exactly.

        ``input`` and ``output`` are what is left beside the special classes. Where a provider's special counts are
        more than their whole (cached audio is counted twice by some), the later ones of a whole give way.
        """
        found = {}
        for whole, parts in (
            ("input", ("cached_tokens", "cache_write_tokens", "input_audio_tokens")),
            ("output", ("reasoning_tokens", "output_audio_tokens", "output_image_tokens")),
        ):
            left: int = getattr(self, f"{whole}_tokens")
            for part in parts:
                count = found[part.removesuffix("_tokens")] = min(left, getattr(self, part))
                left -= count
            found[whole] = left
        long = found["cache_write_1h"] = min(found["cache_write"], self.cache_write_1h_tokens)
        found["cache_write"] -= long
        return found


class Cost(msgspec.Struct):
    """What one call costs in US dollars: in all, and by class of tokens (as `Usage.classes` names them).

    ``source`` says whose prices these are: "genai-prices" with its version, "override", "genai-prices ... + override"
    where some of them are, or "local" for models in this process and on servers of one's own.
    """

    total: float
    parts: dict[str, float] = {}
    source: str = ""


class RateLimits(msgspec.Struct):
    """What a provider's headers say: limit, what is left, and the seconds until the limit is whole again."""

    requests_limit: float | None = None
    requests_remaining: float | None = None
    requests_reset: float | None = None
    tokens_limit: float | None = None
    tokens_remaining: float | None = None
    tokens_reset: float | None = None
