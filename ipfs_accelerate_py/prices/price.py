"""The prices of one model, and what a call comes to by them. Plain floats: this runs once for each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ipfs_accelerate_py.types import Cost, Usage

__all__ = ["CLASSES", "UNITS", "Price", "Step"]

#: Classes of tokens that can have a price, as `Usage.classes` names them, each with the one whose price it has where it
#: has none of its own.
CLASSES: Final[Mapping[str, str]] = {
    "input": "",
    "cached": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "input_audio": "input",
    "output": "",
    "reasoning": "output",
    "output_audio": "output",
    "output_image": "output",
}
#: What else is billed, each in dollars for one: a call, an image made, a character spoken, a second listened to.
UNITS: Final = ("request", "image", "character", "second")
_INPUT: Final = ("input", "cached", "cache_write", "cache_write_1h", "input_audio")
_OUTPUT: Final = ("output", "reasoning", "output_audio", "output_image")


class Step(msgspec.Struct, frozen=True):
    """Prices of a call whose input has more than ``above`` tokens: of all its tokens, not only of those above."""

    above: int
    tokens: dict[str, float]


class Price:
    """Prices in US dollars: ``tokens`` by class for one token, ``units`` for one of `UNITS`, ``steps`` by length.

    A class without a price has that of its parent (see `CLASSES`). Nothing is taken for zero: what a call used and has
    no price makes its cost unknown.

    Args:
        least_seconds: what is billed at least of a recording.
        context: tokens that fit into the model, where known.
        source: whose prices these are, for `Cost.source`.
    """

    __slots__ = (
        "_input",
        "_output",
        "_plain",
        "_steps",
        "context",
        "least_seconds",
        "source",
        "steps",
        "tokens",
        "units",
    )

    def __init__(
        self,
        tokens: Mapping[str, float],
        units: Mapping[str, float] | None = None,
        steps: tuple[Step, ...] = (),
        *,
        least_seconds: float = 0.0,
        context: int | None = None,
        source: str = "",
    ) -> None:
        self.tokens = dict(tokens)
        self.units = dict(units or {})
        self.steps = tuple(sorted(steps, key=lambda step: step.above))
        self.least_seconds = least_seconds
        self.context = context
        self.source = source
        self._plain = _whole(self.tokens)
        # A step may leave out classes whose price does not change.
        self._steps = [(step.above, _whole({**self.tokens, **step.tokens})) for step in reversed(self.steps)]
        self._input = self._plain.get("input")
        self._output = self._plain.get("output")

    def cost(self, usage: Usage) -> Cost | None:
        """What a call came to; None where something that it used has no price, or nobody counted what it used."""
        given, made = usage.input_tokens, usage.output_tokens
        rates = self._plain
        if self._steps:
            for above, stepped in self._steps:
                if given > above:
                    rates = stepped
                    break
        if (
            usage.reported
            and not usage.cached_tokens
            and not usage.reasoning_tokens
            and not usage.cache_write_tokens
            and not usage.input_audio_tokens
            and not usage.output_audio_tokens
            and not usage.output_image_tokens
            and not self.units
        ):
            # Most calls: two products.
            first, second = rates.get("input"), rates.get("output")
            if (first is None and given) or (second is None and made):
                return None
            one = given * first if first is not None else 0.0
            two = made * second if second is not None else 0.0
            return Cost(one + two, {"input": one, "output": two}, self.source)
        return self._sum(usage, rates)

    def _sum(self, usage: Usage, rates: Mapping[str, float]) -> Cost | None:
        parts: dict[str, float] = {}
        counted = False
        if usage.reported and (rates or not self._measures(usage)):
            counted = True
            for name, count in _classes(usage):
                if count:
                    rate = rates.get(name)
                    if rate is None:
                        return None
                    parts[name] = count * rate
        elif self.units:
            for name, amount in self._amounts(usage):
                if amount and name in self.units:
                    counted = True
                    parts[name] = amount * self.units[name]
        if not counted:
            return None
        if "request" in self.units:
            parts["request"] = self.units["request"]
        return Cost(sum(parts.values()), parts, self.source)

    def _amounts(self, usage: Usage) -> tuple[tuple[str, float], ...]:
        seconds = max(usage.seconds, self.least_seconds) if usage.seconds else 0.0
        return (("image", usage.images), ("character", usage.characters), ("second", seconds))

    def _measures(self, usage: Usage) -> bool:
        """Whether the price is by something else than tokens, and the call has that."""
        return any(amount and name in self.units for name, amount in self._amounts(usage))

    @property
    def most_input(self) -> float | None:
        """The highest price of a token of the input, whatever its class and the input's length; None: it has none."""
        return self._most(_INPUT)

    @property
    def most_output(self) -> float | None:
        """The same of the output. None: output has no price, so there is none (embeddings), or nobody knows it."""
        return self._most(_OUTPUT)

    def _most(self, names: tuple[str, ...]) -> float | None:
        found = [
            rates[name]
            for rates in (self._plain, *(step for _, step in self._steps))
            for name in names
            if name in rates
        ]
        return max(found, default=None)

    def __repr__(self) -> str:
        return f"Price({self.tokens!r}, {self.units!r}, {self.steps!r}, source={self.source!r})"


def _classes(usage: Usage) -> tuple[tuple[str, int], ...]:
    """`Usage.classes`, without a loop: two microseconds less on every call."""
    given, made = usage.input_tokens, usage.output_tokens
    cached = min(given, usage.cached_tokens)
    given -= cached
    written = min(given, usage.cache_write_tokens)
    given -= written
    heard = min(given, usage.input_audio_tokens)
    long = min(written, usage.cache_write_1h_tokens)
    thought = min(made, usage.reasoning_tokens)
    made -= thought
    said = min(made, usage.output_audio_tokens)
    made -= said
    drawn = min(made, usage.output_image_tokens)
    return (
        ("input", given - heard),
        ("cached", cached),
        ("cache_write", written - long),
        ("cache_write_1h", long),
        ("input_audio", heard),
        ("output", made - drawn),
        ("reasoning", thought),
        ("output_audio", said),
        ("output_image", drawn),
    )


def _whole(tokens: Mapping[str, float]) -> dict[str, float]:
    """Every class's price, by its parent where it has none of its own."""
    found: dict[str, float] = {}
    for name, parent in CLASSES.items():
        rate = tokens.get(name, found.get(parent))
        if rate is not None:
            found[name] = rate
    return found
